// Text from outside, for a terminal.

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
