// A strict JSON parser (RFC 8259) with limits, for safetensors headers and tokenizer files.

/// A JSON value; object members stay in file order.
enum JSONValue {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case text(String)
  case array([JSONValue])
  case object([Member])

  struct Member {
    let key: String
    let value: JSONValue
  }

  /// The member of an object, or nil.
  func member(_ key: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }
}

/// Parses one JSON text.
///
/// - Memory: the values; at most `valueLimit` of them.
/// - Errors: `malformed` with the byte offset in the file; `duplicateName` for a member named twice;
///   `limitExceeded` past `valueLimit` values or `depthLimit` levels.
struct JSONReader {
  static let depthLimit = 64
  static let valueLimit = 1_000_000

  private let bytes: [UInt8]
  private let file: InputFile
  private let baseOffset: Int
  private var index = 0
  private var valueCount = 0

  private init(_ bytes: [UInt8], file: InputFile, baseOffset: Int) {
    self.bytes = bytes
    self.file = file
    self.baseOffset = baseOffset
  }

  /// - Units: `baseOffset` is where `bytes` begin in the file, for messages.
  static func parse(_ bytes: [UInt8], file: InputFile, baseOffset: Int) throws(QuantizationError) -> JSONValue
  {
    var reader = JSONReader(bytes, file: file, baseOffset: baseOffset)
    let value = try reader.value(depth: 0)
    reader.skipSpace()
    if reader.index != bytes.count { throw reader.fault("the end of the JSON text is expected") }
    return value
  }

  private func fault(_ what: String) -> QuantizationError {
    file.error(.malformed(what), at: baseOffset + index)
  }

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

  private mutating func value(depth: Int) throws(QuantizationError) -> JSONValue {
    valueCount += 1
    if valueCount > Self.valueLimit || depth > Self.depthLimit {
      let isDeep = depth > Self.depthLimit
      throw file.error(
        .limitExceeded(
          what: isDeep ? "JSON depth" : "JSON values", limit: isDeep ? Self.depthLimit : Self.valueLimit,
          found: isDeep ? depth : valueCount), at: baseOffset + index)
    }
    skipSpace()
    guard index < bytes.count else { throw fault("the JSON text ends early") }
    switch bytes[index] {
    case 0x7b: return try object(depth: depth)
    case 0x5b: return try array(depth: depth)
    case 0x22: return .text(try text())
    case 0x74: return try word("true", .bool(true))
    case 0x66: return try word("false", .bool(false))
    case 0x6e: return try word("null", .null)
    default: return try number()
    }
  }

  private mutating func word(_ word: String, _ value: JSONValue) throws(QuantizationError) -> JSONValue {
    for byte in word.utf8 where !take(byte) { throw fault("'\(word)' is expected") }
    return value
  }

  private mutating func array(depth: Int) throws(QuantizationError) -> JSONValue {
    index += 1
    var items: [JSONValue] = []
    skipSpace()
    if take(0x5d) { return .array(items) }
    while true {
      items.append(try value(depth: depth + 1))
      skipSpace()
      if take(0x5d) { return .array(items) }
      if !take(0x2c) { throw fault("',' or ']' is expected") }
    }
  }

  private mutating func object(depth: Int) throws(QuantizationError) -> JSONValue {
    index += 1
    var members: [JSONValue.Member] = []
    var keys = Set<String>()
    skipSpace()
    if take(0x7d) { return .object(members) }
    while true {
      skipSpace()
      if index >= bytes.count || bytes[index] != 0x22 { throw fault("a member name is expected") }
      let start = index
      let key = try text()
      // Byte-wise comparison would miss canonically equal names; String's own is the stricter one.
      if !keys.insert(key).inserted { throw file.error(.duplicateName, at: baseOffset + start, name: key) }
      skipSpace()
      if !take(0x3a) { throw fault("':' is expected") }
      members.append(JSONValue.Member(key: key, value: try value(depth: depth + 1)))
      skipSpace()
      if take(0x7d) { return .object(members) }
      if !take(0x2c) { throw fault("',' or '}' is expected") }
    }
  }

  private mutating func text() throws(QuantizationError) -> String {
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
    guard let text = String(strictUTF8: plain) else {
      index = start
      throw fault("a string is not valid UTF-8")
    }
    return text
  }

  private mutating func escape(into plain: inout [UInt8]) throws(QuantizationError) {
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

  private mutating func fourDigits() throws(QuantizationError) -> UInt32 {
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

  private mutating func number() throws(QuantizationError) -> JSONValue {
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
    if isInteger, let value = Int(text) { return .integer(value) }
    guard let value = Double(text) else { throw fault("a number is expected") }
    return .number(value)
  }

  private mutating func digits() -> Int {
    let start = index
    while index < bytes.count, (0x30...0x39).contains(bytes[index]) { index += 1 }
    return index - start
  }
}
