// Eight floats at a time, the same on every CPU: softmax numerators and maxima over phrases.

typealias Eight = SIMD8<Float>

/// exp of eight arguments that are at most 0 (or little above); below -87 the answer is about 1e-38.
///
/// - Units: relative error below 2e-7.
/// - Source: Cody-Waite reduction and a degree-6 Taylor polynomial on [-ln 2 / 2, ln 2 / 2].
@inline(__always)
func expOfNonPositive(_ argument: Eight) -> Eight {
  let floor = Eight(repeating: -87)
  let x = argument.replacing(with: floor, where: argument .< floor)
  // Adding 1.5 * 2^23 rounds to an integer and leaves that integer in the low bits.
  let shifted = x * 1.442_695_04 + 12_582_912
  let power = shifted - 12_582_912
  let rest = (x - power * 0.693_359_375) + power * 2.121_944_4e-4
  var series = rest * 1.388_888_9e-3 + 8.333_333_4e-3
  series = series * rest + 4.166_666_8e-2
  series = series * rest + 0.166_666_67
  series = series * rest + 0.5
  series = series * rest * rest + rest + 1
  let exponent = unsafeBitCast(shifted, to: SIMD8<Int32>.self) &<< 23
  return unsafeBitCast(unsafeBitCast(series, to: SIMD8<Int32>.self) &+ exponent, to: Eight.self)
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
func larger(_ a: Eight, _ b: Eight) -> Eight { a.replacing(with: b, where: b .> a) }

@inline(__always)
func largest(_ a: Eight) -> Float {
  let four = a.lowHalf.replacing(with: a.highHalf, where: a.highHalf .> a.lowHalf)
  let two = four.lowHalf.replacing(with: four.highHalf, where: four.highHalf .> four.lowHalf)
  return max(two.x, two.y)
}

/// Sum in a fixed order.
@inline(__always)
func total(_ a: Eight) -> Float {
  let four = a.lowHalf + a.highHalf
  let two = four.lowHalf + four.highHalf
  return two.x + two.y
}

/// The same memory, seen as floats.
@inline(__always)
func floats(_ lanes: UnsafeMutablePointer<Eight>) -> UnsafeMutablePointer<Float> {
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
