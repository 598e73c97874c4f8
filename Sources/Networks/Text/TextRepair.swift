// The repairs of ftfy that can matter for the name of a thing.

/// Repairs quotes, ligatures, widths, line breaks, control characters, normal form and wrongly decoded UTF-8.
///
/// - Memory: a few arrays of the text's length.
/// - Source: ftfy 6 `fix_text` with its defaults. Differs: see `TextCleaning`.
enum TextRepair {
  /// Repeats all repairs until nothing changes, line by line like ftfy.
  ///
  /// A `<` stops the unescaping in its line and in those behind it.
  static func repaired(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var out: [Unicode.Scalar] = []
    var start = 0
    var unescapes = true
    while start < text.count {
      let newline = text[start...].firstIndex(of: "\n")
      let end = newline.map { $0 + 1 } ?? text.count
      var line = Array(text[start..<end])
      if line.contains("<") { unescapes = false }
      while true {
        let before = line
        line = pass(line, unescapes: unescapes && !line.contains("<"))
        if line == before { break }
      }
      out.append(contentsOf: line)
      start = end
    }
    return out
  }

  private static func pass(_ text: [Unicode.Scalar], unescapes: Bool) -> [Unicode.Scalar] {
    var scalars = unescapes ? HTMLCharacters.strictlyUnescaped(text) : text
    while let decoded = redecoded(scalars) { scalars = decoded }
    var out: [Unicode.Scalar] = []
    out.reserveCapacity(scalars.count)
    var index = 0
    while index < scalars.count {
      let scalar = scalars[index]
      index += 1
      if scalar == "\r", index < scalars.count, scalars[index] == "\n" { continue }
      if scalar.value == 0x1B, let end = terminalEscape(scalars, index) {
        index = end
      } else {
        append(scalar, to: &out)
      }
    }
    return UnicodeNormalization.composed(out)
  }

  /// Appends what one scalar becomes.
  private static func append(_ scalar: Unicode.Scalar, to out: inout [Unicode.Scalar]) {
    switch scalar.value {
    case 0x20...0x7E, 0x09, 0x0A, 0x0C: out.append(scalar)
    case 0x0D, 0x2028, 0x2029: out.append("\n")
    case 0x00...0x1F, 0x7F, 0x206A...0x206F, 0xFEFF, 0xFFF9...0xFFFC: break
    case 0x80...0x9F: append(Windows1252.scalar(UInt8(scalar.value)), c1: true, to: &out)
    case 0x2BC, 0x2018...0x201B: out.append("'")
    case 0x201C...0x201F: out.append("\"")
    case 0x132, 0x133, 0x149, 0x1C4...0x1CC, 0x1F1...0x1F3, 0xFB00...0xFB06: appendLigature(scalar, to: &out)
    case 0x3000: out.append(" ")
    case 0xFF01...0xFF5E: out.append(Unicode.Scalar(scalar.value - 0xFEE0)!)
    case 0xFF5F...0xFFEE: out.append(contentsOf: HalfwidthForms.standard(scalar))
    default: out.append(scalar)
    }
  }

  /// A control character of the C1 range read as Windows-1252; the five holes of that code stay.
  private static func append(_ scalar: Unicode.Scalar, c1: Bool, to out: inout [Unicode.Scalar]) {
    if scalar.value < 0xA0 { out.append(scalar) } else { append(scalar, to: &out) }
  }

  private static func appendLigature(_ scalar: Unicode.Scalar, to out: inout [Unicode.Scalar]) {
    let letters: String
    switch scalar.value {
    case 0x132: letters = "IJ"
    case 0x133: letters = "ij"
    case 0x149: letters = "'n"
    case 0x1C4: letters = "D\u{17D}"
    case 0x1C5: letters = "D\u{17E}"
    case 0x1C6: letters = "d\u{17E}"
    case 0x1C7: letters = "LJ"
    case 0x1C8: letters = "Lj"
    case 0x1C9: letters = "lj"
    case 0x1CA: letters = "NJ"
    case 0x1CB: letters = "Nj"
    case 0x1CC: letters = "nj"
    case 0x1F1: letters = "DZ"
    case 0x1F2: letters = "Dz"
    case 0x1F3: letters = "dz"
    case 0xFB00: letters = "ff"
    case 0xFB01: letters = "fi"
    case 0xFB02: letters = "fl"
    case 0xFB03: letters = "ffi"
    case 0xFB04: letters = "ffl"
    case 0xFB05: letters = "\u{17F}t"
    default: letters = "st"
    }
    out.append(contentsOf: letters.unicodeScalars)
  }

  /// End of `ESC [ digits letter`, if that is what follows an escape character.
  private static func terminalEscape(_ text: [Unicode.Scalar], _ start: Int) -> Int? {
    guard start < text.count, text[start] == "[" else { return nil }
    var index = start + 1
    while index < text.count, text[index] == ";" || text[index].properties.generalCategory == .decimalNumber {
      index += 1
    }
    guard index < text.count else { return nil }
    let value = text[index].value
    return (0x41...0x5A).contains(value) || (0x61...0x7A).contains(value) ? index + 1 : nil
  }

  /// The text with UTF-8 sequences that were read as Latin-1 or Windows-1252 put right, or nil if there are
  /// none.
  ///
  /// One pair alone proves little (`NESTL\u{C9}\u{AE}`), unless it starts with a letter that opens the
  /// pairs of Western text; longer sequences and two pairs do not arise by chance.
  private static func redecoded(_ text: [Unicode.Scalar]) -> [Unicode.Scalar]? {
    guard text.contains(where: { $0.value >= 0xC2 && $0.value <= 0xF4 }) else { return nil }
    var out: [Unicode.Scalar] = []
    var index = 0
    var previousEnd = 0
    var sequences = 0
    var isCertain = false
    while index < text.count {
      let scalar = text[index]
      if let (decoded, count) = sequence(text, index, previousEnd: previousEnd) {
        out.append(decoded)
        index += count
        previousEnd = index
        sequences += 1
        isCertain = isCertain || count > 2 || scalar.value <= 0xC3
      } else if scalar.value == 0xC3, index + 1 < text.count, text[index + 1] == " ", followsWord(text, index)
      {
        // The second byte of "à", a no-break space, became a space.
        out.append("\u{E0}")
        index += index + 2 < text.count && text[index + 2] == " " ? 2 : 1
        isCertain = true
      } else {
        out.append(scalar)
        index += 1
      }
    }
    return isCertain || sequences > 1 ? out : nil
  }

  /// The character that a wrongly read sequence at `start` encodes, and the scalars it takes.
  private static func sequence(
    _ text: [Unicode.Scalar], _ start: Int, previousEnd: Int
  ) -> (Unicode.Scalar, Int)? {
    guard let lead = Windows1252.looseByte(text[start]), lead >= 0xC2, lead <= 0xF4 else { return nil }
    let count = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
    guard start + count <= text.count else { return nil }
    // A lead behind a stray second byte is no lead.
    if start > previousEnd, (0x80...0xBF).contains(text[start - 1].value) { return nil }
    var value = UInt32(lead) & (0x7F >> UInt32(count))
    for index in start + 1..<start + count {
      guard let byte = Windows1252.looseByte(text[index]), byte & 0xC0 == 0x80 else { return nil }
      value = value << 6 | UInt32(byte & 0x3F)
    }
    guard value >= [0x80, 0x800, 0x10000][count - 2], let scalar = Unicode.Scalar(value) else { return nil }
    return (scalar, count)
  }

  private static func followsWord(_ text: [Unicode.Scalar], _ index: Int) -> Bool {
    var before = index - 1
    if before >= 0, text[before] == " " { before -= 1 }
    return before >= 0 && (0x61...0x7A).contains(text[before].value)
  }
}

/// Windows-1252 with its five unassigned bytes standing for themselves.
enum Windows1252 {
  private static let upper: [UInt16] = [
    0x20AC, 0x81, 0x201A, 0x192, 0x201E, 0x2026, 0x2020, 0x2021, 0x2C6, 0x2030, 0x160, 0x2039, 0x152, 0x8D,
    0x17D,
    0x8F, 0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x2DC, 0x2122, 0x161, 0x203A, 0x153,
    0x9D,
    0x17E, 0x178,
  ]

  static func scalar(_ byte: UInt8) -> Unicode.Scalar {
    (0x80...0x9F).contains(byte) ? Unicode.Scalar(upper[Int(byte) - 0x80])! : Unicode.Scalar(byte)
  }

  /// The byte of a character in Windows-1252 or, if it has none there, in Latin-1.
  static func looseByte(_ scalar: Unicode.Scalar) -> UInt8? {
    if scalar.value <= 0xFF { return UInt8(scalar.value) }
    return upper.firstIndex { UInt32($0) == scalar.value }.map { UInt8(0x80 + $0) }
  }
}

/// Halfwidth katakana and Hangul and fullwidth signs, as their ordinary characters.
enum HalfwidthForms {
  private static let symbols: StaticString = """
    \u{2985}\u{2986}\u{3002}\u{300C}\u{300D}\u{3001}\u{30FB}\u{30F2}\u{30A1}\u{30A3}\u{30A5}\u{30A7}\u{30A9}\
    \u{30E3}\u{30E5}\u{30E7}\u{30C3}\u{30FC}\u{30A2}\u{30A4}\u{30A6}\u{30A8}\u{30AA}\u{30AB}\u{30AD}\u{30AF}\
    \u{30B1}\u{30B3}\u{30B5}\u{30B7}\u{30B9}\u{30BB}\u{30BD}\u{30BF}\u{30C1}\u{30C4}\u{30C6}\u{30C8}\u{30CA}\
    \u{30CB}\u{30CC}\u{30CD}\u{30CE}\u{30CF}\u{30D2}\u{30D5}\u{30D8}\u{30DB}\u{30DE}\u{30DF}\u{30E0}\u{30E1}\
    \u{30E2}\u{30E4}\u{30E6}\u{30E8}\u{30E9}\u{30EA}\u{30EB}\u{30EC}\u{30ED}\u{30EF}\u{30F3}\u{3099}\u{309A}
    """

  /// The ordinary form of U+FF5F ... U+FFEE; unassigned and unknown ones stay.
  static func standard(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
    let value = scalar.value
    switch value {
    case 0xFF5F...0xFF9F:
      var reader = LiteralScalars(symbols)
      for _ in 0xFF5F..<value { _ = reader.next() }
      return [reader.next() ?? scalar]
    case 0xFFA0: return ["\u{1160}"]
    case 0xFFA1...0xFFBE: return [hangul(value - 0xFFA1)]
    case 0xFFC2...0xFFC7: return [Unicode.Scalar(0x1161 + value - 0xFFC2)!]
    case 0xFFCA...0xFFCF: return [Unicode.Scalar(0x1167 + value - 0xFFCA)!]
    case 0xFFD2...0xFFD7: return [Unicode.Scalar(0x116D + value - 0xFFD2)!]
    case 0xFFDA...0xFFDC: return [Unicode.Scalar(0x1173 + value - 0xFFDA)!]
    case 0xFFE3: return [" ", "\u{304}"]
    case 0xFFE0...0xFFE6: return [pick([0xA2, 0xA3, 0xAC, 0xAF, 0xA6, 0xA5, 0x20A9], value - 0xFFE0)]
    case 0xFFE8...0xFFEE:
      return [pick([0x2502, 0x2190, 0x2191, 0x2192, 0x2193, 0x25A0, 0x25CB], value - 0xFFE8)]
    default: return [scalar]
    }
  }

  private static func hangul(_ index: UInt32) -> Unicode.Scalar {
    pick(
      [
        0x1100, 0x1101, 0x11AA, 0x1102, 0x11AC, 0x11AD, 0x1103, 0x1104, 0x1105, 0x11B0, 0x11B1, 0x11B2,
        0x11B3,
        0x11B4, 0x11B5, 0x111A, 0x1106, 0x1107, 0x1108, 0x1121, 0x1109, 0x110A, 0x110B, 0x110C, 0x110D,
        0x110E,
        0x110F, 0x1110, 0x1111, 0x1112,
      ], index)
  }

  private static func pick(_ values: [UInt32], _ index: UInt32) -> Unicode.Scalar {
    Unicode.Scalar(values[Int(index)])!
  }
}
