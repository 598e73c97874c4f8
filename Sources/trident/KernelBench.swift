// Products and attention by shape, timed as the stages use them: rows over the threads, quantizing included.
import Compute
import Segmentation

/// Times kernels on made-up numbers that are the same every time.
struct KernelBench {
  let engine: Engine
  let repeats: Int
  private static let tile = 128

  /// Quantizes rows, multiplies, scales and adds a bias.
  ///
  /// - Memory: rows and results as floats, weights as bytes, a tile a thread; given back.
  func product(_ shape: ProductShape) throws -> BenchResult {
    let (rows, outputs) = (shape.rows, shape.outputs)
    let (depth, padded) = (roundUp(shape.depth, to: 64), roundUp(shape.outputs, to: 16))
    let threads = engine.pool.threadCount
    let tiles = threads * (Self.tile * (depth + 4) + 4 * depth + 512)
    let arena = try Arena(
      capacity: 4 * rows * (shape.depth + outputs) + padded * (depth + 12) + tiles + 4096)
    let weight = try arena.reserve(Int8.self, padded * depth)
    let scale = try arena.floats(padded)
    let bias = try arena.floats(padded)
    let sum = try arena.reserve(Int32.self, padded)
    let x = try arena.floats(rows * shape.depth)
    let out = try arena.floats(rows * outputs)
    for index in 0..<padded * depth { weight[index] = Int8(truncatingIfNeeded: index &* 7 % 251 - 125) }
    scale.update(repeating: 1e-3, count: padded)
    bias.update(repeating: 0.5, count: padded)
    sum.update(repeating: 0, count: padded)
    fill(x, rows * shape.depth)
    let layer = PackedLinear(
      inputs: shape.depth, outputs: outputs, weight: weight, scale: scale, sum: sum, bias: bias)
    let rooms = try (0..<threads).map { _ in
      try RowScratch(arena, engine: engine, rows: Self.tile, depth: shape.depth)
    }
    let name = "\(rows) x \(outputs) x \(shape.depth)" + (shape.name.isEmpty ? "" : ", \(shape.name)")
    var result = BenchResult(name: name, macs: Double(rows) * Double(outputs) * Double(shape.depth))
    let chunk = engine.pool.chunk(count: rows, limit: Self.tile, multiple: 16)
    for turn in 0...repeats {
      let start = monotonicSeconds()
      engine.pool.run(count: rows, chunk: chunk) { range, worker in
        let prepared = engine.prepare(
          x + range.lowerBound * shape.depth, shape.depth, rows: range.count, columns: shape.depth,
          rooms[worker])
        engine.linear(layer, prepared, out: out + range.lowerBound * outputs, outputs)
      }
      let elapsed = monotonicSeconds() - start
      // The first turn touches the pages.
      if turn > 0 { result.add(elapsed, digest(out, rows * outputs)) }
    }
    return result
  }

  /// One head of attention, all queries in strips of 32; with relative positions where keys form a grid.
  func attention(keys count: Int, gridSide: Int) throws -> BenchResult {
    let (width, strip) = (64, 32)
    let threads = engine.pool.threadCount
    let perThread = strip * (roundUp(count, to: 64) * 5 + 4 * width + 8 * max(gridSide, 1) + 4096) + 65_536
    let arena = try Arena(capacity: count * width * 4 * 6 + threads * perThread + (1 << 20))
    let q = try arena.floats(count * width)
    let out = try arena.floats(count * width)
    fill(q, count * width)
    let keys = try KeyMatrix(arena, engine: engine, count: count, width: width)
    let values = try ValueMatrix(arena, engine: engine, count: count, width: width)
    var rooms: [(strip: AttentionScratch, bias: UnsafeMutablePointer<Float>)] = []
    for _ in 0..<threads {
      let room = try AttentionScratch(arena, engine: engine, rows: strip, keys: count, width: width, keepsLogits: false)
      let bias = try arena.floats(strip * max(gridSide, 1))
      fill(bias, strip * max(gridSide, 1))
      rooms.append((room, bias))
    }
    let name = "attention, one head, \(count) keys" + (gridSide > 0 ? ", positions" : "")
    var result = BenchResult(name: name, macs: 2 * Double(count) * Double(count) * Double(width))
    for turn in 0...repeats {
      let start = monotonicSeconds()
      engine.packKeys(q, width, range: 0..<count, into: keys)
      engine.packValues(q, width, into: values)
      engine.pool.run(count: count, chunk: strip) { range, worker in
        let room = rooms[worker]
        let bias = gridSide > 0
          ? RelativeBias(vertical: room.bias, horizontal: room.bias, gridWidth: gridSide) : nil
        engine.attend(
          q + range.lowerBound * width, width, rows: range.count, keys: keys, values: values, factor: 0.125,
          bias: bias, room.strip, out: out + range.lowerBound * width, width)
      }
      let elapsed = monotonicSeconds() - start
      if turn > 0 { result.add(elapsed, digest(out, count * width)) }
    }
    return result
  }

  private func fill(_ x: UnsafeMutablePointer<Float>, _ count: Int) {
    var state: UInt32 = 12345
    for index in 0..<count {
      state = state &* 1_664_525 &+ 1_013_904_223
      x[index] = Float(state >> 8) / 8_388_608 - 1
    }
  }

  private func digest(_ x: UnsafePointer<Float>, _ count: Int) -> UInt64 {
    var digest = Digest()
    digest.add(UnsafeRawBufferPointer(start: x, count: count * 4))
    return digest.value
  }
}
