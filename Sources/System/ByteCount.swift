// Sizes as people write them.

/// A byte count such as `48M`, `1.5G`, `65536K` or plain bytes.
package struct ByteCount: Equatable, Sendable {
  package var value: Int

  package init(value: Int) { self.value = value }

  package init?(_ text: String) {
    var text = Substring(text)
    if text.hasSuffix("iB") { text = text.dropLast(2) } else if text.hasSuffix("B") { text = text.dropLast() }
    let units: [Character: Double] = ["K": 1024, "M": 1_048_576, "G": 1_073_741_824]
    var unit = 1.0
    if let last = text.last, let factor = units[Character(last.uppercased())] {
      unit = factor
      text = text.dropLast()
    }
    guard let number = Double(text), number > 0, number * unit < 9e15 else { return nil }
    value = Int(number * unit)
  }

  /// As short as it can be read back: `32M`.
  package var text: String {
    for (unit, size) in [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)] where value > 0 && value % size == 0
    {
      return "\(value / size)\(unit)"
    }
    return "\(value)"
  }
}
