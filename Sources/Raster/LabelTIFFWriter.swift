// Label maps as TIFF: strips that are deflated as rows come, the directory behind them.

import CRaster
import System

/// Writes a label map as TIFF, or as BigTIFF where it could pass 4 GiB.
///
/// Own code, not libtiff's: twenty tags and zlib, which is linked for PNG anyway, and no library that must be
/// there; docs/decisions/0011-rasters.md.
///
/// - Shapes: rows [width] of 8-bit numbers with a palette, or of native 16-bit numbers; height times.
/// - Memory: 144 KiB for zlib and its output, and 16 bytes for each strip of about 256 KiB.
/// - Errors: those of `AtomicFile`; the target is untouched until the file has its name.
/// - Source: TIFF 6.0; Adobe's supplement of 2002 (deflate); BigTIFF's design of 2007; GDAL's tag 42113.
package final class LabelTIFFWriter {
  /// Stands behind the header, and is the file's Software tag: by it the program knows its own work.
  package static let signature = "trident label map"

  /// What a map says besides its pixels.
  package struct Facts {
    package var width: Int
    package var height: Int
    /// Nil: 16-bit grey.
    package var palette: Palette?
    package var place: GeoTags?
    /// The number of pixels that are of no class.
    package var noData: Int?

    package init(width: Int, height: Int, palette: Palette?, place: GeoTags? = nil, noData: Int? = nil) {
      (self.width, self.height, self.palette) = (width, height, palette)
      (self.place, self.noData) = (place, noData)
    }
  }

  private let file: AtomicFile
  private let facts: Facts
  private let isBig: Bool
  private let rowByteCount: Int
  private let rowsPerStrip: Int
  private var deflater: OpaquePointer?
  private var row = 0
  /// File offsets of strips, and one more: where the last one ends.
  private var offsets: [UInt64]

  /// Creates the file beside `path`. `isBig`: as BigTIFF whatever its size.
  package init(path: String, _ facts: Facts, isBig forced: Bool = false) throws(RasterError) {
    guard (1...1 << 24).contains(facts.width), (1...1 << 24).contains(facts.height) else {
      throw RasterError(.badSize(width: facts.width, height: facts.height), path: path)
    }
    self.facts = facts
    rowByteCount = facts.width * (facts.palette == nil ? 2 : 1)
    rowsPerStrip = max(1, (256 << 10) / rowByteCount)
    // Deflate adds less than a hundredth to what it cannot pack.
    isBig = forced || rowByteCount * facts.height / 100 * 101 > UInt32.max - (16 << 20)
    do throws(SystemError) {
      file = try AtomicFile(path: path)
      let head = [UInt8](repeating: 0, count: isBig ? 16 : 8) + Array(Self.signature.utf8) + [0]
      offsets = [UInt64(head.count)]
      try file.write(head)
    } catch { throw RasterError(error) }
    var failure = cr_failure()
    deflater = cr_deflate_open(file.openDescriptor, &failure)
    if deflater == nil { throw RasterError(failure, path: path) }
  }

  deinit { cr_deflate_close(deflater) }

  /// Writes the next row of 8-bit numbers.
  package func writeRow(_ row: UnsafePointer<UInt8>) throws(RasterError) { try write(row) }

  /// Writes the next row of 16-bit numbers.
  package func writeRow(_ row: UnsafePointer<UInt16>) throws(RasterError) { try write(row) }

  private func write(_ pixels: UnsafeRawPointer) throws(RasterError) {
    precondition(row < facts.height, "all \(facts.height) rows have been written")
    guard let deflater else { throw RasterError(.corrupt("writer is spent"), path: file.path) }
    var failure = cr_failure()
    row += 1
    let endsStrip = row % rowsPerStrip == 0 || row == facts.height
    let code = cr_deflate_row(deflater, pixels, rowByteCount, endsStrip ? 1 : 0, &failure)
    guard code == CR_OK else {
      cr_deflate_close(deflater)
      self.deflater = nil
      file.abort()
      throw RasterError(failure, path: file.path, row: row)
    }
    if endsStrip { offsets.append(offsets[0] + cr_deflate_written(deflater)) }
  }

  /// Writes the directory; the file lacks nothing but its name.
  package func end() throws(RasterError) -> AtomicFile {
    precondition(row == facts.height, "\(row) of \(facts.height) rows have been written")
    var directory = TIFFDirectory(isBig: isBig)
    directory.shorts(256, [facts.width], wide: true)
    directory.shorts(257, [facts.height], wide: true)
    directory.shorts(258, [facts.palette == nil ? 16 : 8])
    directory.shorts(259, [8])
    directory.shorts(262, [facts.palette == nil ? 1 : 3])
    directory.offsets(273, offsets.dropLast())
    directory.shorts(277, [1])
    directory.shorts(278, [rowsPerStrip], wide: true)
    directory.offsets(279, zip(offsets.dropFirst(), offsets).map { $0 - $1 }[...])
    directory.shorts(284, [1])
    directory.text(305, Self.signature)
    if let palette = facts.palette { directory.shorts(320, Self.colours(palette)) }
    for tag in facts.place?.tags ?? [] { directory.add(tag.number, tag.type, tag.count, tag.bytes) }
    if let noData = facts.noData { directory.text(42_113, "\(noData)") }
    var end = offsets[offsets.count - 1]
    do throws(SystemError) {
      if end % 2 == 1 {
        try file.write([0])
        end += 1
      }
      let (bytes, start) = directory.bytes(at: end)
      try file.write(bytes)
      let magic: [UInt8] = [0x49, 0x49] + (isBig ? [43, 0, 8, 0, 0, 0] : [42, 0])
      try file.writeStart(magic + TIFFDirectory.little(start, isBig ? 8 : 4))
    } catch { throw RasterError(error) }
    return file
  }

  /// All reds, all greens, all blues, in 16 bits; 256 of each.
  private static func colours(_ palette: Palette) -> [Int] {
    (0..<3).flatMap { channel in
      (0..<256).map { $0 < palette.count ? Int(palette.bytes[3 * $0 + channel]) * 257 : 0 }
    }
  }
}

/// One directory of a little-endian TIFF, and the values that do not fit into it.
struct TIFFDirectory {
  private let isBig: Bool
  private var tags: [(number: UInt16, type: UInt16, count: Int, bytes: [UInt8])] = []

  init(isBig: Bool) { self.isBig = isBig }

  static func little(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
  }

  /// Tags are added in ascending order.
  mutating func add(_ number: UInt16, _ type: UInt16, _ count: Int, _ bytes: [UInt8]) {
    precondition(tags.last.map { $0.number < number } ?? true, "tags ascend")
    tags.append((number, type, count, bytes))
  }

  /// 16-bit numbers, or 32-bit ones.
  mutating func shorts(_ number: UInt16, _ values: [Int], wide: Bool = false) {
    add(number, wide ? 4 : 3, values.count, values.flatMap { Self.little(UInt64($0), wide ? 4 : 2) })
  }

  /// Places in the file, or lengths.
  mutating func offsets(_ number: UInt16, _ values: ArraySlice<UInt64>) {
    add(number, isBig ? 16 : 4, values.count, values.flatMap { Self.little($0, isBig ? 8 : 4) })
  }

  mutating func text(_ number: UInt16, _ text: String) {
    add(number, 2, text.utf8.count + 1, Array(text.utf8) + [0])
  }

  /// The values, then the directory, for an even place in the file; and where the directory begins.
  func bytes(at place: UInt64) -> (bytes: [UInt8], start: UInt64) {
    let inline = isBig ? 8 : 4
    var (values, entries) = ([UInt8](), Self.little(UInt64(tags.count), isBig ? 8 : 2))
    for tag in tags {
      entries += Self.little(UInt64(tag.number), 2) + Self.little(UInt64(tag.type), 2)
      entries += Self.little(UInt64(tag.count), inline)
      if tag.bytes.count <= inline {
        entries += tag.bytes + [UInt8](repeating: 0, count: inline - tag.bytes.count)
      } else {
        entries += Self.little(place + UInt64(values.count), inline)
        values += tag.bytes
        if values.count % 2 == 1 { values.append(0) }
      }
    }
    entries += [UInt8](repeating: 0, count: inline)
    return (values + entries, place + UInt64(values.count))
  }
}
