// Bytes and plain formats: cursors, ZIP, JSON, numbers as text.
import System
import TestSupport
import Testing

@Suite struct ByteCursorTests {
  private typealias Cursor = ByteCursor<[UInt8], SystemError>

  @Test func fieldsRoundTrip() throws {
    var bytes: [UInt8] = []
    bytes.append(little: UInt8(1))
    bytes.append(little: Int16(-2))
    bytes.append(little: UInt32(0x0403_0201))
    bytes.append(little: UInt64.max - 1)
    bytes.append(floats: [1.5, -.infinity])
    bytes.append(little: UInt64(3))
    bytes += "héy".utf8.prefix(3) + [0xFF]
    var cursor = Cursor(bytes)
    #expect(try cursor.integer(UInt8.self) == 1)
    #expect(try cursor.integer(Int16.self) == -2)
    #expect(try cursor.uint32() == 0x0403_0201)
    #expect(try cursor.uint64() == UInt64.max - 1)
    #expect(try cursor.floats(2) == [1.5, -.infinity])
    #expect(try cursor.string(what: "length", limit: 3) == "hé")
    #expect(throws: SystemError(.notUTF8, offset: bytes.count - 1, name: "end")) {
      try cursor.string(1, "end")
    }
    #expect(bytes.number(at: 3, width: 4) == 0x0403_0201 && bytes.number(at: 7, width: 8) == Int.max)
    #expect(hexadecimal([0, 0x1f, 0xa0]) == "001fa0")
    bytes.store(little: 0x0A0B_0C0D, at: 0)
    #expect(Array(bytes[..<4]) == [0x0D, 0x0C, 0x0B, 0x0A])
  }

  @Test func nothingIsReadPastTheEnd() {
    for count in 0..<8 {
      var cursor = Cursor([UInt8](repeating: 1, count: count))
      #expect(throws: SystemError(.truncated(needed: 8, available: count), offset: 0, name: "n")) {
        try cursor.uint64("n")
      }
      #expect(cursor.offset == 0, "a failed step moves nothing")
    }
    var part = Cursor([1, 2, 3, 4], range: 1..<3)
    #expect(throws: SystemError(.truncated(needed: 4, available: 2), offset: 1)) { try part.uint32() }
    #expect(throws: SystemError.self) { try part.take(-1) }
    #expect(throws: SystemError(.truncated(needed: .max, available: 2), offset: 1)) { try part.floats(.max) }
    #expect(throws: SystemError(.truncated(needed: 4, available: 2), offset: 1)) { try part.floats(1) }
    var large = Cursor([UInt8](repeating: 0xFF, count: 8))
    #expect(throws: SystemError(.tooLarge(what: "keys", found: .max, limit: 9), offset: 0)) {
      try large.count(what: "keys", limit: 9)
    }
  }

  @Test func windowsOfFilesGiveTheSameBytes() throws {
    let scratch = Scratch()
    let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
    writeBytes(bytes, to: scratch.file("a"))
    let file = try InputFile<SystemError>.open(path: scratch.file("a"))
    for window in [1, 3, 64, 5000] {
      let cursor = FileCursor(file: file, range: 10..<900, windowByteCount: window)
      #expect(try cursor.byte() == bytes[10])
      #expect(
        try cursor.unsigned(3) == UInt64(Array(bytes[11..<14]).number(at: 0, width: 2)) | UInt64(bytes[13])
          << 16)
      #expect(try cursor.bytes(300) == Array(bytes[14..<314]))
      try cursor.skip(86)
      var copied = [UInt8](repeating: 0, count: 100)
      #expect(try cursor.copy(100, into: &copied) && copied == Array(bytes[400..<500]))
      #expect(try cursor.next() == bytes[500])
      #expect(throws: SystemError.self) { try cursor.skip(400) }
      #expect(throws: SystemError.self) { try cursor.bytes(400) }
      var rest = [UInt8](repeating: 0, count: 399)
      #expect(try cursor.copy(399, into: &rest) && rest == Array(bytes[501..<900]))
      #expect(try cursor.next() == nil && cursor.remaining == 0)
      #expect(throws: SystemError(.truncated(needed: 1, available: 0), path: file.path, offset: 900)) {
        try cursor.byte()
      }
    }
    #expect(throws: SystemError(.truncated(needed: 2, available: 1), path: file.path, offset: 999)) {
      try file.bytes(at: 999, count: 2)
    }
    #expect(try file.bytes(at: 999, upTo: 2) == [bytes[999]])
    #expect(throws: SystemError.self) { try file.bytes(at: -1, count: 1) }
    #expect(throws: SystemError.self) { try file.bytes(at: 1, count: .max) }
  }
}

@Suite struct ZipTests {
  private typealias Archive = ZipDirectory<BytesInMemory<SystemError>>
  private let entries: [(name: String, bytes: [UInt8])] = [
    ("a.npy", [1, 2, 3]), ("é", []), ("b/c", Array(0..<200)),
  ]

  private func read(_ bytes: [UInt8]) throws -> [(name: String, bytes: [UInt8])] {
    let archive = try Archive(file: BytesInMemory(bytes))
    return try archive.entries.map { entry in
      let body = try archive.file.bytes(at: archive.bodyOffset(of: entry), count: entry.byteCount)
      guard CRC32.of(body[...]) == entry.checksum else { throw SystemError(.malformed("checksum")) }
      return (entry.name, body)
    }
  }

  private func same(_ a: [(name: String, bytes: [UInt8])]) -> Bool {
    a.map(\.name) == entries.map(\.name) && a.map(\.bytes) == entries.map(\.bytes)
  }

  @Test func roundTrip() throws {
    #expect(same(try read(storedZip(entries))))
    #expect(try read(storedZip([])).isEmpty)
    let archive = try Archive(file: BytesInMemory(storedZip(entries)))
    #expect(archive.entry(named: "é")?.byteCount == 0 && archive.entry(named: "z") == nil)
  }

  @Test func damageIsRefusedOrHarmless() throws {
    let bytes = storedZip(entries)
    for count in bytes.indices {
      #expect(throws: SystemError.self, "\(count) bytes") { try read(Array(bytes[..<count])) }
    }
    #expect(throws: SystemError.self) { try read(bytes + [0]) }
    for place in bytes.indices {
      for mask in [0xFF, 0x01, 0x80] as [UInt8] {
        var damaged = bytes
        damaged[place] ^= mask
        guard let found = try? read(damaged), !same(found) else { continue }
        // Names and the count of entries have no checksum.
        #expect(found.count < 3 || found.map(\.bytes) == entries.map(\.bytes), "byte \(place), mask \(mask)")
      }
    }
    #expect(throws: SystemError(.duplicate, offset: 111, name: "a")) {
      try read(storedZip([("a", [1]), ("a", [2])]))
    }
  }
}

@Suite struct JSONTests {
  @Test func roundTrip() throws {
    let value = JSON.object([
      ("text", .string("a\"\\\n\t\r\u{1}é\u{1F431}")), ("empty", .object([])),
      ("list", .array([.int(-3), .null, .bool(true)])),
      ("nested", .array([.array([]), .object([("x", .number(0.25))])])), ("float", .float(0.2)),
      ("big", .number(1e300)),
      ("last", .int(.max)),
    ])
    for indent in [0, -1] {
      let text = value.text(indent: indent)
      #expect(try JSONReader.parse(Array(text.utf8)).text(indent: indent) == text)
    }
    #expect(value.text(indent: -1).contains("\n") == false)
    #expect(
      JSON.number(.nan).text() == "null" && JSON.float(0.2).text() == "0.2" && JSON.number(3).text() == "3")
    #expect(JSON.quoted("a\u{2}b") == "\"a\\u0002b\"")
    guard case .string("x")? = try JSONReader.parse(Array(#" { "a" : "\u0078" } "#.utf8)).member("a") else {
      Issue.record("no member")
      return
    }
  }

  @Test func hostileTexts() {
    for text in [
      "", " ", "{", "{}x", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]", "[01]", "[1.]", "[1e]", "[-]", "[+1]",
      "nul", "tru e",
      "\"\u{1}\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\u12g4\"", "\"\\x\"", "\"", "{a:1}", "[NaN]",
      "[" + String(repeating: "1", count: 401) + "]",
    ] { #expect(throws: SystemError.self, "\(text)") { try JSONReader.parse(Array(text.utf8)) } }
    #expect(throws: SystemError.self) { try JSONReader.parse([0x22, 0xFF, 0x22]) }
    #expect(throws: SystemError(.duplicate, offset: 7, name: "a")) {
      try JSONReader.parse(Array(#"{"a":1,"a":2}"#.utf8))
    }
    let deep = [UInt8](repeating: 0x5B, count: 1_000_000)
    #expect(throws: SystemError(.tooLarge(what: "JSON depth", found: 65, limit: 64), offset: 65)) {
      try JSONReader.parse(deep)
    }
    var random = SeededRandom(seed: 5)
    let valid = Array(#"{"a":[1,-2.5e3,"\u00e9\n"],"b":{"c":null,"d":true}}"#.utf8)
    for _ in Effort.sample(0..<3000) {
      var damaged = valid
      for _ in 0..<3 {
        damaged[Int.random(in: valid.indices, using: &random)] = UInt8.random(in: 32...127, using: &random)
      }
      if let value = try? JSONReader.parse(damaged) {
        let text = value.text(indent: -1)
        #expect((try? JSONReader.parse(Array(text.utf8)))?.text(indent: -1) == text)
      }
    }
  }
}

@Suite struct PlainTextTests {
  @Test func nothingFromOutsideReachesTheTerminal() {
    #expect(printable("a\u{1B}[31m\n\u{9B}é\u{202E}", limit: 40) == "a\\u{1b}[31m\\u{a}\\u{9b}é\\u{202e}")
    #expect(printable("abcdef", limit: 3) == "abc...")
  }

  @Test func numbersAndColumns() {
    #expect(
      fixed(-3.14159, 2) == "-3.14" && fixed(-0.001, 2) == "0.00" && fixed(.nan, 1) == "-"
        && fixed(2.5, 0) == "3")
    #expect(
      mebibytes(3 << 19) == "1.5" && padded("ab", 4) == "ab  " && padded("ab", 4, right: true) == "  ab")
    #expect(checkedSum(1, .max) == nil && checkedSum(1, -1) == nil && checkedProduct([3, 4]) == 12)
    #expect(checkedProduct([.max, 2]) == nil && checkedProduct([]) == 1)
  }
}
