// SHA-256, for the identity of a model. Source: FIPS 180-4.

/// A running SHA-256. The constants are computed, not listed: fractional bits of roots of the first primes.
///
/// - Memory: under 1 KiB.
package struct SHA256Digest: Sendable {
  private var state: [UInt32] = Self.initialState
  private var block = [UInt8](repeating: 0, count: 64)
  private var filled = 0
  private var byteCount: UInt64 = 0
  private var schedule = [UInt32](repeating: 0, count: 64)

  package init() {}

  /// Appends `bytes`; pieces may have any size.
  package mutating func update(_ bytes: UnsafeRawBufferPointer) {
    byteCount &+= UInt64(bytes.count)
    var index = 0
    while index < bytes.count {
      if filled == 0, bytes.count - index >= 64 {
        compress(UnsafeRawBufferPointer(rebasing: bytes[index..<(index + 64)]))
        index += 64
        continue
      }
      let count = min(64 - filled, bytes.count - index)
      for step in 0..<count { block[filled + step] = bytes[index + step] }
      filled += count
      index += count
      if filled == 64 { compressBlock() }
    }
  }

  /// Appends a text's UTF-8.
  package mutating func update(_ text: String) {
    Array(text.utf8).withUnsafeBytes { update($0) }
  }

  /// The digest of a text's UTF-8, as `finishHex` gives it.
  package static func hex(of text: String) -> String {
    var digest = SHA256Digest()
    digest.update(text)
    return digest.finishHex()
  }

  /// The digest as 64 lower-case hex digits; ends the message.
  package mutating func finishHex() -> String { hexadecimal(finish()) }

  /// The 32 bytes of the digest; ends the message.
  package mutating func finish() -> [UInt8] {
    let bitCount = byteCount &* 8
    block[filled] = 0x80
    filled += 1
    if filled > 56 {
      for index in filled..<64 { block[index] = 0 }
      compressBlock()
    }
    for index in filled..<56 { block[index] = 0 }
    for index in 0..<8 { block[56 + index] = UInt8(truncatingIfNeeded: bitCount >> UInt64(56 - 8 * index)) }
    compressBlock()
    return state.flatMap { word in
      stride(from: 24, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> $0) }
    }
  }

  private mutating func compressBlock() {
    let copy = block
    copy.withUnsafeBytes { compress($0) }
    filled = 0
  }

  private mutating func compress(_ bytes: UnsafeRawBufferPointer) {
    schedule.withUnsafeMutableBufferPointer { w in
      for index in 0..<16 {
        w[index] = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self))
      }
      for index in 16..<64 {
        let a = w[index - 15]
        let b = w[index - 2]
        let s0 = Self.rotate(a, 7) ^ Self.rotate(a, 18) ^ (a >> 3)
        let s1 = Self.rotate(b, 17) ^ Self.rotate(b, 19) ^ (b >> 10)
        w[index] = w[index - 16] &+ s0 &+ w[index - 7] &+ s1
      }
      Self.roundConstants.withUnsafeBufferPointer { k in
        state.withUnsafeMutableBufferPointer { Self.rounds($0, UnsafeBufferPointer(w), k) }
      }
    }
  }

  private static func rounds(
    _ state: UnsafeMutableBufferPointer<UInt32>, _ w: UnsafeBufferPointer<UInt32>,
    _ k: UnsafeBufferPointer<UInt32>
  ) {
    var (a, b, c, d) = (state[0], state[1], state[2], state[3])
    var (e, f, g, h) = (state[4], state[5], state[6], state[7])
    for index in 0..<64 {
      let s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
      let t1 = h &+ s1 &+ ((e & f) ^ (~e & g)) &+ k[index] &+ w[index]
      let s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
      let t2 = s0 &+ ((a & b) ^ (a & c) ^ (b & c))
      (h, g, f, e) = (g, f, e, d &+ t1)
      (d, c, b, a) = (c, b, a, t1 &+ t2)
    }
    state[0] &+= a
    state[1] &+= b
    state[2] &+= c
    state[3] &+= d
    state[4] &+= e
    state[5] &+= f
    state[6] &+= g
    state[7] &+= h
  }

  @inline(__always) private static func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 {
    value >> count | value << (32 - count)
  }

  private static let primes: [UInt64] = {
    var primes: [UInt64] = []
    var candidate: UInt64 = 2
    while primes.count < 64 {
      if !primes.contains(where: { candidate % $0 == 0 }) { primes.append(candidate) }
      candidate += 1
    }
    return primes
  }()

  private static let initialState: [UInt32] = primes.prefix(8).map { fractionBits($0, power: 2) }
  private static let roundConstants: [UInt32] = primes.map { fractionBits($0, power: 3) }

  /// The first 32 fractional bits of the root of `prime`: floor(root * 2^32) mod 2^32 by bisection in exact
  /// integers.
  private static func fractionBits(_ prime: UInt64, power: Int) -> UInt32 {
    var low: UInt64 = 0
    var high: UInt64 = 1 << 37  // the roots of primes up to 311 are below 18 < 2^5
    while high - low > 1 {
      let middle = (low + high) / 2
      // middle^power <= prime * 2^(32 power), compared as 128-bit quotients to stay in range.
      let square = middle.multipliedFullWidth(by: middle)
      let fits: Bool
      if power == 2 {
        fits = square.high < prime || (square.high == prime && square.low == 0)
      } else {
        let lower = square.low.multipliedFullWidth(by: middle)
        let upper = square.high.multipliedFullWidth(by: middle)
        let (sum, carry) = upper.low.addingReportingOverflow(lower.high)
        let top = upper.high + (carry ? 1 : 0)
        // cube = top * 2^128 + sum * 2^64 + lower.low; the bound is prime * 2^96.
        fits = top == 0 && sum >> 32 < prime
      }
      if fits { low = middle } else { high = middle }
    }
    return UInt32(truncatingIfNeeded: low)
  }
}
