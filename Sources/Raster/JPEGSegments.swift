// The parts of a JPEG file up to its first scan, without what is in them.
import System

/// Hops from marker to marker.
///
/// - Memory: 4 bytes at a time. Looks at 4,096 places at most.
/// - Errors: the storage fails.
/// - Source: ITU-T T.81, annex B.
struct JPEGSegments {
  private let file: InputFile
  private var offset = 2
  private var placesLeft = 4096

  init(_ file: InputFile) { self.file = file }

  /// The next marker and where its segment's bytes lie; nil at the scan, the end, or what is no marker.
  mutating func next() throws(RasterError) -> (marker: UInt8, body: Range<Int>)? {
    while placesLeft > 0 {
      placesLeft -= 1
      let head = try file.bytes(at: offset, upTo: 4)
      guard head.count >= 4, head[0] == 0xFF, head[1] != 0xDA, head[1] != 0xD9 else { return nil }
      // A byte that only fills.
      if head[1] == 0xFF {
        offset += 1
        continue
      }
      let standsAlone = (0xD0...0xD8).contains(head[1]) || head[1] == 0x01
      let start = offset + 4
      offset += 2 + (standsAlone ? 0 : Int(head[2]) << 8 | Int(head[3]))
      return (head[1], start..<max(start, offset))
    }
    return nil
  }
}
