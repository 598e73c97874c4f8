// NumPy's arrays: written, read back, and headers that lie.
import System
import TestSupport
import Testing

@Suite struct NPYTests {
  private let temporaryFiles = TemporaryFiles()

  @Test func arrayHeaders() {
    for (shape, text) in [([], "()"), ([3], "(3,)"), ([3, 4, 5], "(3, 4, 5)")] as [([Int], String)] {
      let header = NPYHeader.encode(type: "<f4", shape: shape)
      #expect(header.count % 64 == 0 && header.last == 10)
      #expect(String(decoding: header[10...], as: UTF8.self).contains("'shape': \(text), }"))
    }
  }

  private func decode(_ bytes: [UInt8]) -> (type: String, shape: [Int])? {
    var cursor = ByteCursor<[UInt8], SystemError>(bytes)
    return try? NPYHeader.decode(&cursor, "array")
  }

  @Test func headersRoundTrip() throws {
    for shape in [[], [3], [2, 0], [4, 3, 2, 1]] as [[Int]] {
      for type in ["<f4", "<i4", "|b1", "<U17"] {
        var cursor = ByteCursor<[UInt8], SystemError>(NPYHeader.encode(type: type, shape: shape) + [7])
        let found = try NPYHeader.decode(&cursor, "array")
        #expect(found.type == type && found.shape == shape && cursor.remaining == 1)
      }
    }
  }

  @Test func hostileHeaders() {
    func header(_ text: String, version: [UInt8] = [1, 0]) -> [UInt8] {
      [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59] + version + [UInt8(text.utf8.count), 0] + Array(text.utf8)
    }
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
    #expect(decode(header(good)) != nil)
    #expect(decode(header(#"{"shape": (2,3,), "descr": "<f4", "fortran_order": False}"#))?.shape == [2, 3])
    for text in [
      "", "{}", "{'descr': '<f4'}", good.replacing("False", "True"), good.replacing("(2, 3)", "(2, -3)"),
      good.replacing("(2, 3)", "(1, 1, 1, 1, 1)"), good.replacing("(2, 3)", "(99999999999999999999,)"),
      good.replacing("(2, 3)", "(2, x)"), good.replacing("'<f4'", "[('a', '<f4')]"),
      good.replacing("(2, 3)", "(2, 3"),
    ] { #expect(decode(header(text)) == nil, "\(text)") }
    #expect(decode(header(good, version: [9, 0])) == nil)
    #expect(decode(header(good, version: [2, 0])) == nil, "a length of four bytes runs past the end")
    let bytes = header(good)
    for count in 0..<bytes.count { #expect(decode(Array(bytes[..<count])) == nil, "\(count) bytes") }
    for place in bytes.indices {
      for mask in [0xFF, 1, 0x80] as [UInt8] {
        var damaged = bytes
        damaged[place] ^= mask
        _ = decode(damaged)
      }
    }
  }
}

extension String {
  fileprivate func replacing(_ old: String, _ new: String) -> String {
    guard let range = firstRange(of: old) else { return self }
    return String(self[..<range.lowerBound]) + new + String(self[range.upperBound...])
  }
}
