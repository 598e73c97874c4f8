// Row operations: scalar against double precision, every path against scalar bit for bit, on guarded memory.

import CKernels
import TestSupport
import Testing

@Suite struct RowTests {
  static let sizes = Array(1...17) + [31, 32, 33, 63, 64, 65, 101, 196, 768]

  /// Runs `body` for the scalar path and for `path` and expects identical floats.
  private func compare(_ path: Path, _ label: String, _ body: (ck_table) -> [Float]) {
    PathCoverage.record(path.description)
    let (expected, actual) = (body(Path.scalar.table), body(path.table))
    expectClose(actual, expected, "\(path) \(label)")
  }

  private func inputs(_ count: Int, _ random: inout SeededRandom) -> GuardedBuffer<Float> {
    let x = floats(count, -3, 3, &random)
    if count > 5 { x.pointer[count / 2] = .infinity }
    if count > 9 { x.pointer[count - 1] = .nan }
    return x
  }

  private func quantized(_ table: ck_table, _ x: GuardedBuffer<Float>, rows: Int, columns: Int) -> [Float] {
    let stride = (columns + 63) / 64 * 64
    let q = GuardedBuffer<Int8>(count: rows * stride)
    let scale = GuardedBuffer<Float>(count: rows)
    table.quantize_rows(x.pointer, columns, rows, columns, q.pointer, stride, scale.pointer)
    return turned(q, for: table).elements.map(Float.init) + scale.elements
  }

  @Test func scalarQuantizesLikeNaive() {
    var random = SeededRandom(seed: 21)
    for columns in Self.sizes {
      let x = inputs(2 * columns, &random)
      for k in 0..<columns { x.pointer[columns + k] = 0 }
      let stride = (columns + 63) / 64 * 64
      var expected: [Float] = []
      var scales: [Float] = []
      for r in 0..<2 {
        let (values, scale) = NaiveMath.quantize(Array(x.elements[r * columns..<(r + 1) * columns]))
        expected += values.map(Float.init) + [Float](repeating: 0, count: stride - columns)
        scales.append(scale)
      }
      #expect(
        quantized(Path.scalar.table, x, rows: 2, columns: columns) == expected + scales, "\(columns) columns")
    }
  }

  @Test func tiesRoundToEven() {
    let x = GuardedBuffer<Float>([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, 3.49])
    for path in Path.all {
      let q = quantized(path.table, x, rows: 1, columns: 9)
      #expect(Array(q[0..<9]) == [127, 0, 2, 2, 0, -2, -2, 126, 3], "\(path)")
    }
  }

  @Test(arguments: Path.fast) func quantizationMatchesScalar(path: Path) {
    var random = SeededRandom(seed: 22)
    for columns in Self.sizes {
      let rows = 1 + columns % 19
      let x = inputs(rows * columns, &random)
      compare(path, "quantize_rows \(columns)") { quantized($0, x, rows: rows, columns: columns) }
      let depth = (columns + 63) / 64 * 64
      let center = floats(columns, -1, 1, &random)
      compare(path, "pack_rows \(rows)x\(columns)") { table in
        let padded = (rows + 15) / 16 * 16
        let weight = GuardedBuffer<Int8>(count: padded * depth)
        let (scale, sum) = (GuardedBuffer<Float>(count: padded), GuardedBuffer<Int32>(count: padded))
        table.pack_rows(
          x.pointer, columns, rows, 0, rows, columns, columns % 2 == 0 ? nil : center.pointer, weight.pointer,
          scale.pointer, sum.pointer, depth)
        return weight.elements.map(Float.init) + scale.elements + sum.elements.map(Float.init)
      }
      compare(path, "pack_columns \(rows)x\(columns)") { table in
        let (padded, deep) = ((columns + 15) / 16 * 16, (rows + 63) / 64 * 64)
        let weight = GuardedBuffer<Int8>(count: padded * deep)
        let (scale, sum) = (GuardedBuffer<Float>(count: padded), GuardedBuffer<Int32>(count: padded))
        table.pack_columns(
          x.pointer, columns, rows, columns, weight.pointer, scale.pointer, sum.pointer, deep)
        return weight.elements.map(Float.init) + scale.elements + sum.elements.map(Float.init)
      }
    }
  }

  @Test func scalarNormIsCloseToDouble() {
    var random = SeededRandom(seed: 23)
    for columns in [2, 17, 768] {
      let x = floats(columns, -2, 3, &random)
      let (gamma, beta) = (floats(columns, 0.5, 2, &random), floats(columns, -1, 1, &random))
      let out = GuardedBuffer<Float>(count: columns)
      Path.scalar.table.norm_rows(
        x.pointer, columns, 1, columns, gamma.pointer, beta.pointer, 1e-6, out.pointer, columns)
      let expected = NaiveMath.norm(x.elements, gamma: gamma.elements, beta: beta.elements, epsilon: 1e-6)
      expectClose(out.elements, expected, ulps: 16, absolute: 1e-6, "\(columns) columns")
    }
  }

  @Test(arguments: Path.fast) func normMatchesScalar(path: Path) {
    var random = SeededRandom(seed: 24)
    for columns in Self.sizes {
      let rows = 3
      let x = floats(rows * columns, -2, 3, &random)
      let (gamma, beta) = (floats(columns, 0.5, 2, &random), floats(columns, -1, 1, &random))
      compare(path, "norm_rows \(columns), in place") { table in
        let out = GuardedBuffer(x.elements)
        table.norm_rows(
          out.pointer, columns, rows, columns, gamma.pointer, beta.pointer, 1e-6, out.pointer, columns)
        return out.elements
      }
      compare(path, "norm_quantize_rows \(columns)") { table in
        let stride = (columns + 63) / 64 * 64
        let (q, scale) = (GuardedBuffer<Int8>(count: rows * stride), GuardedBuffer<Float>(count: rows))
        let scratch = GuardedBuffer<Float>(count: columns)
        table.norm_quantize_rows(
          x.pointer, columns, rows, columns, gamma.pointer, beta.pointer, 1e-6, q.pointer, stride,
          scale.pointer,
          scratch.pointer)
        return turned(q, for: table).elements.map(Float.init) + scale.elements
      }
    }
  }

  @Test func scalarSoftmaxIsWithinTwoUlp() {
    var random = SeededRandom(seed: 25)
    let x = floats(1000, -60, 60, &random)
    x.pointer[7] = -.infinity
    let expected = NaiveMath.softmaxNumerators(x.elements.map(Double.init))
    let sum = GuardedBuffer<Float>(count: 1)
    Path.scalar.table.exp_rows(x.pointer, 1000, 1, 1000, 1, nil, nil, 1, sum.pointer)
    // x - max is rounded before the exponential: up to 0.5 ulp of 120, relative 4e-6.
    expectClose(x.elements, expected.map { $0 < 1e-37 ? 0 : $0 }, ulps: 80, absolute: 1.3e-37)
    #expect(x.pointer[7] == 0)
  }

  @Test func exponentialIsWithinTwoUlp() {
    let x = GuardedBuffer((0..<20000).map { Float($0) * -0.004257 })
    let expected = x.elements.map { NaiveMath.softmaxNumerators([Double($0), 0])[0] }
    let sum = GuardedBuffer<Float>(count: 1)
    Path.scalar.table.exp_rows(x.pointer, 20000, 1, 20000, 1, nil, nil, 1, sum.pointer)
    expectClose(x.elements, expected, ulps: 2)
  }

  @Test(arguments: Path.fast) func softmaxMatchesScalar(path: Path) {
    var random = SeededRandom(seed: 26)
    let grids = [(1, 1, 1), (2, 3, 5), (3, 14, 14), (2, 21, 21), (1, 64, 64), (2, 2, 17), (5, 7, 33)]
    for (rows, gridH, gridW) in grids {
      let keys = gridH * gridW
      let x = floats(rows * keys, -200, 200, &random)
      let (biasH, biasW) = (floats(rows * gridH, -2, 2, &random), floats(rows * gridW, -2, 2, &random))
      for biased in [false, true] {
        let numerators = GuardedBuffer(x.elements)
        compare(path, "exp_rows \(gridH)x\(gridW)") { table in
          let (p, sum) = (GuardedBuffer(x.elements), GuardedBuffer<Float>(count: rows))
          table.exp_rows(
            p.pointer, keys, rows, keys, 0.125, biased ? biasH.pointer : nil, biased ? biasW.pointer : nil,
            gridW,
            sum.pointer)
          for k in 0..<rows * keys { numerators.pointer[k] = p.pointer[k] }
          return p.elements + sum.elements
        }
        compare(path, "quantize_blocks \(keys)") { table in
          let (stride, blocks) = ((keys + 63) / 64 * 64, (keys + 127) / 128)
          let (q, scale) = (
            GuardedBuffer<Int8>(count: rows * stride), GuardedBuffer<Float>(count: rows * blocks)
          )
          let sum = GuardedBuffer<Float>(count: rows)
          table.quantize_blocks(
            numerators.pointer, keys, rows, keys, 128, q.pointer, stride, scale.pointer, blocks, sum.pointer)
          return q.elements.map(Float.init) + scale.elements + sum.elements
        }
      }
      let (cosine, factor) = (floats(rows * keys, -1, 1, &random), floats(rows, 0, 1, &random))
      let threshold = floats(rows, -1, 1, &random)
      compare(path, "masked_add \(keys)") { table in
        let sum = GuardedBuffer(cosine.elements)
        table.masked_add(
          x.pointer, keys, cosine.pointer, keys, rows, keys, factor.pointer, threshold.pointer, sum.pointer,
          keys)
        return sum.elements
      }
    }
  }
}
