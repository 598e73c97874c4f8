// The allowed opcodes: constants, containers, memo.

extension RestrictedPickle {
  /// Opcodes that push a constant; false when `code` is not one of them.
  func runConstant(_ code: UInt8) throws(QuantizationError) -> Bool {
    switch code {
    case 0x80:  // PROTO
      let version = try reader.byte()
      if version > 5 { throw fault(.unsupported("pickle protocol \(version) is newer than 5")) }
    case 0x95: _ = try reader.unsigned(8)  // FRAME: a hint for buffering
    case 0x4e: try push(.none)  // NONE
    case 0x88: try push(.bool(true))  // NEWTRUE
    case 0x89: try push(.bool(false))  // NEWFALSE
    case 0x4a: try push(.integer(Int(Int32(truncatingIfNeeded: try reader.unsigned(4)))))  // BININT
    case 0x4b: try push(.integer(Int(try reader.byte())))  // BININT1
    case 0x4d: try push(.integer(Int(try reader.unsigned(2))))  // BININT2
    case 0x8a: try pushLong(try reader.count(1, limit: 255, what: "digits"))  // LONG1
    case 0x8b: try pushLong(try reader.count(4, limit: 4096, what: "digits"))  // LONG4
    case 0x49: try pushInteger(try line())  // INT
    case 0x4c: try pushInteger(try line())  // LONG
    case 0x47:  // BINFLOAT
      let bytes = try reader.bytes(8)
      try push(.float(Double(bitPattern: bytes.reduce(0) { $0 << 8 | UInt64($1) })))
    case 0x46:  // FLOAT
      try push(.float(Double(try line()) ?? .nan))
    case 0x58: try pushText(countWidth: 4)  // BINUNICODE
    case 0x8c: try pushText(countWidth: 1)  // SHORT_BINUNICODE
    case 0x8d: try pushText(countWidth: 8)  // BINUNICODE8
    case 0x55: try pushLatin(countWidth: 1)  // SHORT_BINSTRING
    case 0x54: try pushLatin(countWidth: 4)  // BINSTRING
    case 0x43: try pushBytes(countWidth: 1)  // SHORT_BINBYTES
    case 0x42: try pushBytes(countWidth: 4)  // BINBYTES
    case 0x8e, 0x96: try pushBytes(countWidth: 8)  // BINBYTES8, BYTEARRAY8
    default: return false
    }
    return true
  }

  /// Opcodes that build containers or use the memo; false when `code` is not one of them.
  func runContainer(_ code: UInt8) throws(QuantizationError) -> Bool {
    switch code {
    case 0x28:  // MARK
      if marks.count >= Self.stackLimit { throw limit("pickle marks", Self.stackLimit, marks.count + 1) }
      marks.append(stack.count)
    case 0x30:  // POP
      if let mark = marks.last, mark == stack.count { marks.removeLast() } else { _ = try pop() }
    case 0x31: _ = try popToMark()  // POP_MARK
    case 0x5d:  // EMPTY_LIST
      sequences.append([])
      try push(.list(sequences.count - 1))
    case 0x7d: try pushTable()  // EMPTY_DICT
    case 0x29: try pushTuple([])  // EMPTY_TUPLE
    case 0x8f: try push(.opaque)  // EMPTY_SET
    case 0x85: try pushTuple([try pop()])  // TUPLE1
    case 0x86:  // TUPLE2
      let second = try pop()
      try pushTuple([try pop(), second])
    case 0x87:  // TUPLE3
      let third = try pop()
      let second = try pop()
      try pushTuple([try pop(), second, third])
    case 0x74: try pushTuple(try popToMark())  // TUPLE
    case 0x91:  // FROZENSET
      _ = try popToMark()
      try push(.opaque)
    case 0x61: try append([try pop()])  // APPEND
    case 0x65, 0x90: try append(try popToMark())  // APPENDS, ADDITEMS
    case 0x73:  // SETITEM
      let value = try pop()
      try setItems([try pop(), value])
    case 0x75: try setItems(try popToMark())  // SETITEMS
    case 0x71: try remember(Int(try reader.byte()))  // BINPUT
    case 0x72: try remember(Int(try reader.unsigned(4)))  // LONG_BINPUT
    case 0x94: try remember(memo.count)  // MEMOIZE
    case 0x68: try recall(Int(try reader.byte()))  // BINGET
    case 0x6a: try recall(Int(try reader.unsigned(4)))  // LONG_BINGET
    default: return false
    }
    return true
  }

  // MARK: Memo

  private func remember(_ index: Int) throws(QuantizationError) {
    if memo.count >= Self.nodeLimit { throw limit("pickle memo", Self.nodeLimit, memo.count + 1) }
    memo[index] = try top()
  }

  private func recall(_ index: Int) throws(QuantizationError) {
    guard let reference = memo[index] else { throw malformed("memo \(index) was never written") }
    try pushReference(reference)
  }

  // MARK: Containers

  private func append(_ items: [Int32]) throws(QuantizationError) {
    switch node(try top()) {
    case .list(let index): sequences[index].append(contentsOf: items)
    case .opaque, .namespace, .dictionary: break
    default: throw malformed("items for something that is not a list")
    }
  }

  private func setItems(_ items: [Int32]) throws(QuantizationError) {
    if items.count % 2 != 0 { throw malformed("a key without a value") }
    switch node(try top()) {
    case .dictionary(let index):
      for pair in stride(from: 0, to: items.count, by: 2) {
        tables[index].append((key: items[pair], value: items[pair + 1]))
      }
    case .opaque, .namespace, .list: break
    default: throw malformed("keys for something that is not a dictionary")
    }
  }

  // MARK: Constants

  private func pushLong(_ count: Int) throws(QuantizationError) {
    let bytes = try reader.bytes(count)
    if count <= 8 {
      var value: UInt64 = bytes.last.map { $0 & 0x80 != 0 } == true ? ~0 : 0
      for byte in bytes.reversed() { value = value << 8 | UInt64(byte) }
      return try push(.integer(Int(truncatingIfNeeded: value)))
    }
    var digits = "0x"
    for byte in bytes { digits += (byte < 16 ? "0" : "") + String(byte, radix: 16) }
    try push(.bigInteger(digits))
  }

  private func pushInteger(_ line: String) throws(QuantizationError) {
    if line == "00" { return try push(.bool(false)) }
    if line == "01" { return try push(.bool(true)) }
    let digits = line.hasSuffix("L") ? String(line.dropLast()) : line
    if let value = Int(digits) { return try push(.integer(value)) }
    if digits.isEmpty || !digits.utf8.dropFirst().allSatisfy({ (0x30...0x39).contains($0) }) {
      throw malformed("a number is expected")
    }
    try push(.bigInteger(digits))
  }

  private func pushText(countWidth: Int) throws(QuantizationError) {
    let count = try reader.count(countWidth, limit: Self.textLimit, what: "text bytes")
    guard let text = String(validating: try reader.bytes(count), as: UTF8.self) else {
      throw malformed("a text is not valid UTF-8")
    }
    try push(.text(text))
  }

  /// Python 2 strings: one byte a character.
  private func pushLatin(countWidth: Int) throws(QuantizationError) {
    let count = try reader.count(countWidth, limit: Self.textLimit, what: "text bytes")
    var text: [UInt8] = []
    for byte in try reader.bytes(count) {
      if byte < 0x80 {
        text.append(byte)
      } else {
        text += [0xc0 | byte >> 6, 0x80 | byte & 0x3f]
      }
    }
    try push(.text(String(decoding: text, as: UTF8.self)))
  }

  private func pushBytes(countWidth: Int) throws(QuantizationError) {
    try reader.skip(try reader.count(countWidth, limit: Int.max, what: "bytes"))
    try push(.opaque)
  }

  /// Text up to a line feed, which is consumed; at most 4096 bytes.
  func line() throws(QuantizationError) -> String {
    var bytes: [UInt8] = []
    while true {
      let byte = try reader.byte()
      if byte == 0x0a { break }
      if bytes.count == 4096 { throw limit("line bytes", 4096, bytes.count + 1) }
      bytes.append(byte)
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw malformed("a line is not valid UTF-8")
    }
    return text
  }
}
