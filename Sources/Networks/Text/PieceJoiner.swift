// Joins neighbouring pieces, best pair first: a linked list of symbols and a heap of pairs.

/// Which neighbours may be joined, and which before which.
///
/// - Memory: 4 B a piece; with merges 12 B a slot, at least two slots for three merges.
struct PieceJoins: Sendable {
  /// Ranks are kept as floats, exact up to here.
  static let mergeLimit = 1 << 24

  private let scores: [Float]
  /// Left piece << 32 | right piece, and the rank of their merge; empty without merges.
  private var keys: [UInt64] = []
  private var ranks: [UInt32] = []

  /// - Errors: `.model` for a score that is no number, and for a merge that is not two pieces of a third.
  init(_ store: SentencePieceStore, _ index: PieceIndex) throws(SegmentationError) {
    guard let merges = store.merges else {
      scores = (0..<store.count).map(store.score)
      guard !scores.contains(where: \.isNaN) else {
        throw SegmentationError(
          .model("a score is no number; the file is damaged"), field: "tokenizer.ggml.scores")
      }
      return
    }
    scores = []
    guard merges.count >= 0, merges.count <= Self.mergeLimit else {
      throw SegmentationError(
        .limit(what: "merges", value: merges.count, limit: Self.mergeLimit), field: Self.field)
    }
    var capacity = 16
    while capacity < merges.count + merges.count / 2 { capacity *= 2 }
    keys = Array(repeating: .max, count: capacity)
    ranks = Array(repeating: 0, count: capacity)
    var problem: String?
    var next = 0
    merges.lines { rank, line in
      guard problem == nil else { return }
      guard rank == next, rank < merges.count else {
        problem = "merge \(rank) is out of order"
        return
      }
      next += 1
      problem = insert(rank, line, index)
    }
    if problem == nil, next != merges.count { problem = "\(next) merges where \(merges.count) are expected" }
    if let problem { throw SegmentationError(.model(problem + "; the file is damaged"), field: Self.field) }
  }

  private static let field = "tokenizer.ggml.merges"

  private mutating func insert(_ rank: Int, _ line: UnsafeBufferPointer<UInt8>, _ index: PieceIndex)
    -> String?
  {
    guard let space = line.firstIndex(of: 0x20), line.count <= 2 * PieceIndex.byteLimit else {
      return "merge \(rank) is not two pieces"
    }
    let joint = Array(line[..<space]) + Array(line[(space + 1)...])
    guard let left = index.number(of: UnsafeBufferPointer(rebasing: line[..<space])),
      let right = index.number(of: UnsafeBufferPointer(rebasing: line[(space + 1)...])),
      joint.withUnsafeBufferPointer({ index.number(of: $0) }) != nil
    else { return "merge \(rank) is not two pieces that make a third" }
    let key = UInt64(left) << 32 | UInt64(right)
    let slot = slot(of: key)
    guard keys[slot] == .max else { return "merge \(rank) occurs twice" }
    keys[slot] = key
    ranks[slot] = UInt32(rank)
    return nil
  }

  private func slot(of key: UInt64) -> Int {
    let mask = keys.count - 1
    var slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
    while keys[slot] != key, keys[slot] != .max { slot = (slot + 1) & mask }
    return slot
  }

  /// The piece that two neighbours make and how early it is made, higher first; nil if they stay apart.
  func joint(
    _ left: Int32, _ right: Int32, text: UnsafeBufferPointer<UInt8>, _ index: PieceIndex
  ) -> (piece: Int32, priority: Float)? {
    if keys.isEmpty {
      guard let piece = index.number(of: text) else { return nil }
      return (Int32(piece), scores[piece])
    }
    guard left >= 0, right >= 0 else { return nil }
    let slot = slot(of: UInt64(left) << 32 | UInt64(right))
    guard keys[slot] != .max, let piece = index.number(of: text) else { return nil }
    return (Int32(piece), -Float(ranks[slot]))
  }
}

/// The symbols of one text while they are joined.
///
/// - Memory: 24 B a character, and 20 B a pair with at most two pairs a character.
struct PieceJoiner {
  private struct Symbol {
    var start: Int32
    /// 0 for a symbol that was joined to the one before.
    var length: Int32
    var previous: Int32
    var next: Int32
    /// Piece number; -1 for a character that is none.
    var piece: Int32
    var isWhole: Bool
  }

  private struct Pair {
    var priority: Float
    var left: Int32
    var right: Int32
    /// Bytes of both when they were paired: another length tells that one of them has changed.
    var length: Int32
    var piece: Int32

    func precedes(_ other: Pair) -> Bool {
      priority > other.priority || priority == other.priority && left < other.left
    }
  }

  private let text: UnsafeBufferPointer<UInt8>
  private var symbols: [Symbol] = []
  /// A binary heap, best pair first.
  private var heap: [Pair] = []

  /// Starts without symbols; `text` must outlive the joiner.
  init(_ text: UnsafeBufferPointer<UInt8>) {
    self.text = text
    symbols.reserveCapacity(text.count)
  }

  /// Adds the next symbol of the text; a whole one is never joined.
  mutating func append(length: Int, piece: Int32, isWhole: Bool) {
    let last = Int32(symbols.count) - 1
    let start = last < 0 ? 0 : symbols[Int(last)].start + symbols[Int(last)].length
    if last >= 0 { symbols[Int(last)].next = last + 1 }
    symbols.append(
      Symbol(start: start, length: Int32(length), previous: last, next: -1, piece: piece, isWhole: isWhole))
  }

  /// Joins the best pair until there is none.
  mutating func join(_ joins: PieceJoins, _ index: PieceIndex) {
    for right in symbols.indices.dropFirst() { offer(Int32(right) - 1, Int32(right), joins, index) }
    while let pair = popBest() {
      let left = symbols[Int(pair.left)]
      let right = symbols[Int(pair.right)]
      guard left.length > 0, right.length > 0, left.length + right.length == pair.length else { continue }
      symbols[Int(pair.left)].length = pair.length
      symbols[Int(pair.left)].piece = pair.piece
      symbols[Int(pair.left)].next = right.next
      if right.next >= 0 { symbols[Int(right.next)].previous = pair.left }
      symbols[Int(pair.right)].length = 0
      if left.previous >= 0 { offer(left.previous, pair.left, joins, index) }
      if right.next >= 0 { offer(pair.left, right.next, joins, index) }
    }
  }

  /// Calls `body` with the bytes and the piece of each symbol left.
  func visit(_ body: (_ range: Range<Int>, _ piece: Int32) -> Void) {
    var place = symbols.isEmpty ? -1 : 0
    while place >= 0 {
      let symbol = symbols[place]
      body(Int(symbol.start)..<Int(symbol.start + symbol.length), symbol.piece)
      place = Int(symbol.next)
    }
  }

  private mutating func offer(_ left: Int32, _ right: Int32, _ joins: PieceJoins, _ index: PieceIndex) {
    let a = symbols[Int(left)]
    let b = symbols[Int(right)]
    let length = Int(a.length + b.length)
    guard !a.isWhole, !b.isWhole, length <= index.longest else { return }
    let start = Int(a.start)
    let bytes = UnsafeBufferPointer(rebasing: text[start..<start + length])
    guard let joint = joins.joint(a.piece, b.piece, text: bytes, index) else { return }
    push(Pair(priority: joint.priority, left: left, right: right, length: Int32(length), piece: joint.piece))
  }

  // MARK: Heap

  private mutating func push(_ pair: Pair) {
    heap.append(pair)
    var place = heap.count - 1
    while place > 0, pair.precedes(heap[(place - 1) / 2]) {
      heap[place] = heap[(place - 1) / 2]
      place = (place - 1) / 2
    }
    heap[place] = pair
  }

  private mutating func popBest() -> Pair? {
    guard let best = heap.first, let last = heap.popLast() else { return nil }
    if heap.isEmpty { return best }
    var place = 0
    while true {
      var child = 2 * place + 1
      guard child < heap.count else { break }
      if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
      guard heap[child].precedes(last) else { break }
      heap[place] = heap[child]
      place = child
    }
    heap[place] = last
    return best
  }
}
