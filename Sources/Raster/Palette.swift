// Colours of label maps.

/// Up to 256 colours for an indexed picture.
///
/// - Shapes: `bytes` [count * 3], RGB.
/// - Memory: 3 bytes a colour.
package struct Palette: Equatable, Sendable {
  /// Red, green and blue of every colour.
  package let bytes: [UInt8]
  /// Colours in the list, 1...256.
  package var count: Int { bytes.count / 3 }

  /// A list of one's own. Traps unless it holds 1...256 whole colours.
  package init(bytes: [UInt8]) {
    precondition(bytes.count % 3 == 0 && (3...768).contains(bytes.count), "a palette has 1 to 256 colours")
    self.bytes = bytes
  }

  /// 256 distinct colours; 0 is black, neighbouring numbers are far apart.
  ///
  /// The bits of the number are dealt out in turn to red, green and blue, lowest bit first into the highest bit
  /// of its channel, so early numbers differ in the bits that show most.
  ///
  /// - Source: the label colours of the PASCAL VOC development kit.
  package static let standard = Palette(
    bytes: (0..<256).flatMap { number -> [UInt8] in
      var colour: [UInt8] = [0, 0, 0]
      for bit in 0..<8 where number >> bit & 1 == 1 { colour[bit % 3] |= 0x80 >> UInt8(bit / 3) }
      return colour
    })

  /// Red, green and blue of one colour; numbers beyond the list wrap around.
  package subscript(number: Int) -> (red: UInt8, green: UInt8, blue: UInt8) {
    let at = 3 * (number % count)
    return (bytes[at], bytes[at + 1], bytes[at + 2])
  }
}
