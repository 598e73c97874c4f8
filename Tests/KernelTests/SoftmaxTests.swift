// Softmax weights as bytes: scalar against double precision, every path against scalar bit for bit, on
// guarded memory.

import CKernels
import TestSupport
import Testing

@Suite struct SoftmaxTests {
  /// Queries, keys and biases of one call.
  private struct Operands {
    let (rows, gridH, gridW, width): (Int, Int, Int, Int)
    let keys: Panels
    let queries: GuardedBuffer<Int8>
    let queryScale: GuardedBuffer<Float>
    let biasH: GuardedBuffer<Float>
    let biasW: GuardedBuffer<Float>

    var keyCount: Int { gridH * gridW }
    var stride: Int { (keyCount + 63) / 64 * 64 }
    var blocks: Int { (keyCount + CK_SOFTMAX_BLOCK - 1) / CK_SOFTMAX_BLOCK }

    init(rows: Int, gridH: Int, gridW: Int, width: Int, random: inout SeededRandom) {
      (self.rows, self.gridH, self.gridW, self.width) = (rows, gridH, gridW, width)
      keys = Panels(channels: gridH * gridW, columns: width, bias: false, random: &random)
      queries = bytes(rows * keys.depth, &random)
      queryScale = floats(rows, 0.001, 0.02, &random)
      biasH = floats(rows * gridH, -3, 3, &random)
      biasW = floats(rows * gridW, -3, 3, &random)
    }

    func run(_ path: Path, biased: Bool) -> (weights: [Int8], scale: [Float], sum: [Float]) {
      var panels = keys.view
      let (weights, sum) = (GuardedBuffer<Int8>(count: rows * stride), GuardedBuffer<Float>(count: rows))
      let scale = GuardedBuffer<Float>(count: rows * blocks)
      let part = GuardedBuffer<Float>(count: rows * blocks)
      let stored = turned(queries, for: path.table)
      path.table.softmax_weights(
        ck_table_for(path.id), stored.pointer, keys.depth, queryScale.pointer, rows, &panels, keyCount, 0.125,
        biased ? biasH.pointer : nil, biased ? biasW.pointer : nil, biased ? gridW : 1, weights.pointer,
        stride,
        scale.pointer, part.pointer, blocks, sum.pointer)
      return (weights.elements, scale.elements, sum.elements)
    }
  }

  @Test func scalarIsWithinHalfAStepOfDouble() {
    var random = SeededRandom(seed: 31)
    let x = Operands(rows: 3, gridH: 20, gridW: 31, width: 64, random: &random)
    for biased in [false, true] {
      let (weights, scale, sum) = x.run(.scalar, biased: biased)
      for row in 0..<x.rows {
        let logits = (0..<x.keyCount).map { key -> Double in
          var dot = 0
          for k in 0..<x.width {
            dot += Int(x.queries.elements[row * x.keys.depth + k]) * Int(x.keys.rows[key * x.width + k])
          }
          let product =
            Double(dot) * Double(x.keys.scale.elements[key]) * Double(x.queryScale.elements[row]) * 0.125
          let bias =
            Double(x.biasH.elements[row * x.gridH + key / x.gridW])
            + Double(x.biasW.elements[row * x.gridW + key % x.gridW])
          return biased ? product + bias : product
        }
        let exact = NaiveMath.softmaxNumerators(logits)
        var total = 0.0
        for key in 0..<x.keyCount {
          let step = Double(scale[row * x.blocks + key / CK_SOFTMAX_BLOCK])
          let value = Double(weights[row * x.stride + key]) * step
          total += value
          // Half a step, the power's error near the top of a block, and the rounding of logits around 100.
          #expect(
            abs(value - 127 * Double(exact[key])) <= step * (0.5 + 0.013 + 127 * 2e-5),
            "row \(row) key \(key)")
        }
        #expect(abs(Double(sum[row]) - total) <= 1e-6 * total, "row \(row)")
      }
    }
  }

  @Test(arguments: Path.fast) func pathsMatchScalar(path: Path) {
    PathCoverage.record(path.description)
    var random = SeededRandom(seed: 32)
    let cases = [
      (1, 1, 1, 64), (5, 7, 11, 64), (14, 14, 14, 64), (33, 13, 34, 40), (17, 16, 16, 80), (3, 20, 31, 128),
      (2, 40, 13, 200), (16, 64, 64, 64), (17, 3, 512, 64),
    ]
    for (rows, gridH, gridW, width) in cases {
      let x = Operands(rows: rows, gridH: gridH, gridW: gridW, width: width, random: &random)
      for biased in [false, true] {
        let (expected, actual) = (x.run(.scalar, biased: biased), x.run(path, biased: biased))
        let label = "\(path), \(rows) rows, \(gridH) x \(gridW) keys, width \(width)"
        #expect(actual.weights == expected.weights, "\(label)")
        expectClose(actual.scale, expected.scale, "\(label): scales")
        expectClose(actual.sum, expected.sum, "\(label): sums")
      }
    }
  }
}
