// Colours of label maps.

/// Red, green and blue of a pixel.
package struct Colour: Equatable, Hashable, Sendable {
  package var red: UInt8
  package var green: UInt8
  package var blue: UInt8

  package init(red: UInt8, green: UInt8, blue: UInt8) {
    (self.red, self.green, self.blue) = (red, green, blue)
  }

  /// `#RRGGBB`; nil for anything else.
  package init?(hex text: some StringProtocol) {
    let digits = text.utf8.dropFirst()
    guard text.utf8.first == 0x23, digits.count == 6, text.dropFirst().allSatisfy(\.isHexDigit),
      let value = UInt32(text.dropFirst(), radix: 16)
    else { return nil }
    self.init(
      red: UInt8(value >> 16), green: UInt8(value >> 8 & 255), blue: UInt8(value & 255))
  }

  package static let black = Colour(red: 0, green: 0, blue: 0)
  /// Of pixels of no class.
  package static let grey = Colour(red: 128, green: 128, blue: 128)

  /// How light it is, 0...255: the weights of Rec. 709, on the stored values.
  package var luma: Int { (54 * Int(red) + 183 * Int(green) + 19 * Int(blue)) >> 8 }
}

/// Up to 256 colours for an indexed picture.
///
/// - Shapes: `bytes` [count * 3], RGB.
/// - Memory: 3 bytes a colour.
package struct Palette: Equatable, Sendable {
  /// Red, green and blue of every colour.
  package private(set) var bytes: [UInt8]
  /// Colours in the list, 1...256.
  package var count: Int { bytes.count / 3 }

  /// A list of one's own. Traps unless it holds 1...256 whole colours.
  package init(bytes: [UInt8]) {
    precondition(bytes.count % 3 == 0 && (3...768).contains(bytes.count), "a palette has 1 to 256 colours")
    self.bytes = bytes
  }

  /// 256 colours that lie far apart, also for eyes without green receptors; none is black, white or grey.
  ///
  /// They were chosen one after another, so the first n are the colours of n classes, whatever n is.
  package static let standard: Palette = {
    let digits = Array(PaletteColours.digits.utf8)
    return Palette(
      bytes: stride(from: 0, to: digits.count, by: 2).map { at in
        digits[at..<at + 2].reduce(0) { $0 << 4 | ($1 < 0x41 ? $1 - 0x30 : $1 - 0x37) }
      })
  }()

  /// 256 distinct colours; 0 is black, neighbouring numbers are far apart in their bits.
  ///
  /// The bits of the number are dealt out in turn to red, green and blue, lowest bit first into the highest
  /// bit of its channel.
  ///
  /// - Source: the label colours of the PASCAL VOC development kit.
  package static let voc = Palette(
    bytes: (0..<256).flatMap { number -> [UInt8] in
      var colour: [UInt8] = [0, 0, 0]
      for bit in 0..<8 where number >> bit & 1 == 1 { colour[bit % 3] |= 0x80 >> UInt8(bit / 3) }
      return colour
    })

  /// Red, green and blue of one colour; numbers beyond the list wrap around.
  package subscript(number: Int) -> Colour {
    get {
      let at = 3 * (number % count)
      return Colour(red: bytes[at], green: bytes[at + 1], blue: bytes[at + 2])
    }
    set {
      let at = 3 * (number % count)
      (bytes[at], bytes[at + 1], bytes[at + 2]) = (newValue.red, newValue.green, newValue.blue)
    }
  }
}
