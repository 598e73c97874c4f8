// Finds the EXIF orientation of a photo by hopping over chunks, without storing any of them.

/// Which way up a stored picture is meant to be seen, numbered as in EXIF.
///
/// - Source: EXIF 2.32, tag 0x0112.
package struct Orientation: Equatable, Sendable {
  /// 1...8; 1 is upright.
  package let rawValue: Int

  /// An orientation; anything outside 1...8 counts as upright.
  package init(_ rawValue: Int) { self.rawValue = (1...8).contains(rawValue) ? rawValue : 1 }

  /// Stored as seen.
  package static let upright = Orientation(1)

  /// Whether width and height change places.
  package var swapsAxes: Bool { rawValue >= 5 }
  /// Whether the seen x runs against the stored axis that it follows.
  package var reversesX: Bool { [2, 3, 6, 7].contains(rawValue) }
  /// Whether the seen y runs against the stored axis that it follows.
  package var reversesY: Bool { [3, 4, 7, 8].contains(rawValue) }

  /// The size as seen, from the stored size, or the other way round.
  package func size(width: Int, height: Int) -> (width: Int, height: Int) {
    swapsAxes ? (height, width) : (width, height)
  }

  /// Where a stored pixel of a `width` x `height` stored picture is seen.
  ///
  /// - Shapes: `x` < width, `y` < height; the result lies in `size(width:height:)`.
  package func seen(x: Int, y: Int, width: Int, height: Int) -> (x: Int, y: Int) {
    let size = size(width: width, height: height)
    let (u, v) = swapsAxes ? (y, x) : (x, y)
    return (reversesX ? size.width - 1 - u : u, reversesY ? size.height - 1 - v : v)
  }
}

/// Reads the orientation of a JPEG or PNG file. Damaged EXIF counts as none.
///
/// - Memory: 18 bytes at a time. Looks at 4,096 segments at most, or 65,536 chunks.
/// - Errors: the storage fails.
struct ExifScanner {
  let file: InputFile

  /// The orientation of a JPEG or PNG file; any other is upright.
  func orientation() throws(RasterError) -> Orientation {
    let magic = try file.bytes(at: 0, count: 4)
    if magic.starts(with: [0xFF, 0xD8]) { return try jpegOrientation() }
    return magic == [0x89, 0x50, 0x4E, 0x47] ? try pngOrientation() : .upright
  }

  /// Walks the segments of a JPEG up to its first scan.
  func jpegOrientation() throws(RasterError) -> Orientation {
    var offset = 2
    for _ in 0..<4096 {
      let head = try file.bytes(at: offset, count: 10)
      guard head.count >= 4, head[0] == 0xFF else { return .upright }
      if head[1] == 0xFF {
        offset += 1
        continue
      }
      let stand = (0xD0...0xD8).contains(head[1]) || head[1] == 0x01
      if head[1] == 0xDA || head[1] == 0xD9 { return .upright }
      let length = stand ? 0 : Int(head[2]) << 8 | Int(head[3])
      if head[1] == 0xE1, length >= 8, Array(head[4...]) == Array("Exif\0\0".utf8) {
        return try tiffOrientation(at: offset + 10, count: length - 8)
      }
      offset += 2 + length
    }
    return .upright
  }

  /// Walks the chunks of a PNG.
  func pngOrientation() throws(RasterError) -> Orientation {
    var offset = 8
    for _ in 0..<65536 {
      let head = try file.bytes(at: offset, count: 8)
      guard head.count == 8 else { return .upright }
      let length = head[..<4].reduce(0) { $0 << 8 | Int($1) }
      let name = String(decoding: head[4...], as: UTF8.self)
      if name == "eXIf" { return try tiffOrientation(at: offset + 8, count: length) }
      guard name != "IEND", length < 1 << 31 else { return .upright }
      offset += length + 12
    }
    return .upright
  }

  /// Reads tag 0x0112 of the first directory of the TIFF block in `count` bytes at `start`.
  func tiffOrientation(at start: Int, count: Int) throws(RasterError) -> Orientation {
    let head = try file.bytes(at: start, count: min(8, count))
    guard head.count == 8 else { return .upright }
    let little = head[0] == 0x49
    guard head[0] == head[1], little || head[0] == 0x4D else { return .upright }
    func number(_ bytes: ArraySlice<UInt8>) -> Int {
      (little ? Array(bytes.reversed()) : Array(bytes)).reduce(0) { $0 << 8 | Int($1) }
    }
    guard number(head[2..<4]) == 42 else { return .upright }
    let directory = number(head[4..<8])
    guard directory >= 8, directory + 2 <= count else { return .upright }
    let counter = try file.bytes(at: start + directory, count: 2)
    guard counter.count == 2 else { return .upright }
    for index in 0..<min(number(counter[...]), 1024) {
      let place = directory + 2 + 12 * index
      guard place + 12 <= count else { return .upright }
      let entry = try file.bytes(at: start + place, count: 12)
      guard entry.count == 12 else { return .upright }
      guard number(entry[0..<2]) == 0x0112 else { continue }
      guard number(entry[2..<4]) == 3, number(entry[4..<8]) == 1 else { return .upright }
      return Orientation(number(entry[8..<10]))
    }
    return .upright
  }
}
