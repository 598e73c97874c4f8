// Symmetric INT8, one scale a row: the arithmetic of `docs/quantization.md`, and the panel layout of the
// file.

/// How far stored numbers are from the originals.
///
/// - Units: those of the weights; sums over every element seen, padding excepted (it adds zeros).
package struct ErrorTally: Equatable, Sendable {
  package var maxError: Float = 0
  package var sumSquaredError = 0.0
  package var sumSquares = 0.0
  package var elementCount = 0

  package init() {}

  package mutating func add(_ other: ErrorTally) {
    maxError = max(maxError, other.maxError)
    sumSquaredError += other.sumSquaredError
    sumSquares += other.sumSquares
    elementCount += other.elementCount
  }

  package mutating func add(original: Float, stored: Float) {
    let error = original - stored
    maxError = max(maxError, abs(error))
    sumSquaredError += Double(error * error)
    sumSquares += Double(original * original)
    elementCount += 1
  }

  package var rmsError: Double {
    elementCount == 0 ? 0 : (sumSquaredError / Double(elementCount)).squareRoot()
  }
}

/// Quantizes rows of floats.
package enum RowQuantizer {
  private typealias Lanes = SIMD16<Float>
  /// Adding and subtracting 1.5 * 2^23 rounds |x| < 2^22 to the nearest integer, ties to even, because the
  /// sum's last place is 1; its low bits then hold the integer.
  private static let rounder: Float = 12_582_912

  /// One row: its scale and the sum of its integers.
  package struct Row: Equatable, Sendable {
    package let scale: Float
    package let sum: Int32

    package init(scale: Float, sum: Int32) {
      self.scale = scale
      self.sum = sum
    }
  }

  /// Quantizes one row: `scale = max|x| / 127` (1 for a row of zeros), `q = round_half_even(x / scale)`.
  ///
  /// - Shapes: `row` and `out` hold `count` values, a multiple of 16.
  /// - Memory: allocates nothing.
  /// - Errors: nil if a value is NaN or infinite.
  /// - Source: docs/quantization.md.
  package static func quantize(
    _ row: UnsafePointer<Float>, count: Int, into out: UnsafeMutablePointer<Int8>, tally: inout ErrorTally
  ) -> Row? {
    precondition(count % 16 == 0, "rows are padded to 16 values")
    let source = UnsafeRawPointer(row)
    // As integers the magnitudes of floats keep their order, and everything non-finite lies at the top.
    var top = SIMD16<Int32>(repeating: 0)
    for index in stride(from: 0, to: count, by: 16) {
      let bits = source.loadUnaligned(fromByteOffset: 4 * index, as: SIMD16<Int32>.self)
      top = pointwiseMax(top, bits & 0x7fff_ffff)
    }
    let largestBits = top.max()
    guard largestBits < 0x7f80_0000 else { return nil }
    var scale = Float(bitPattern: UInt32(largestBits)) / 127
    // A row of zeros, or of numbers so small that their scale vanishes: everything is stored as zero.
    if scale == 0 { scale = 1 }
    let divisor = Lanes(repeating: scale)
    let limit = Lanes(repeating: 127)
    var sums = SIMD16<Int32>(repeating: 0)
    var errors = Lanes(repeating: 0)
    var squaredErrors = Lanes(repeating: 0)
    var squares = Lanes(repeating: 0)
    for index in stride(from: 0, to: count, by: 16) {
      let value = source.loadUnaligned(fromByteOffset: 4 * index, as: Lanes.self)
      // Only a subnormal scale, itself rounded, can carry the quotient beyond 127.
      let quotient = pointwiseMax(pointwiseMin(value / divisor, limit), -limit)
      let biased = quotient + rounder
      let integers = unsafeBitCast(biased, to: SIMD16<Int32>.self) &- Int32(bitPattern: rounder.bitPattern)
      UnsafeMutableRawPointer(out + index).storeBytes(
        of: SIMD16<Int8>(truncatingIfNeeded: integers), as: SIMD16<Int8>.self)
      sums = sums &+ integers
      let error = value - (biased - rounder) * divisor
      errors = pointwiseMax(errors, pointwiseMax(error, -error))
      squaredErrors += error * error
      squares += value * value
    }
    tally.maxError = max(tally.maxError, errors.max())
    tally.sumSquaredError += total(squaredErrors)
    tally.sumSquares += total(squares)
    return Row(scale: scale, sum: sums.wrappedSum())
  }

  private static func total(_ lanes: Lanes) -> Double {
    var sum = 0.0
    for index in 0..<16 { sum += Double(lanes[index]) }
    return sum
  }

  /// Arranges 16 rows as one panel: byte `(g * 16 + c) * 4 + b` is row `c`, column `4 g + b`.
  ///
  /// - Shapes: `rows` [16, depth], `panel` 16 * depth bytes; depth is a multiple of 4.
  package static func pack(
    _ rows: UnsafePointer<Int8>, depth: Int, into panel: UnsafeMutablePointer<Int8>
  ) {
    let source = UnsafeRawPointer(rows)
    let target = UnsafeMutableRawPointer(panel)
    for channel in 0..<16 {
      for group in 0..<(depth / 4) {
        let word = source.loadUnaligned(fromByteOffset: channel * depth + 4 * group, as: UInt32.self)
        target.storeBytes(of: word, toByteOffset: (group * 16 + channel) * 4, as: UInt32.self)
      }
    }
  }
}
