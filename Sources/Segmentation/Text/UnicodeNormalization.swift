// Canonical composition (NFC) of short texts, without Foundation.

/// NFC over arrays of scalars, driven by the tables of `UnicodeTables`.
///
/// - Memory: one array of the text's length; the tables are string literals.
/// - Source: Unicode Standard Annex 15. Differs: CJK compatibility ideographs keep their own code points.
enum UnicodeNormalization {
  private static let hangulBase: UInt32 = 0xAC00, leadBase: UInt32 = 0x1100
  private static let vowelBase: UInt32 = 0x1161, tailBase: UInt32 = 0x11A7
  private static let vowelCount: UInt32 = 21, tailCount: UInt32 = 28, leadCount: UInt32 = 19

  /// The composed form of `text`.
  ///
  /// - Memory: allocates only if a scalar at or above U+0300 is present; everything below is composed already.
  static func composed(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    guard text.contains(where: { $0.value >= 0x300 }) else { return text }
    var scalars: [Unicode.Scalar] = []
    scalars.reserveCapacity(text.count + 8)
    for scalar in text { decompose(scalar, into: &scalars) }
    reorder(&scalars)
    return compose(scalars)
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
    } else if let pair = pair(composing: scalar) {
      decompose(pair.0, into: &out)
      out.append(pair.1)
    } else if !appendSingleton(scalar, to: &out) {
      out.append(scalar)
    }
  }

  /// Sorts each run of combining marks by class, keeping the order of equals.
  private static func reorder(_ scalars: inout [Unicode.Scalar]) {
    for index in scalars.indices.dropFirst() {
      let rank = combiningClass(scalars[index])
      guard rank != 0 else { continue }
      var place = index
      while place > 0, combiningClass(scalars[place - 1]) > rank {
        scalars.swapAt(place - 1, place)
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
    if a >= hangulBase, a < hangulBase + leadCount * vowelCount * tailCount, (a - hangulBase) % tailCount == 0,
      b > tailBase, b < tailBase + tailCount
    {
      return unsafeScalar(a + b - tailBase)
    }
    guard b >= 0x300 else { return nil }
    var reader = LiteralScalars(UnicodeTables.compositions)
    while let x = reader.next(), let y = reader.next(), let whole = reader.next() {
      if x == first, y == second { return whole }
    }
    return nil
  }

  private static func pair(composing whole: Unicode.Scalar) -> (Unicode.Scalar, Unicode.Scalar)? {
    var reader = LiteralScalars(UnicodeTables.compositions)
    while let first = reader.next(), let second = reader.next(), let result = reader.next() {
      if result == whole { return (first, second) }
    }
    return nil
  }

  private static func appendSingleton(_ scalar: Unicode.Scalar, to out: inout [Unicode.Scalar]) -> Bool {
    var reader = LiteralScalars(UnicodeTables.singletons)
    while let key = reader.next() {
      _ = reader.next()
      let found = key == scalar
      while let part = reader.next(), part != " " {
        if found { out.append(part) }
      }
      if found { return true }
    }
    return false
  }

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
