// A strict JSON parser (RFC 8259) with limits.

/// Parses one JSON text.
///
/// - Memory: the values; at most `valueLimit` of them.
/// - Errors: `.malformed` with the byte offset; `.duplicate` for a member named twice; `.tooLarge` past
///   `valueLimit` (tables: `tableValueLimit`) values or `depthLimit` levels.
package struct JSONReader {
  static let depthLimit = 64
  static let valueLimit = 1_000_000
  /// Gemma's 256,000 pieces with 580,000 merges as pairs are two million values.
  static let tableValueLimit = 4_000_000

  private let bytes: [UInt8]
  private let isTable: Bool
  private var index = 0
  private var valueCount = 0

  /// The value of a whole text.
  ///
  /// - Parameter isTable: member names are a vocabulary: more values, and names whose bytes differ are two,
  ///   though canonically equal (U+212B and U+00C5).
  package static func parse(_ bytes: [UInt8], isTable: Bool = false) throws(SystemError) -> JSON {
    var reader = JSONReader(bytes: bytes, isTable: isTable)
    let value = try reader.value(depth: 0)
    reader.skipSpace()
    if reader.index != bytes.count { throw reader.fault("the end of the JSON text is expected") }
    return value
  }

  private init(bytes: [UInt8], isTable: Bool) {
    self.bytes = bytes
    self.isTable = isTable
  }

  private func fault(_ what: String) -> SystemError { SystemError(.malformed(what), offset: index) }

  private mutating func skipSpace() {
    while index < bytes.count {
      let byte = bytes[index]
      if byte != 0x20 && byte != 0x09 && byte != 0x0a && byte != 0x0d { return }
      index += 1
    }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    if index < bytes.count, bytes[index] == byte {
      index += 1
      return true
    }
    return false
  }

  private mutating func value(depth: Int) throws(SystemError) -> JSON {
    valueCount += 1
    let valueLimit = isTable ? Self.tableValueLimit : Self.valueLimit
    if valueCount > valueLimit || depth > Self.depthLimit {
      let (what, found, limit) =
        depth > Self.depthLimit
        ? ("JSON depth", depth, Self.depthLimit) : ("JSON values", valueCount, valueLimit)
      throw SystemError(.tooLarge(what: what, found: UInt64(found), limit: limit), offset: index)
    }
    skipSpace()
    guard index < bytes.count else { throw fault("the JSON text ends early") }
    switch bytes[index] {
    case 0x7b: return try object(depth: depth)
    case 0x5b: return try array(depth: depth)
    case 0x22: return .string(try text())
    case 0x74: return try word("true", .bool(true))
    case 0x66: return try word("false", .bool(false))
    case 0x6e: return try word("null", .null)
    default: return try number()
    }
  }

  private mutating func word(_ word: String, _ value: JSON) throws(SystemError) -> JSON {
    for byte in word.utf8 where !take(byte) { throw fault("'\(word)' is expected") }
    return value
  }

  private mutating func array(depth: Int) throws(SystemError) -> JSON {
    index += 1
    var items: [JSON] = []
    skipSpace()
    if take(0x5d) { return .array(items) }
    while true {
      items.append(try value(depth: depth + 1))
      skipSpace()
      if take(0x5d) { return .array(items) }
      if !take(0x2c) { throw fault("',' or ']' is expected") }
    }
  }

  private mutating func object(depth: Int) throws(SystemError) -> JSON {
    index += 1
    var members: [(String, JSON)] = []
    var keys = Set<String>()
    var spellings = Set<[UInt8]>()
    skipSpace()
    if take(0x7d) { return .object(members) }
    while true {
      skipSpace()
      if index >= bytes.count || bytes[index] != 0x22 { throw fault("a member name is expected") }
      let start = index
      let key = try text()
      // Byte-wise comparison would miss canonically equal names; String's own is the stricter one.
      let isNew = isTable ? spellings.insert(Array(key.utf8)).inserted : keys.insert(key).inserted
      if !isNew { throw SystemError(.duplicate, offset: start, name: key) }
      skipSpace()
      if !take(0x3a) { throw fault("':' is expected") }
      members.append((key, try value(depth: depth + 1)))
      skipSpace()
      if take(0x7d) { return .object(members) }
      if !take(0x2c) { throw fault("',' or '}' is expected") }
    }
  }

  private mutating func text() throws(SystemError) -> String {
    let start = index
    index += 1
    var plain: [UInt8] = []
    while true {
      guard index < bytes.count else { throw fault("a string has no end") }
      let byte = bytes[index]
      index += 1
      if byte == 0x22 { break }
      if byte < 0x20 { throw fault("a control character inside a string") }
      if byte == 0x5c {
        try escape(into: &plain)
      } else {
        plain.append(byte)
      }
    }
    guard let text = String(validating: plain, as: UTF8.self) else {
      index = start
      throw fault("a string is not valid UTF-8")
    }
    return text
  }

  private mutating func escape(into plain: inout [UInt8]) throws(SystemError) {
    guard index < bytes.count else { throw fault("a string has no end") }
    let code = bytes[index]
    index += 1
    switch code {
    case 0x22, 0x5c, 0x2f: plain.append(code)
    case 0x62: plain.append(8)
    case 0x66: plain.append(12)
    case 0x6e: plain.append(10)
    case 0x72: plain.append(13)
    case 0x74: plain.append(9)
    case 0x75:
      var scalar = try fourDigits()
      if (0xd800..<0xdc00).contains(scalar) {
        guard take(0x5c), take(0x75) else { throw fault("half of a surrogate pair") }
        let low = try fourDigits()
        guard (0xdc00..<0xe000).contains(low) else { throw fault("half of a surrogate pair") }
        scalar = 0x10000 + ((scalar - 0xd800) << 10) + (low - 0xdc00)
      }
      guard let value = Unicode.Scalar(scalar) else { throw fault("half of a surrogate pair") }
      plain.append(contentsOf: Array(String(Character(value)).utf8))
    default: throw fault("an unknown escape")
    }
  }

  private mutating func fourDigits() throws(SystemError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard index < bytes.count, let digit = Character(Unicode.Scalar(bytes[index])).hexDigitValue else {
        throw fault("four hexadecimal digits are expected")
      }
      value = value << 4 | UInt32(digit)
      index += 1
    }
    return value
  }

  private mutating func number() throws(SystemError) -> JSON {
    let start = index
    _ = take(0x2d)
    let firstDigit = index
    let whole = digits()
    if whole == 0 || (whole > 1 && bytes[firstDigit] == 0x30) {
      index = start
      throw fault("a JSON value is expected")
    }
    var isInteger = true
    if take(0x2e) {
      isInteger = false
      if digits() == 0 { throw fault("a digit is expected") }
    }
    if take(0x65) || take(0x45) {
      isInteger = false
      if !take(0x2b) { _ = take(0x2d) }
      if digits() == 0 { throw fault("a digit is expected") }
    }
    if index - start > 400 { throw fault("a number is too long") }
    let text = String(decoding: bytes[start..<index], as: UTF8.self)
    if isInteger, let value = Int(text) { return .int(value) }
    guard let value = Double(text) else { throw fault("a number is expected") }
    return .number(value)
  }

  private mutating func digits() -> Int {
    let start = index
    while index < bytes.count, (0x30...0x39).contains(bytes[index]) { index += 1 }
    return index - start
  }
}
