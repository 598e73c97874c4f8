// Eight floats at a time, or four, the same on every CPU: softmax numerators and maxima over phrases.

typealias Eight = SIMD8<Float>

/// Values of four or of eight classes.
package protocol ClassLanes: SIMD where Scalar == Float {
  var largestLane: Float { get }
  /// In a fixed order.
  var sumOfLanes: Float { get }
  // What the compiler takes apart, number by number, where it does not know the width.
  static func larger(_ a: Self, _ b: Self) -> Self
  /// Times 2 to the integers in the low bits of `power`.
  func scaled(byLowBitsOf power: Self) -> Self
}
extension SIMD4<Float>: ClassLanes {
  @inline(__always)
  package var largestLane: Float {
    let two = lowHalf.replacing(with: highHalf, where: highHalf .> lowHalf)
    return Swift.max(two.x, two.y)
  }
  @inline(__always)
  package var sumOfLanes: Float {
    let two = lowHalf + highHalf
    return two.x + two.y
  }
  @inline(__always)
  package static func larger(_ a: Self, _ b: Self) -> Self { a.replacing(with: b, where: b .> a) }
  @inline(__always)
  package func scaled(byLowBitsOf power: Self) -> Self {
    let exponent = unsafeBitCast(power, to: SIMD4<Int32>.self) &<< 23
    return unsafeBitCast(unsafeBitCast(self, to: SIMD4<Int32>.self) &+ exponent, to: Self.self)
  }
}
extension SIMD8<Float>: ClassLanes {
  @inline(__always)
  package var largestLane: Float { SIMD4.larger(lowHalf, highHalf).largestLane }
  @inline(__always)
  package var sumOfLanes: Float { (lowHalf + highHalf).sumOfLanes }
  @inline(__always)
  package static func larger(_ a: Self, _ b: Self) -> Self { a.replacing(with: b, where: b .> a) }
  @inline(__always)
  package func scaled(byLowBitsOf power: Self) -> Self {
    let exponent = unsafeBitCast(power, to: SIMD8<Int32>.self) &<< 23
    return unsafeBitCast(unsafeBitCast(self, to: SIMD8<Int32>.self) &+ exponent, to: Self.self)
  }
}

/// exp of arguments that are at most 0 (or little above); below -87 the answer is about 1e-38.
///
/// - Units: relative error below 2e-7.
/// - Source: Cody-Waite reduction and a degree-6 Taylor polynomial on [-ln 2 / 2, ln 2 / 2].
@inline(__always)
func expOfNonPositive<Lanes: ClassLanes>(_ argument: Lanes) -> Lanes {
  let x = Lanes.larger(argument, Lanes(repeating: -87))
  // Adding 1.5 * 2^23 rounds to an integer and leaves that integer in the low bits.
  let shifted = x * 1.442_695_04 + 12_582_912
  let power = shifted - 12_582_912
  let rest = (x - power * 0.693_359_375) + power * 2.121_944_4e-4
  var series = rest * 1.388_888_9e-3 + 8.333_333_4e-3
  series = series * rest + 4.166_666_8e-2
  series = series * rest + 0.166_666_67
  series = series * rest + 0.5
  series = series * rest * rest + rest + 1
  return series.scaled(byLowBitsOf: shifted)
}

/// Natural logarithm of a positive, normal number.
///
/// - Units: error below 3e-7, and below 3e-7 of the answer. The same on every CPU.
/// - Source: x = m 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh((m - 1) / (m + 1)), five terms.
package func naturalLogarithm(_ x: Float) -> Float {
  // The bits of sqrt(1/2) are taken off, so that the exponent rounds at sqrt(2).
  let shifted = x.bitPattern &- 0x3F35_04F3
  let exponent = Float(Int32(bitPattern: shifted) >> 23)
  let mantissa = Float(bitPattern: (shifted & 0x007F_FFFF) &+ 0x3F35_04F3)
  let t = (mantissa - 1) / (mantissa + 1)
  let square = t * t
  var series = square * (2 / 9 as Float) + (2 / 7 as Float)
  series = series * square + (2 / 5 as Float)
  series = series * square + (2 / 3 as Float)
  series = series * square + 2
  return exponent * 0.693_147_18 + series * t
}

@inline(__always)
func larger<Lanes: ClassLanes>(_ a: Lanes, _ b: Lanes) -> Lanes { Lanes.larger(a, b) }

@inline(__always)
func largest<Lanes: ClassLanes>(_ a: Lanes) -> Float { a.largestLane }

/// Sum in a fixed order.
@inline(__always)
func total<Lanes: ClassLanes>(_ a: Lanes) -> Float { a.sumOfLanes }

/// The same memory, seen as floats.
@inline(__always)
func floats<Lanes: ClassLanes>(_ lanes: UnsafeMutablePointer<Lanes>) -> UnsafeMutablePointer<Float> {
  UnsafeMutableRawPointer(lanes).assumingMemoryBound(to: Float.self)
}

/// The sum of all values, in a fixed order.
func sum(_ values: UnsafePointer<Float>, _ count: Int) -> Float {
  var (lanes, index) = (Eight(repeating: 0), 0)
  while index + 8 <= count {
    lanes += UnsafeRawPointer(values + index).loadUnaligned(as: Eight.self)
    index += 8
  }
  var rest = total(lanes)
  while index < count {
    rest += values[index]
    index += 1
  }
  return rest
}
