// CLIP's byte-pair encoder, working on symbol numbers instead of strings.

/// Turns a phrase into CLIP's token numbers.
///
/// Symbols 0..<256 are the bytes in CLIP's order, 256..<512 the same bytes at the end of a word, 512 + r
/// the symbol that merge r makes; the start and end marks follow.
///
/// - Memory: 0.75 MiB for the published 48,894 merges; 1.6 MiB more while it is built.
/// - Source: openai/CLIP `simple_tokenizer.py`; over-long texts as open_clip `tokenize`.
package struct BytePairTokenizer: Tokenizer {
  /// Symbols that exist before the first merge.
  package static let byteSymbolCount = 512
  /// Merges a file may hold: symbol numbers are stored in 16 bits.
  package static let mergeLimit = 65_535 - byteSymbolCount - 2

  /// Tokens the text tower has positions for, marks included.
  package let contextLength: Int
  package let startToken: Int32
  package let endToken: Int32
  /// Nil: attention is causal, so that nothing behind the end mark counts.
  package var padToken: Int32? { nil }
  private let pairs: PairTable
  /// First symbol of each byte.
  private let byteSymbols: [UInt16]

  /// Number of tokens: bytes, merges, the two marks, and what a vocabulary was given besides.
  package let vocabularySize: Int

  /// Builds the tables from merge lines, which are read once and not kept.
  ///
  /// `marks`: behind the merges where nothing is said.
  /// `merges` calls its argument with a rank and that merge's line, `a b`, in UTF-8 of CLIP's byte
  /// alphabet; ranks rise and may skip (tests keep only the merges their phrases need).
  ///
  /// - Memory: see the type; nothing is kept per line but one table entry.
  /// - Errors: `.model` if a line is not two symbols known by then or repeats an earlier result, `.limit`
  ///   for too many merges.
  package init(
    mergeCount: Int, contextLength: Int, marks: TextMarks? = nil, vocabularySize: Int? = nil,
    merges: (_ body: (_ rank: Int, _ line: UnsafeBufferPointer<UInt8>) -> Void) -> Void
  ) throws(SegmentationError) {
    precondition(contextLength >= 2, "a context holds at least the two marks")
    guard mergeCount >= 0, mergeCount <= Self.mergeLimit else {
      throw SegmentationError(
        .limit(what: "merges", value: mergeCount, limit: Self.mergeLimit), field: "merges")
    }
    self.contextLength = contextLength
    let first = Self.byteSymbolCount + mergeCount
    startToken = Int32(marks?.begin ?? first)
    endToken = Int32(marks?.end ?? first + 1)
    self.vocabularySize = vocabularySize ?? first + 2
    var builder = MergeBuilder(mergeCount: mergeCount)
    merges { rank, line in builder.add(rank: rank, line: line) }
    if let error = builder.error { throw error }
    pairs = builder.pairs
    byteSymbols = ByteAlphabet.symbols()
  }

  /// The tokens of a text with both marks, not padded; a longer text is cut and ends with the end mark.
  ///
  /// An end mark written in the text ends it: CLIP takes the vector at the first one.
  ///
  /// - Shapes: 2...`contextLength` tokens.
  package func tokens(_ text: String) -> [Int32] {
    var out = [startToken]
    out.append(contentsOf: encode(text))
    out.append(endToken)
    if out.count > contextLength {
      out.removeSubrange(contextLength...)
      out[contextLength - 1] = endToken
    }
    out.removeSubrange((out.firstIndex(of: endToken)! + 1)...)
    return out
  }

  /// The tokens of a text without marks and without a limit.
  package func encode(_ text: String) -> [Int32] {
    let scalars = TextCleaning.clean(text)
    var out: [Int32] = []
    var word: [UInt16] = []
    var index = 0
    while let piece = WordSplitter.next(scalars, from: index) {
      index = piece.range.upperBound
      switch piece.kind {
      case .start: out.append(startToken)
      case .end: out.append(endToken)
      case .word:
        word.removeAll(keepingCapacity: true)
        for scalar in scalars[piece.range] {
          for byte in UTF8.encode(scalar)! { word.append(byteSymbols[Int(byte)]) }
        }
        word[word.count - 1] += 256
        merge(&word)
        for symbol in word { out.append(Int32(symbol)) }
      }
    }
    return out
  }

  /// Joins neighbours, lowest rank first, until no pair has a merge.
  ///
  /// A pair with the new symbol always ranks behind the merge that made it, so joining one occurrence at a
  /// time equals joining all of them at once.
  private func merge(_ word: inout [UInt16]) {
    while word.count > 1 {
      var best = UInt16.max
      var place = 0
      for index in 0..<word.count - 1 {
        if let symbol = pairs.symbol(word[index], word[index + 1]), symbol < best {
          best = symbol
          place = index
        }
      }
      if best == .max { return }
      word[place] = best
      word.remove(at: place + 1)
    }
  }
}

/// Symbol pair -> symbol, open addressing.
///
/// - Memory: 6 B a slot, at least two slots for three entries.
private struct PairTable: Sendable {
  private var keys: [UInt32]
  private var symbols: [UInt16]

  init(count: Int) {
    var capacity = 16
    while capacity < count + count / 2 { capacity *= 2 }
    keys = Array(repeating: .max, count: capacity)
    symbols = Array(repeating: 0, count: capacity)
  }

  func symbol(_ first: UInt16, _ second: UInt16) -> UInt16? {
    let key = UInt32(first) << 16 | UInt32(second)
    let slot = slot(of: key)
    return keys[slot] == key ? symbols[slot] : nil
  }

  mutating func insert(_ first: UInt16, _ second: UInt16, _ symbol: UInt16) {
    let key = UInt32(first) << 16 | UInt32(second)
    let slot = slot(of: key)
    keys[slot] = key
    symbols[slot] = symbol
  }

  /// The slot that holds a key or the free one where it belongs; a key of all ones never occurs.
  private func slot(of key: UInt32) -> Int {
    let mask = keys.count - 1
    var slot = Int(truncatingIfNeeded: (UInt64(key) &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
    while keys[slot] != key, keys[slot] != .max { slot = (slot + 1) & mask }
    return slot
  }
}

/// CLIP's printable stand-ins for bytes.
private enum ByteAlphabet {
  /// Bytes that stand for themselves, in CLIP's order; the others follow, in rising order, as U+0100 and up.
  private static func isPrintable(_ byte: Int) -> Bool {
    (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
  }

  /// Symbol number of each byte.
  static func symbols() -> [UInt16] {
    var out = [UInt16](repeating: 0, count: 256)
    var next: UInt16 = 0
    for byte in 0..<256 where isPrintable(byte) {
      out[byte] = next
      next += 1
    }
    for byte in 0..<256 where !isPrintable(byte) {
      out[byte] = next
      next += 1
    }
    return out
  }

  /// The stand-ins in symbol order.
  static func scalars() -> [Unicode.Scalar] {
    var out = (0..<256).filter(isPrintable).map { Unicode.Scalar(UInt8($0)) }
    for index in 0..<256 - out.count { out.append(Unicode.Scalar(UInt32(256 + index))!) }
    return out
  }
}

/// Reads merge lines in order and numbers the symbols they make.
///
/// - Memory: the bytes of all symbols (0.4 MiB), 4 B a symbol and 8 B a slot; freed after building.
private struct MergeBuilder {
  private(set) var pairs: PairTable
  private(set) var error: SegmentationError?
  private let mergeCount: Int
  private var lastRank = -1
  private var text: [UInt8] = []
  /// Start of entry i in `text`; entry i ends where i + 1 starts.
  private var starts: [UInt32] = [0]
  private var numbers: [UInt16] = []
  /// Entry index + 1, or 0 for a free slot.
  private var slots: [UInt32]
  /// The symbol being made; kept for its storage.
  private var joined: [UInt8] = []

  init(mergeCount: Int) {
    self.mergeCount = mergeCount
    pairs = PairTable(count: mergeCount)
    var capacity = 1024
    while capacity < 2 * (mergeCount + BytePairTokenizer.byteSymbolCount) { capacity *= 2 }
    slots = Array(repeating: 0, count: capacity)
    for ending in ["", "</w>"] {
      for scalar in ByteAlphabet.scalars() {
        _ = insert(Array(UTF8.encode(scalar)!) + Array(ending.utf8), UInt16(numbers.count))
      }
    }
  }

  mutating func add(rank: Int, line: UnsafeBufferPointer<UInt8>) {
    guard error == nil else { return }
    guard rank > lastRank, rank < mergeCount else {
      return fail(rank, "rank out of order; the model file is damaged")
    }
    lastRank = rank
    guard let space = line.firstIndex(of: 0x20), space > 0, space + 1 < line.count, line.count < 1024 else {
      return fail(rank, "not two symbols; the model file is damaged")
    }
    let first = UnsafeBufferPointer(rebasing: line[..<space])
    let second = UnsafeBufferPointer(rebasing: line[(space + 1)...])
    guard let a = number(of: first), let b = number(of: second) else {
      return fail(rank, "a symbol that no earlier merge makes; the model file is damaged")
    }
    let symbol = UInt16(BytePairTokenizer.byteSymbolCount + rank)
    joined.removeAll(keepingCapacity: true)
    joined.append(contentsOf: first)
    joined.append(contentsOf: second)
    guard insert(joined, symbol) else {
      return fail(rank, "makes a symbol that exists; the model file is damaged")
    }
    pairs.insert(a, b, symbol)
  }

  private mutating func fail(_ rank: Int, _ problem: String) {
    error = SegmentationError(.model("merge \(rank): " + problem), field: "tokenizer.ggml.merges")
  }

  private func number(of symbol: UnsafeBufferPointer<UInt8>) -> UInt16? {
    let entry = slots[slot(of: symbol)]
    return entry == 0 ? nil : numbers[Int(entry) - 1]
  }

  /// False if the symbol exists.
  private mutating func insert(_ symbol: [UInt8], _ number: UInt16) -> Bool {
    let slot = symbol.withUnsafeBufferPointer { self.slot(of: $0) }
    guard slots[slot] == 0 else { return false }
    text.append(contentsOf: symbol)
    starts.append(UInt32(text.count))
    numbers.append(number)
    slots[slot] = UInt32(numbers.count)
    return true
  }

  private func slot(of symbol: UnsafeBufferPointer<UInt8>) -> Int {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in symbol { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hash ^ hash >> 29) & mask
    while slots[slot] != 0, !matches(Int(slots[slot]) - 1, symbol) { slot = (slot + 1) & mask }
    return slot
  }

  private func matches(_ entry: Int, _ symbol: UnsafeBufferPointer<UInt8>) -> Bool {
    let start = Int(starts[entry])
    guard Int(starts[entry + 1]) - start == symbol.count else { return false }
    for index in symbol.indices where text[start + index] != symbol[index] { return false }
    return true
  }
}
