// A borrowed matrix of floats: what every operation reads and writes.

/// Rows of floats that lie `stride` apart in memory somebody else owns.
///
/// - Shapes: [count, width], row-major, the last axis dense.
/// - Memory: four words; the floats stay where they are. On a counting arena the address must not be touched.
/// - Errors: traps on rows or columns outside.
package struct Rows {
  package let base: UnsafeMutablePointer<Float>
  package let count: Int
  package let width: Int
  /// Floats from one row to the next.
  package let stride: Int

  @inline(__always)
  package init(_ base: UnsafeMutablePointer<Float>, count: Int, width: Int, stride: Int? = nil) {
    self.base = base
    self.count = count
    self.width = width
    self.stride = stride ?? width
  }

  /// Rows that are only read.
  @inline(__always)
  package init(reading base: UnsafePointer<Float>, count: Int, width: Int, stride: Int? = nil) {
    self.init(UnsafeMutablePointer(mutating: base), count: count, width: width, stride: stride)
  }

  /// Where one row begins.
  @inline(__always)
  package func row(_ index: Int) -> UnsafeMutablePointer<Float> { base + index * stride }

  /// Some rows.
  @inline(__always)
  package subscript(range: Range<Int>) -> Rows {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "rows outside the matrix")
    return Rows(row(range.lowerBound), count: range.count, width: width, stride: stride)
  }

  /// The first rows.
  @inline(__always)
  package func prefix(_ count: Int) -> Rows { self[0..<count] }

  /// Some columns of every row.
  @inline(__always)
  package func columns(_ range: Range<Int>) -> Rows {
    precondition(range.lowerBound >= 0 && range.upperBound <= width, "columns outside the matrix")
    return Rows(base + range.lowerBound, count: count, width: range.count, stride: stride)
  }

  /// Every `step`-th row from `first` on, `count` of them.
  @inline(__always)
  package func every(_ step: Int, from first: Int, count: Int) -> Rows {
    precondition(
      first >= 0 && (count == 0 || first + (count - 1) * step < self.count), "rows outside the matrix")
    return Rows(row(first), count: count, width: width, stride: step * stride)
  }

  /// The same dense floats as rows of another width.
  @inline(__always)
  package func reshaped(width other: Int) -> Rows {
    precondition(stride == width && count * width % other == 0, "only dense rows have other shapes")
    return Rows(base, count: count * width / other, width: other)
  }

  /// Copies rows of the same shape, which may overlap these.
  package func update(from other: Rows) {
    precondition(other.count == count && other.width == width, "rows of another shape")
    if stride == width && other.stride == width {
      base.update(from: other.base, count: count * width)
    } else {
      for index in 0..<count { row(index).update(from: other.row(index), count: width) }
    }
  }

  /// x = value everywhere.
  package func fill(_ value: Float) {
    for index in 0..<count { row(index).update(repeating: value, count: width) }
  }

  /// x += y.
  package func add(_ other: Rows) {
    precondition(other.count == count && other.width == width, "rows of another shape")
    for index in 0..<count {
      let (target, source) = (row(index), other.row(index))
      for column in 0..<width { target[column] += source[column] }
    }
  }

  /// x / |x| by row, in place; a zero row stays zero.
  ///
  /// - Source: PyTorch `normalize` (eps 1e-12).
  package func normalize() {
    for index in 0..<count {
      let line = row(index)
      var sum = SIMD8<Float>(repeating: 0)
      var column = 0
      while column + 8 <= width {
        let part = UnsafeRawPointer(line + column).loadUnaligned(as: SIMD8<Float>.self)
        sum += part * part
        column += 8
      }
      var square = sum.sum()
      while column < width {
        square += line[column] * line[column]
        column += 1
      }
      let factor = 1 / max(square.squareRoot(), 1e-12)
      for column in 0..<width { line[column] *= factor }
    }
  }

  /// out[c] = mean over rows; rows in order, so the result is always the same.
  ///
  /// - Shapes: `out` [width], overwritten.
  package func columnMeans(into out: UnsafeMutablePointer<Float>) {
    out.update(repeating: 0, count: width)
    for index in 0..<count {
      let line = row(index)
      for column in 0..<width { out[column] += line[column] }
    }
    let factor = 1 / Float(count)
    for column in 0..<width { out[column] *= factor }
  }

  /// |sum of all rows|^2, summed in double: `count`^2 times the mean of all products of two rows.
  package func squaredSum() -> Double {
    var total = 0.0
    for column in 0..<width {
      var sum = 0.0
      for index in 0..<count { sum += Double(row(index)[column]) }
      total += sum * sum
    }
    return total
  }

  /// No element is infinite or no number.
  package var isFinite: Bool {
    for index in 0..<count where !allFinite(row(index), width) { return false }
    return true
  }

  /// Each row times 1 / its sum.
  package func divide(by sums: UnsafePointer<Float>) {
    for index in 0..<count {
      let line = row(index)
      let factor = 1 / sums[index]
      for column in 0..<width { line[column] *= factor }
    }
  }
}

/// Whether no number is infinite or none: their exponents are all ones, and no others are.
package func allFinite(_ numbers: UnsafePointer<Float>, _ count: Int) -> Bool {
  var isFinite = true
  for index in 0..<count {
    isFinite = isFinite && numbers[index].bitPattern & 0x7F80_0000 != 0x7F80_0000
  }
  return isFinite
}

extension Arena {
  /// Reserves dense rows. Contents are unspecified.
  package func rows(_ count: Int, _ width: Int) throws(ComputeError) -> Rows {
    Rows(try floats(count * width), count: count, width: width)
  }
}
