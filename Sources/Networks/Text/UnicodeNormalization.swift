// Canonical composition and decomposition (NFC, NFD) of short texts, without Foundation.

/// NFC and NFD over arrays of scalars, driven by the tables of `UnicodeTables`.
///
/// - Memory: one array of the text's length; about 100 KiB of tables from the first text that needs them.
/// - Source: Unicode Standard Annex 15. Differs: in NFC, CJK compatibility ideographs keep their own code
///   points.
enum UnicodeNormalization {
  private static let hangulBase: UInt32 = 0xAC00, leadBase: UInt32 = 0x1100
  private static let vowelBase: UInt32 = 0x1161, tailBase: UInt32 = 0x11A7
  private static let vowelCount: UInt32 = 21, tailCount: UInt32 = 28, leadCount: UInt32 = 19

  /// The composed form of `text`.
  ///
  /// - Memory: allocates only if a scalar is present that composition can touch.
  static func composed(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    if text.allSatisfy(isStable) { return text }
    var scalars: [Unicode.Scalar] = []
    scalars.reserveCapacity(text.count + 8)
    for scalar in text { decompose(scalar, into: &scalars) }
    reorder(&scalars)
    return compose(scalars)
  }

  /// The decomposed form of `text`, CJK compatibility ideographs included.
  static func decomposed(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var scalars: [Unicode.Scalar] = []
    scalars.reserveCapacity(text.count + 8)
    for scalar in text {
      switch scalar.value {
      case 0xF900...0xFAD9: scalars.append(ideograph(scalar, UnicodeIdeographs.lower, from: 0xF900))
      case 0x2F800...0x2FA1D: scalars.append(ideograph(scalar, UnicodeIdeographs.upper, from: 0x2F800))
      default: decompose(scalar, into: &scalars)
      }
    }
    reorder(&scalars)
    return scalars
  }

  /// The ideograph that a compatibility form stands for; a hyphen in the table means itself.
  private static func ideograph(
    _ scalar: Unicode.Scalar, _ table: StaticString, from first: UInt32
  ) -> Unicode.Scalar {
    var reader = LiteralScalars(table)
    for _ in first..<scalar.value { _ = reader.next() }
    guard let plain = reader.next(), plain != "-" else { return scalar }
    return plain
  }

  /// Common characters that NFC neither replaces nor joins to the one before: a text of these is composed.
  private static func isStable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0...0x2FF, 0x400...0x482, 0x48A...0x58A, 0x1E00...0x1EFF, 0x2010...0x20CF, 0x3041...0x3098,
      0x30A0...0x30FF, 0x3400...0x9FFF, 0xAC00...0xD7A3, 0x1F000...0x1FAFF:
      true
    case 0x370...0x3FF: scalar.value != 0x374 && scalar.value != 0x37E && scalar.value != 0x387
    default: false
    }
  }

  private static func decompose(_ scalar: Unicode.Scalar, into out: inout [Unicode.Scalar]) {
    let value = scalar.value
    if value < 0xC0 || (0x3400...0x9FFF).contains(value) {
      out.append(scalar)
    } else if value >= hangulBase, value < hangulBase + leadCount * vowelCount * tailCount {
      let index = value - hangulBase
      out.append(unsafeScalar(leadBase + index / (vowelCount * tailCount)))
      out.append(unsafeScalar(vowelBase + index % (vowelCount * tailCount) / tailCount))
      if index % tailCount != 0 { out.append(unsafeScalar(tailBase + index % tailCount)) }
    } else if let pair = pairs[scalar] {
      decompose(pair.0, into: &out)
      out.append(pair.1)
    } else if !appendSingleton(scalar, to: &out) {
      out.append(scalar)
    }
  }

  /// Sorts each run of combining marks by class, keeping the order of equals.
  private static func reorder(_ scalars: inout [Unicode.Scalar]) {
    var ranks = scalars.map(combiningClass)
    for index in scalars.indices.dropFirst() where ranks[index] != 0 {
      var place = index
      while place > 0, ranks[place - 1] > ranks[place] {
        scalars.swapAt(place - 1, place)
        ranks.swapAt(place - 1, place)
        place -= 1
      }
    }
  }

  private static func compose(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var out: [Unicode.Scalar] = []
    out.reserveCapacity(scalars.count)
    var starter = -1
    var lastClass = -1
    for scalar in scalars {
      let rank = Int(combiningClass(scalar))
      if starter >= 0, lastClass < rank || lastClass == -1, let whole = composition(out[starter], scalar) {
        out[starter] = whole
        continue
      }
      if rank == 0 {
        starter = out.count
        lastClass = -1
      } else {
        lastClass = rank
      }
      out.append(scalar)
    }
    return out
  }

  private static func composition(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
    let (a, b) = (first.value, second.value)
    if a >= leadBase, a < leadBase + leadCount, b >= vowelBase, b < vowelBase + vowelCount {
      return unsafeScalar(hangulBase + ((a - leadBase) * vowelCount + (b - vowelBase)) * tailCount)
    }
    if a >= hangulBase, a < hangulBase + leadCount * vowelCount * tailCount,
      (a - hangulBase) % tailCount == 0,
      b > tailBase, b < tailBase + tailCount
    {
      return unsafeScalar(a + b - tailBase)
    }
    return b >= 0x300 ? wholes[UInt64(a) << 32 | UInt64(b)] : nil
  }

  private static func appendSingleton(_ scalar: Unicode.Scalar, to out: inout [Unicode.Scalar]) -> Bool {
    guard let parts = singletons[scalar] else { return false }
    out.append(contentsOf: parts)
    return true
  }

  /// Whole of each pair, first scalar in the upper half of the key.
  private static let wholes: [UInt64: Unicode.Scalar] = {
    var table: [UInt64: Unicode.Scalar] = [:]
    var reader = LiteralScalars(UnicodeTables.compositions)
    while let first = reader.next(), let second = reader.next(), let whole = reader.next() {
      table[UInt64(first.value) << 32 | UInt64(second.value)] = whole
    }
    return table
  }()

  /// Pair of each whole.
  private static let pairs: [Unicode.Scalar: (Unicode.Scalar, Unicode.Scalar)] = {
    var table: [Unicode.Scalar: (Unicode.Scalar, Unicode.Scalar)] = [:]
    var reader = LiteralScalars(UnicodeTables.compositions)
    while let first = reader.next(), let second = reader.next(), let whole = reader.next() {
      table[whole] = (first, second)
    }
    return table
  }()

  private static let singletons: [Unicode.Scalar: [Unicode.Scalar]] = {
    var table: [Unicode.Scalar: [Unicode.Scalar]] = [:]
    var reader = LiteralScalars(UnicodeTables.singletons)
    while let key = reader.next() {
      _ = reader.next()
      while let part = reader.next(), part != " " { table[key, default: []].append(part) }
    }
    return table
  }()

  private static func combiningClass(_ scalar: Unicode.Scalar) -> UInt8 {
    scalar.value < 0x300 ? 0 : scalar.properties.canonicalCombiningClass.rawValue
  }

  /// A scalar whose value the caller has computed from the Hangul tables, hence valid.
  private static func unsafeScalar(_ value: UInt32) -> Unicode.Scalar { Unicode.Scalar(value)! }
}

/// Walks the scalars of a string literal in place.
///
/// - Memory: 0 B of heap.
struct LiteralScalars {
  private var bytes: UnsafePointer<UInt8>
  private let end: UnsafePointer<UInt8>

  init(_ literal: StaticString) {
    bytes = literal.utf8Start
    end = bytes + literal.utf8CodeUnitCount
  }

  mutating func next() -> Unicode.Scalar? {
    guard bytes < end else { return nil }
    let lead = UInt32(bytes[0])
    let count = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
    var value = count == 1 ? lead : lead & (0x7F >> UInt32(count))
    for index in 1..<max(count, 1) { value = value << 6 | UInt32(bytes[index] & 0x3F) }
    bytes += count
    return Unicode.Scalar(value)
  }
}
