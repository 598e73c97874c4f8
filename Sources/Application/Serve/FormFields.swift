// Keys and values of a query: percent-encoded text, strictly read.
import System

/// Fields of a request in the order in which they came; keys may repeat.
package struct FormFields: Equatable, Sendable {
  package struct Field: Equatable, Sendable {
    package let key: String
    package let value: String
  }

  package private(set) var list: [Field] = []

  package init() {}

  package mutating func add(_ key: String, _ value: String) { list.append(Field(key: key, value: value)) }

  /// Splits a target such as `/v1/segment?class=dog%3B+puppy` into its path and its fields.
  ///
  /// - Errors: 400 for escapes that are none and bytes that are no UTF-8.
  package static func split(target: String) throws(Refusal) -> (path: String, fields: FormFields) {
    let bytes = Array(target.utf8)
    let end = bytes.firstIndex(of: UInt8(ascii: "?")) ?? bytes.count
    let path = try decoded(bytes[..<end], plusIsSpace: false)
    var fields = FormFields()
    if end == bytes.count { return (path, fields) }
    for part in bytes[(end + 1)...].split(separator: UInt8(ascii: "&")) {
      let sign = part.firstIndex(of: UInt8(ascii: "=")) ?? part.endIndex
      let key = try decoded(part[..<sign], plusIsSpace: true)
      let value = try decoded(part[min(sign + 1, part.endIndex)...], plusIsSpace: true)
      fields.add(key, value)
    }
    return (path, fields)
  }

  private static func decoded(_ bytes: ArraySlice<UInt8>, plusIsSpace: Bool) throws(Refusal) -> String {
    var plain: [UInt8] = []
    plain.reserveCapacity(bytes.count)
    var index = bytes.startIndex
    while index < bytes.endIndex {
      let byte = bytes[index]
      index += 1
      switch byte {
      case UInt8(ascii: "+") where plusIsSpace: plain.append(0x20)
      case UInt8(ascii: "%"):
        guard index + 1 < bytes.endIndex, let high = digit(bytes[index]), let low = digit(bytes[index + 1])
        else { throw Refusal(400, "the address has a '%' without two hexadecimal digits behind it") }
        plain.append(high << 4 | low)
        index += 2
      default: plain.append(byte)
      }
    }
    guard let text = String(validating: plain, as: UTF8.self), !plain.contains(0) else {
      throw Refusal(400, "the address is not UTF-8 once its escapes are undone")
    }
    return text
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    Character(Unicode.Scalar(byte)).hexDigitValue.map { UInt8($0) }
  }
}
