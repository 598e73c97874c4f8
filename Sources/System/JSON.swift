// JSON values and their text. Parsing is in `JSONReader.swift`.

/// A JSON value whose keys keep their order.
package enum JSON {
  case object([(String, JSON)])
  case array([JSON])
  case string(String)
  case int(Int)
  case number(Double)
  case bool(Bool)
  case null

  /// A number that was written in single precision: 0.2, not 0.200000002980232.
  package static func float(_ value: Float) -> JSON { .number(Double("\(value)") ?? Double(value)) }

  /// The member of an object, or nil.
  package func member(_ key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.0 == key }?.1
  }

  /// A string's text with its quotation marks.
  package static func quoted(_ text: String) -> String { JSON.string(text).text() }

  /// The text; `indent` < 0 writes one line.
  package func text(indent: Int = 0) -> String {
    var out = ""
    write(to: &out, indent: indent)
    return out
  }

  /// Neither a list nor an object; a list of such is one line.
  private var isPlain: Bool {
    switch self {
    case .object, .array: return false
    case .string, .int, .number, .bool, .null: return true
    }
  }

  private func write(to out: inout String, indent: Int) {
    switch self {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .int(let value): out += String(value)
    case .number(let value): out += value.isFinite ? Self.decimal(value) : "null"
    case .string(let value): Self.quote(value, to: &out)
    case .array(let values) where values.allSatisfy(\.isPlain):
      out += "[" + values.map { $0.text(indent: -1) }.joined(separator: indent < 0 ? "," : ", ") + "]"
    case .array(let values):
      Self.list(
        values.map { value in { value.write(to: &$0, indent: $1) } }, "[", "]", to: &out, indent: indent)
    case .object(let members):
      let parts = members.map { key, value in
        { (out: inout String, indent: Int) in
          Self.quote(key, to: &out)
          out += indent < 0 ? ":" : ": "
          value.write(to: &out, indent: indent)
        }
      }
      Self.list(parts, "{", "}", to: &out, indent: indent)
    }
  }

  private static func list(
    _ parts: [(inout String, Int) -> Void], _ open: String, _ close: String, to out: inout String, indent: Int
  ) {
    out += open
    let inner = indent < 0 ? -1 : indent + 2
    for (index, part) in parts.enumerated() {
      if index > 0 { out += "," }
      if indent >= 0 { out += "\n" + String(repeating: " ", count: inner) }
      part(&out, inner)
    }
    if indent >= 0 && !parts.isEmpty { out += "\n" + String(repeating: " ", count: indent) }
    out += close
  }

  /// Shortest text that reads back as the same number; whole numbers without a fraction.
  private static func decimal(_ value: Double) -> String {
    if value == value.rounded() && abs(value) < 1e15 { return String(Int(value)) }
    return "\(value)"
  }

  private static func quote(_ text: String, to out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\t": out += "\\t"
      case "\r": out += "\\r"
      case _ where scalar.value < 0x20:
        let hex = String(scalar.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    out += "\""
  }
}
