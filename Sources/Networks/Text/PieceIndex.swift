// Finds the number of a piece of text, in a vocabulary that stays in its file.

/// Text -> number over strings that stay where they are.
///
/// The strings are lent by whoever maps the file. Only where they lie is kept, so that 256,000 pieces need no
/// copy of their text.
///
/// - Memory: 6 B a piece, and 4 B a slot with at least two slots a piece: 3.5 MiB for 256,000 pieces.
package struct PieceIndex: @unchecked Sendable {
  /// Calls its argument with the number and the bytes of every piece, numbers from 0 on and rising by one.
  ///
  /// The bytes must stay where they are, and unchanged, as long as the owner named beside lives.
  package typealias Lender = (_ body: (_ number: Int, _ bytes: UnsafeBufferPointer<UInt8>) -> Void) -> Void

  /// Pieces that a vocabulary may have.
  package static let countLimit = 1 << 20
  /// Bytes that a piece may have.
  package static let byteLimit = 1024
  /// Steps that all look-ups of building may take, per piece: a file made to collide is refused, not endured.
  private static let stepLimit = 256

  package let count: Int
  /// Bytes of the longest piece that can be found.
  package private(set) var longest = 0
  private var base: UnsafePointer<UInt8>?
  /// Where each piece starts, counted from the first.
  private var starts: [UInt32] = []
  private var lengths: [UInt16] = []
  /// Piece number + 1, or 0 for a free slot.
  private var slots: [UInt32]
  private let owner: AnyObject?
  /// Slots that building found taken.
  private var stepCount = 0

  /// Notes where every piece lies; those that `isFound` names can be looked up.
  ///
  /// - Parameter owner: whatever keeps the bytes in place.
  /// - Errors: `.model` for a wrong number of pieces, an empty one, one named twice or pieces in no order;
  ///   `.limit` for too many or too long ones.
  package init(
    count: Int, owner: AnyObject?, isFound: (Int) -> Bool, lending pieces: Lender
  ) throws(SegmentationError) {
    guard count <= Self.countLimit else {
      throw SegmentationError(.limit(what: "pieces", value: count, limit: Self.countLimit), field: Self.field)
    }
    guard count > 0 else {
      throw SegmentationError(.model("no pieces; the file is damaged"), field: Self.field)
    }
    self.count = count
    self.owner = owner
    var capacity = 16
    while capacity < 2 * count { capacity *= 2 }
    slots = Array(repeating: 0, count: capacity)
    starts.reserveCapacity(count)
    lengths.reserveCapacity(count)
    let found = (0..<count).map(isFound)
    var error: SegmentationError?
    pieces { number, bytes in
      if error == nil { error = add(number, bytes, isFound: number < count && found[number]) }
    }
    if let error { throw error }
    guard starts.count == count else {
      throw SegmentationError(
        .model("\(starts.count) pieces where \(count) are expected; the file is damaged"), field: Self.field)
    }
  }

  private static let field = "tokenizer.ggml.tokens"

  private mutating func add(_ number: Int, _ bytes: UnsafeBufferPointer<UInt8>, isFound: Bool)
    -> SegmentationError?
  {
    func problem(_ text: String) -> SegmentationError {
      SegmentationError(.model("piece \(number): \(text); the file is damaged"), field: Self.field)
    }
    guard number == starts.count, number < count else { return problem("out of order") }
    guard let address = bytes.baseAddress, bytes.count > 0 else { return problem("no text") }
    guard bytes.count <= Self.byteLimit else {
      return SegmentationError(
        .limit(what: "bytes of a piece", value: bytes.count, limit: Self.byteLimit), field: Self.field)
    }
    let first = base ?? address
    base = first
    // Addresses, not pointers: pieces from elsewhere than one file have no distance.
    guard let start = UInt32(exactly: Int(bitPattern: address) - Int(bitPattern: first)) else {
      return problem("out of place")
    }
    starts.append(start)
    lengths.append(UInt16(bytes.count))
    guard isFound else { return nil }
    let hash = bytes.reduce(Self.emptyHash, Self.extended)
    let slot = slot(of: bytes, hash: hash)
    guard slots[slot] == 0 else { return problem("the same as piece \(slots[slot] - 1)") }
    stepCount += (slot - home(of: hash)) & (slots.count - 1)
    guard stepCount <= Self.stepLimit * count else { return problem("too many pieces collide") }
    slots[slot] = UInt32(number + 1)
    longest = max(longest, bytes.count)
    return nil
  }

  /// The bytes of a piece, in place.
  package func bytes(of number: Int) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: base! + Int(starts[number]), count: Int(lengths[number]))
  }

  // MARK: Look-up

  /// Hash of no bytes (FNV-1a).
  static let emptyHash: UInt64 = 0xCBF2_9CE4_8422_2325

  /// Hash of some bytes and one more.
  @inline(__always)
  static func extended(_ hash: UInt64, _ byte: UInt8) -> UInt64 { (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }

  /// The piece with these bytes, or nil.
  package func number(of bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    number(of: bytes, hash: bytes.reduce(Self.emptyHash, Self.extended))
  }

  /// The same where the caller has the hash of the bytes.
  func number(of bytes: UnsafeBufferPointer<UInt8>, hash: UInt64) -> Int? {
    let entry = slots[slot(of: bytes, hash: hash)]
    return entry == 0 ? nil : Int(entry) - 1
  }

  /// The slot of a piece or the free one where it belongs; at least half of the slots are free.
  private func slot(of bytes: UnsafeBufferPointer<UInt8>, hash: UInt64) -> Int {
    let mask = slots.count - 1
    var slot = home(of: hash)
    while slots[slot] != 0, !matches(Int(slots[slot]) - 1, bytes) { slot = (slot + 1) & mask }
    return slot
  }

  /// Where the search for a piece starts.
  private func home(of hash: UInt64) -> Int { Int(truncatingIfNeeded: hash ^ hash >> 29) & (slots.count - 1) }

  private func matches(_ number: Int, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    let own = self.bytes(of: number)
    guard own.count == bytes.count else { return false }
    for index in 0..<own.count where own[index] != bytes[index] { return false }
    return true
  }
}
