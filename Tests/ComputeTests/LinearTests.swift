// Linear layers whose quantized rows do not lie side by side (depths that are multiples of 2048), on every path.
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
      let out = try arena.floats(rows * outputs)
      sums.withUnsafeBufferPointer { sums in
        ones.withUnsafeBufferPointer { ones in
          let layer = PackedLinear(
            inputs: depth, outputs: outputs, weight: panel, scale: ones.baseAddress!, sum: sums.baseAddress!, bias: nil)
          _ = engine.prepare(x, depth, rows: rows, columns: depth, scratch)
          // The first rows, then the others by their place in the scratch.
          engine.linear(layer, engine.prepared(rows: 3, columns: depth, scratch), out: out, outputs)
          engine.linear(
            layer, engine.prepared(rows: rows - 3, columns: depth, from: 3, scratch), out: out + 3 * outputs, outputs)
        }
      }
      for row in 0..<rows {
        for channel in 0..<outputs {
          var expected = 0.0
          for k in 0..<depth { expected += Double(x[row * depth + k] * weights[channel * depth + k]) }
          #expect(out[row * outputs + channel] == Float(expected), "\(path.name) row \(row) channel \(channel)")
        }
      }
    }
  }
}
