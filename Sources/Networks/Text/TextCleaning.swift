// What CLIP does to a text before splitting it: repair, unescape, collapse white space, lower-case.

/// CLIP's text cleaning over arrays of scalars.
///
/// - Memory: a few arrays of the text's length.
/// - Source: openai/CLIP `simple_tokenizer.py` (`basic_clean`, `whitespace_clean`, `lower`); ftfy 6
///   `fix_text`. Differs: of ftfy's repair of wrongly decoded text only UTF-8 read as Latin-1 or
///   Windows-1252 is done, under simpler rules; entities are HTML 4's plus the ones valid without a
///   semicolon.
package enum TextCleaning {
  /// The cleaned, lower-cased text that the tokenizer splits.
  package static func clean(_ text: String) -> [Unicode.Scalar] {
    var scalars = Array(text.unicodeScalars)
    if scalars.contains(where: { $0.value >= 0x7F || $0.value < 0x20 || $0 == "&" }) {
      scalars = TextRepair.repaired(scalars)
      scalars = HTMLCharacters.unescaped(HTMLCharacters.unescaped(scalars))
    }
    return lowercased(collapsed(scalars))
  }

  /// Python's `str.isspace` for one character.
  static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F,
      0x3000:
      true
    default: false
    }
  }

  /// Runs of white space become one space; none is left at either end.
  static func collapsed(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var out: [Unicode.Scalar] = []
    out.reserveCapacity(text.count)
    var pending = false
    for scalar in text {
      if isSpace(scalar) {
        pending = !out.isEmpty
      } else {
        if pending { out.append(" ") }
        pending = false
        out.append(scalar)
      }
    }
    return out
  }

  /// Python's `str.lower`: full mappings, and sigma by its place in the word.
  static func lowercased(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var out: [Unicode.Scalar] = []
    out.reserveCapacity(text.count)
    for (index, scalar) in text.enumerated() {
      if scalar.value < 0x80 {
        let upper = scalar.value >= 0x41 && scalar.value <= 0x5A
        out.append(upper ? Unicode.Scalar(UInt8(scalar.value) + 32) : scalar)
      } else if scalar.value == 0x3A3 {
        out.append(isFinalSigma(text, at: index) ? "\u{3C2}" : "\u{3C3}")
      } else {
        out.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
      }
    }
    return out
  }

  /// A capital sigma ends a word if a letter with case stands before it and none after, marks aside.
  private static func isFinalSigma(_ text: [Unicode.Scalar], at index: Int) -> Bool {
    var before = index - 1
    while before >= 0, text[before].properties.isCaseIgnorable { before -= 1 }
    guard before >= 0, text[before].properties.isCased else { return false }
    var after = index + 1
    while after < text.count, text[after].properties.isCaseIgnorable { after += 1 }
    return after == text.count || !text[after].properties.isCased
  }
}

/// Character references of HTML.
///
/// - Source: Python `html.unescape` and the HTML standard; ftfy's stricter variant.
enum HTMLCharacters {
  /// Python's `html.unescape`: also references without a semicolon.
  static func unescaped(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] { replaced(text, reference) }

  /// ftfy's variant: only `&name;` and `&#number;`, and names in capitals mean the capital letter.
  static func strictlyUnescaped(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    replaced(text, strictReference)
  }

  private static func replaced(
    _ text: [Unicode.Scalar], _ reference: ([Unicode.Scalar], Int) -> ([Unicode.Scalar], Int)?
  ) -> [Unicode.Scalar] {
    guard text.contains("&") else { return text }
    var out: [Unicode.Scalar] = []
    var index = 0
    while index < text.count {
      if text[index] == "&", let (replacement, count) = reference(text, index + 1) {
        out.append(contentsOf: replacement)
        index += 1 + count
      } else {
        out.append(text[index])
        index += 1
      }
    }
    return out
  }

  /// The characters a reference stands for and how many scalars after `&` it took.
  private static func reference(_ text: [Unicode.Scalar], _ start: Int) -> ([Unicode.Scalar], Int)? {
    guard start < text.count else { return nil }
    if text[start] == "#" { return numericReference(text, start) }
    var end = start
    while end < text.count, end - start < 32, !isNameEnd(text[end]) { end += 1 }
    guard end > start else { return nil }
    if end < text.count, text[end] == ";", let found = named(text[start..<end], semicolon: true) {
      return ([found], end - start + 1)
    }
    var length = end - start
    while length > 1 {
      if let found = named(text[start..<start + length], semicolon: false) { return ([found], length) }
      length -= 1
    }
    return nil
  }

  private static func isNameEnd(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "\t", "\n", "\u{0C}", " ", "<", "&", "#", ";": true
    default: false
    }
  }

  private static func numericReference(_ text: [Unicode.Scalar], _ start: Int) -> ([Unicode.Scalar], Int)? {
    var index = start + 1
    let isHex = index < text.count && (text[index] == "x" || text[index] == "X")
    if isHex { index += 1 }
    let first = index
    var value: UInt32 = 0
    while index < text.count, let digit = digit(text[index], radix: isHex ? 16 : 10) {
      value = min(value * (isHex ? 16 : 10) + digit, 0x110000)
      index += 1
    }
    guard index > first else { return nil }
    if index < text.count, text[index] == ";" { index += 1 }
    return (character(value), index - start)
  }

  private static func digit(_ scalar: Unicode.Scalar, radix: UInt32) -> UInt32? {
    switch scalar.value {
    case 0x30...0x39: scalar.value - 0x30
    case 0x41...0x46 where radix == 16: scalar.value - 0x41 + 10
    case 0x61...0x66 where radix == 16: scalar.value - 0x61 + 10
    default: nil
    }
  }

  /// What a number means: C1 numbers are Windows-1252, impossible ones U+FFFD, control characters nothing.
  private static func character(_ value: UInt32) -> [Unicode.Scalar] {
    switch value {
    case 0, 0xD800...0xDFFF, 0x110000...: return ["\u{FFFD}"]
    case 0x80...0x9F: return [Windows1252.scalar(UInt8(value))]
    case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0xFDD0...0xFDEF: return []
    default: return value & 0xFFFE == 0xFFFE ? [] : [Unicode.Scalar(value)!]
    }
  }

  private static func strictReference(_ text: [Unicode.Scalar], _ start: Int) -> ([Unicode.Scalar], Int)? {
    var end = start
    let isNumber = start < text.count && text[start] == "#"
    if isNumber { end += 1 }
    let first = end
    while end < text.count, end - first < 24, text[end].isASCII, isAlphanumeric(text[end]) { end += 1 }
    guard end > first, end < text.count, text[end] == ";" else { return nil }
    if isNumber {
      guard let (replacement, count) = numericReference(text, start), count == end - start + 1,
        replacement != [";"]
      else { return nil }
      return (replacement, count)
    }
    let name = text[start..<end]
    if let found = named(name, semicolon: true) { return ([found], end - start + 1) }
    let lower = name.map { $0.value >= 0x41 && $0.value <= 0x5A ? Unicode.Scalar(UInt8($0.value) + 32) : $0 }
    guard !name.contains(where: { $0.value >= 0x61 }), let found = named(lower[...], semicolon: true) else {
      return nil
    }
    return (Array(found.properties.uppercaseMapping.unicodeScalars), end - start + 1)
  }

  private static func isAlphanumeric(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    default: false
    }
  }

  /// Looks a name up; without a semicolon only the marked names count.
  private static func named(_ name: ArraySlice<Unicode.Scalar>, semicolon: Bool) -> Unicode.Scalar? {
    guard let entity = entities[Array(name)], semicolon || entity.isMarked else { return nil }
    return entity.scalar
  }

  /// Named references; about 30 KiB from the first text that holds one.
  private static let entities: [[Unicode.Scalar]: (scalar: Unicode.Scalar, isMarked: Bool)] = {
    var table: [[Unicode.Scalar]: (scalar: Unicode.Scalar, isMarked: Bool)] = [:]
    var reader = LiteralScalars(UnicodeTables.entities)
    _ = reader.next()
    while var scalar = reader.next() {
      let isMarked = scalar == "*"
      if isMarked { scalar = reader.next()! }
      var name: [Unicode.Scalar] = []
      while scalar != "=" {
        name.append(scalar)
        scalar = reader.next()!
      }
      table[name] = (reader.next()!, isMarked)
      _ = reader.next()
    }
    return table
  }()
}
