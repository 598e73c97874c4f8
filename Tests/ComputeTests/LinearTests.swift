// Linear layers whose quantized rows do not lie side by side (depths that are multiples of 2048), on every
// path.
import Compute
import TestSupport
import Testing

@Suite struct LinearTests {
  @Test(arguments: [192, 2048, 4096]) func rowsLieWhereProductsLook(depth: Int) throws {
    let (rows, outputs) = (7, 16)
    let storage = UnsafeMutableRawPointer.allocate(byteCount: outputs * depth, alignment: 64)
    defer { storage.deallocate() }
    let panel = storage.bindMemory(to: Int8.self, capacity: outputs * depth)
    var random = SeededRandom(seed: 41)
    var sums = [Int32](repeating: 0, count: outputs)
    var weights = [Float](repeating: 0, count: outputs * depth)
    for channel in 0..<outputs {
      for k in 0..<depth {
        let value = random.int8()
        panel[(k / 4 * 16 + channel) * 4 + k % 4] = value
        sums[channel] += Int32(value)
        weights[channel * depth + k] = Float(value)
      }
    }
    // Whole numbers with 127 among them: quantizing them changes nothing.
    let x = (0..<rows * depth).map { $0 % depth == 0 ? 127 : Float(random.int8()) }
    let ones = [Float](repeating: 1, count: outputs)
    for path in CPUPath.all where path.isBuilt && path.isSupported {
      let engine = try Engine(path: path, threadCount: 1, precision: .int8)
      let arena = try Arena(capacity: rows * (depth + 64) + 4 * (rows + depth) + 4 * rows * outputs + 4096)
      let scratch = try RowScratch(arena, engine: engine, rows: rows, depth: depth)
      let out = try arena.rows(rows, outputs)
      sums.withUnsafeBufferPointer { sums in
        ones.withUnsafeBufferPointer { ones in
          let layer = PackedLinear(
            inputs: depth, outputs: outputs, weight: panel, scale: ones.baseAddress!, sum: sums.baseAddress!,
            bias: nil)
          _ = x.withUnsafeBufferPointer {
            engine.prepare(Rows(reading: $0.baseAddress!, count: rows, width: depth), scratch)
          }
          // The first rows, then the others by their place in the scratch.
          engine.linear(layer, scratch.prepared(0..<3, width: depth), into: out.prefix(3))
          engine.linear(layer, scratch.prepared(3..<rows, width: depth), into: out[3..<rows])
        }
      }
      for row in 0..<rows {
        for channel in 0..<outputs {
          var expected = 0.0
          for k in 0..<depth { expected += Double(x[row * depth + k] * weights[channel * depth + k]) }
          #expect(out.row(row)[channel] == Float(expected), "\(path.name) row \(row) channel \(channel)")
        }
      }
    }
  }

  /// Rows of two bytes a value: 254 times nearer to the exact product, and the same bits on every path, for
  /// plain rows and normalized ones, with bias, residual, activation and some of the channels.
  @Test(arguments: [(1, 40), (5, 200), (7, 2048)]) func fineRows(rows: Int, inputs: Int) throws {
    let layer = StoredLayer(inputs: inputs, outputs: 40, seed: 43)
    var random = SeededRandom(seed: 44)
    // A large channel, as trained networks have them, and a row of zeros.
    let x = (0..<rows * inputs).map { index in
      rows > 1 && index / inputs == 1 ? 0 : Float(random.int8()) / 100 * (index % inputs == 3 ? 30 : 1)
    }
    var expected: [[Float]] = []
    for path in CPUPath.all where path.isBuilt && path.isSupported {
      let found = try layer.outputs(x, rows: rows, path: path, isFine: true)
      if expected.isEmpty {
        expected = found
        let plain = try layer.outputs(x, rows: rows, path: path, isFine: false)
        let exact = layer.exact(x, rows: rows)
        let (fine, coarse) = (largest(found[0], exact), largest(plain[0], exact))
        #expect(fine < coarse / 60, "\(rows) rows of \(inputs): \(fine) beside \(coarse) of single bytes")
      }
      #expect(found == expected, "\(path.name), \(rows) rows of \(inputs)")
    }
  }

  private func largest(_ a: [Float], _ b: [Double]) -> Double {
    zip(a, b).map { abs(Double($0) - $1) }.max() ?? 0
  }
}

/// A layer of random bytes with its own storage.
private final class StoredLayer {
  let inputs: Int
  let outputs: Int
  private let depth: Int
  private let panel: UnsafeMutablePointer<Int8>
  private let scale: UnsafeMutablePointer<Float>
  private let sum: UnsafeMutablePointer<Int32>
  private let bias: UnsafeMutablePointer<Float>
  /// Of a norm in front of the layer.
  private let gain: UnsafeMutablePointer<Float>

  init(inputs: Int, outputs: Int, seed: UInt64) {
    (self.inputs, self.outputs) = (inputs, outputs)
    depth = (inputs + 63) / 64 * 64
    let padded = (outputs + 15) / 16 * 16
    panel = UnsafeMutableRawPointer.allocate(byteCount: padded * depth, alignment: 64)
      .bindMemory(to: Int8.self, capacity: padded * depth)
    panel.initialize(repeating: 0, count: padded * depth)
    (scale, sum, bias) = (
      .allocate(capacity: padded), .allocate(capacity: padded), .allocate(capacity: padded)
    )
    gain = .allocate(capacity: inputs)
    var random = SeededRandom(seed: seed)
    for channel in 0..<padded {
      var total: Int32 = 0
      for k in 0..<inputs where channel < outputs {
        panel[place(channel, k)] = random.int8()
        total += Int32(panel[place(channel, k)])
      }
      sum[channel] = total
      scale[channel] = 0.003 + Float(channel) * 0.0001
      bias[channel] = Float(random.int8()) / 50
    }
    for k in 0..<inputs { gain[k] = Float(random.int8()) / 64 }
  }

  deinit {
    panel.deallocate()
    scale.deallocate()
    sum.deallocate()
    bias.deallocate()
    gain.deallocate()
  }

  private func place(_ channel: Int, _ k: Int) -> Int {
    channel / 16 * 16 * depth + (k / 4 * 16 + channel % 16) * 4 + k % 4
  }

  /// x w + bias. Shapes: [rows, outputs].
  func exact(_ x: [Float], rows: Int) -> [Double] {
    (0..<rows * outputs).map { index in
      let (row, channel) = (index / outputs, index % outputs)
      let total = (0..<inputs).reduce(0.0) {
        $0 + Double(x[row * inputs + $1]) * Double(panel[place(channel, $1)])
      }
      return total * Double(scale[channel]) + Double(bias[channel])
    }
  }

  /// The layer's answers: plain, the last channels added to ones, activated, normalized.
  func outputs(_ x: [Float], rows: Int, path: CPUPath, isFine: Bool) throws -> [[Float]] {
    let engine = try Engine(path: path, threadCount: 1, precision: .int8)
    let arena = try Arena(capacity: 2 * rows * (depth + 128) + 4 * depth + 4 * rows * outputs + 4096)
    let scratch = try RowScratch(arena, engine: engine, rows: rows, depth: inputs, isFine: isFine)
    let out = try arena.rows(rows, outputs)
    let layer = PackedLinear(
      inputs: inputs, outputs: outputs, weight: panel, scale: scale, sum: sum, bias: bias)
    var answers: [[Float]] = []
    x.withUnsafeBufferPointer { buffer in
      let input = Rows(reading: buffer.baseAddress!, count: rows, width: inputs)
      func keep() { answers.append((0..<rows * outputs).map { out.base[$0] }) }
      engine.linear(layer, engine.prepare(input, scratch), into: out)
      keep()
      out.fill(1)
      engine.linear(
        layer, scratch.prepared(0..<rows, width: inputs), channels: 16..<outputs, accumulate: true,
        into: out.columns(16..<outputs))
      keep()
      engine.linear(layer, scratch.prepared(0..<rows, width: inputs), activation: .gelu, into: out)
      keep()
      let norm = NormWeights(weight: gain, bias: gain, width: inputs, epsilon: 1e-5)
      engine.linear(layer, engine.prepare(input, normalizedBy: norm, scratch), into: out)
      keep()
    }
    return answers
  }
}
