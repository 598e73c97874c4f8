// Where on earth a raster lies: the tags of a GeoTIFF, as they are stored.

import System

/// The tags that place a raster, of one directory of a TIFF, for another TIFF of the same pixels.
///
/// - Memory: what is stored, at most 1 MiB; more is left behind.
/// - Source: OGC GeoTIFF 1.1, annex A.
package struct GeoTags: Equatable, Sendable {
  package struct Tag: Equatable, Sendable {
    package let number: UInt16
    /// TIFF's number of the type: 2 text, 3 16-bit, 12 double.
    package let type: UInt16
    package let count: Int
    /// Little-endian, whatever the order of the file.
    package let bytes: [UInt8]
  }

  /// In ascending order, never empty.
  package let tags: [Tag]

  /// ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, GeoAsciiParams.
  private static let numbers: Set<UInt16> = [33_550, 33_922, 34_264, 34_735, 34_736, 34_737]
  private static let widths: [UInt16: Int] = [2: 1, 3: 2, 12: 8]
  private static let byteLimit = 1 << 20

  /// The tags of the first directory of a TIFF or BigTIFF; nil where there are none, or no directory that
  /// makes sense: the decoder says what is wrong with the file.
  package init?(path: String) {
    guard let file = try? System.InputFile<RasterError>.openOrStandardInput(path: path) else { return nil }
    self.init(file)
  }

  private init?(_ file: System.InputFile<RasterError>) {
    guard let head = try? file.bytes(at: 0, upTo: 16), head.count == 16, head[0] == head[1] else {
      return nil
    }
    let little = head[0] == 0x49
    func number(_ bytes: ArraySlice<UInt8>) -> Int {
      // Nothing real lies beyond 2^56.
      let high = little ? bytes.dropFirst(7) : bytes.count == 8 ? bytes.prefix(1) : []
      guard high.allSatisfy({ $0 == 0 }) else { return Int.max >> 8 }
      return (little ? Array(bytes.reversed()) : Array(bytes)).reduce(0) { $0 << 8 | Int($1) }
    }
    let big = number(head[2..<4]) == 43
    guard little || head[0] == 0x4D, big || number(head[2..<4]) == 42 else { return nil }
    let (counter, entry, value) = big ? (8, 20, 8) : (2, 12, 4)
    let directory = number(big ? head[8..<16] : head[4..<8])
    guard let start = try? file.bytes(at: directory, count: counter) else { return nil }
    var (tags, room) = ([Tag](), Self.byteLimit)
    for index in 0..<min(number(start[...]), 4096) {
      let offset = directory + counter + index * entry
      guard let bytes = try? file.bytes(at: offset, count: entry) else { break }
      let tag = (number: UInt16(number(bytes[0..<2])), type: UInt16(number(bytes[2..<4])))
      let count = number(bytes[4..<4 + value])
      guard Self.numbers.contains(tag.number), let width = Self.widths[tag.type], count > 0,
        count <= room / width
      else { continue }
      let place = count * width <= value ? offset + 4 + value : number(bytes[(4 + value)...])
      guard var stored = try? file.bytes(at: place, count: count * width) else { continue }
      room -= stored.count
      if !little && width > 1 {
        for at in stride(from: 0, to: stored.count, by: width) { stored[at..<at + width].reverse() }
      }
      tags.append(Tag(number: tag.number, type: tag.type, count: count, bytes: stored))
    }
    guard !tags.isEmpty else { return nil }
    self.tags = tags.sorted { $0.number < $1.number }
  }
}
