// Fixture files, scratch directories and the source pattern of generate.py.

import Raster
import TestSupport

/// Path of a fixture.
func fixture(_ name: String, at here: String = #filePath) -> String {
  var parts = here.split(separator: "/", omittingEmptySubsequences: false)
  parts.removeLast(2)
  return parts.joined(separator: "/") + "/Fixtures/raster/" + name
}

/// Lines of a text fixture, split at commas.
func table(_ name: String) -> [[String]] {
  String(decoding: readBytes(fixture(name)), as: UTF8.self).split(separator: "\n").map { line in
    line.split(separator: ",").map(String.init)
  }
}

/// The formula of `pattern` in generate.py.
func pattern(width: Int, height: Int, channels: Int = 3) -> [UInt8] {
  (0..<width * height * channels).map { i in
    var h = UInt32(truncatingIfNeeded: i) &* 2_654_435_761 &+ 12345
    h ^= h >> 15
    h &*= 2_246_822_519
    h ^= h >> 13
    return UInt8(h >> 24)
  }
}

/// Decodes a whole file.
func decode(_ path: String, ignoringChecksums: Bool = false) throws(RasterError) -> [UInt8] {
  let decoder = try PhotoDecoder(path: path, ignoringChecksums: ignoringChecksums)
  try decoder.beginDecoding(allowWholeImage: decoder.wholeImageByteCount < 1 << 26)
  var row = [UInt8](repeating: 0, count: 3 * decoder.storedWidth)
  var pixels: [UInt8] = []
  for _ in 0..<decoder.storedHeight {
    try decoder.readRow(into: &row)
    pixels += row
  }
  return pixels
}

func largestDifference<T: BinaryInteger>(_ a: [T], _ b: [T]) -> Int {
  guard a.count == b.count else { return .max }
  return zip(a, b).reduce(0) { max($0, abs(Int($1.0) - Int($1.1))) }
}
