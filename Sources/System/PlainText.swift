// Text for people: numbers, columns, and what came from outside.

/// Text from outside made safe for a one-line message: control characters escaped, length bounded.
package func printable(_ text: String, limit: Int) -> String {
  var shown = ""
  var count = 0
  for scalar in text.unicodeScalars {
    if count == limit { return shown + "..." }
    let value = scalar.value
    let isControl = value < 0x20 || (0x7f..<0xa0).contains(value)
    let isDirection = (0x2028...0x202e).contains(value) || (0x2066...0x2069).contains(value)
    if isControl || isDirection {
      shown += "\\u{" + String(value, radix: 16) + "}"
    } else {
      shown.unicodeScalars.append(scalar)
    }
    count += 1
  }
  return shown
}

/// A number with a fixed count of decimals.
package func fixed(_ value: Double, _ decimals: Int) -> String {
  guard value.isFinite else { return "-" }
  var scale = 1.0
  for _ in 0..<decimals { scale *= 10 }
  let rounded = (abs(value) * scale).rounded()
  guard rounded < 9e15 else { return "\(value)" }
  let whole = Int(rounded)
  let sign = value < 0 && whole != 0 ? "-" : ""
  if decimals == 0 { return sign + String(whole) }
  let unit = Int(scale)
  let fraction = String(whole % unit)
  return sign + String(whole / unit) + "." + String(repeating: "0", count: decimals - fraction.count)
    + fraction
}

/// Bytes as MiB with one decimal.
package func mebibytes(_ count: Int) -> String { fixed(Double(count) / 1_048_576, 1) }

/// Text in a column of given width.
package func padded(_ text: String, _ width: Int, right: Bool = false) -> String {
  let missing = width - text.count
  if missing <= 0 { return text }
  let space = String(repeating: " ", count: missing)
  return right ? space + text : text + space
}
