// Products and attention by shape, timed as the stages use them: rows over the threads, quantizing included.
import Compute
import Segmentation
import System

/// Times kernels on made-up numbers that are the same every time.
struct KernelBench {
  let engine: Engine
  let repeats: Int
  private static let tile = 128

  /// Multiply-accumulates a second that the product instructions reach on registers: the best of some turns
  /// of 20 ms.
  func peakRate() -> Double {
    var best = 0.0
    for _ in 0..<repeats + 3 {
      let start = monotonicSeconds()
      let macs = engine.multiplyInRegisters(UInt64(max(1e6, best * 0.02 / Double(engine.pool.threadCount))))
      best = max(best, Double(macs) / max(monotonicSeconds() - start, 1e-9))
    }
    return best
  }

  /// Quantizes rows, multiplies, scales, adds a bias and activates. Activated rows stay with the worker, as
  /// in an MLP, where the next layer reads them at once; for the digest they are made once more.
  ///
  /// - Memory: rows and results as floats, weights as bytes, a tile and its results a thread; given back.
  func product(_ shape: ProductShape) throws -> BenchResult {
    let (rows, outputs) = (shape.rows, shape.outputs)
    let (depth, padded) = (roundUp(shape.depth, to: 64), roundUp(shape.outputs, to: 16))
    let threads = engine.pool.threadCount
    let tiles = threads * (Self.tile * (depth + 4 * outputs + 4) + 4 * depth + 512)
    let arena = try Arena(
      capacity: 4 * rows * (shape.depth + outputs) + padded * (depth + 12) + tiles + 4096)
    let weight = try arena.reserve(Int8.self, padded * depth)
    let scale = try arena.floats(padded)
    let bias = try arena.floats(padded)
    let sum = try arena.reserve(Int32.self, padded)
    let x = try arena.rows(rows, shape.depth)
    let out = try arena.rows(rows, outputs)
    sum.update(repeating: 0, count: padded)
    for index in 0..<padded * depth {
      weight[index] = Int8(truncatingIfNeeded: index &* 7 % 251 - 125)
      sum[index / (16 * depth) * 16 + index % 64 / 4] += Int32(weight[index])
    }
    scale.update(repeating: 1e-3, count: padded)
    bias.update(repeating: 0.5, count: padded)
    fill(x.base, rows * shape.depth)
    let layer = PackedLinear(
      inputs: shape.depth, outputs: outputs, weight: weight, scale: scale, sum: sum, bias: bias)
    let rooms = try (0..<threads).map { _ in
      try RowScratch(arena, engine: engine, rows: Self.tile, depth: shape.depth)
    }
    let name = "\(rows) x \(outputs) x \(shape.depth)" + (shape.name.isEmpty ? "" : ", \(shape.name)")
    var result = BenchResult(name: name, macs: Double(rows) * Double(outputs) * Double(shape.depth))
    let hidden = try (0..<threads).map { _ in try arena.rows(Self.tile, outputs) }
    let multiply = { (stays: Bool) in
      engine.share(rows, limit: Self.tile) { range, worker in
        let place = stays ? hidden[worker].prefix(range.count) : out[range]
        engine.linear(
          layer, engine.prepare(x[range], rooms[worker]), activation: shape.activation, into: place)
      }
    }
    let stays = shape.activation != .none
    for turn in 0...repeats {
      let start = monotonicSeconds()
      multiply(stays)
      let elapsed = monotonicSeconds() - start
      if stays { multiply(false) }
      // The first turn touches the pages.
      if turn > 0 { result.add(elapsed, digest(out.base, rows * outputs)) }
    }
    return result
  }

  /// Attention of `heads` heads as the encoders run it, keys and values packed, with relative positions where
  /// keys form a grid: short sequences a head a worker, long ones head after head, all workers together;
  /// `strip` queries at a time.
  func attention(keys count: Int, gridSide: Int, heads: Int, strip: Int, name: String) throws -> BenchResult {
    let isShort = count < 1024
    let room = try AttentionRoom(engine, keys: count, gridSide: gridSide, strip: strip)
    fill(room.x.base, count * AttentionRoom.width)
    for worker in room.workers { fill(worker.bias, worker.strip.rowCapacity * max(gridSide, 1)) }
    var result = BenchResult(
      name: "\(count) keys, \(heads) heads of \(AttentionRoom.width), \(name)",
      macs: 2 * Double(heads) * Double(count) * Double(count) * Double(AttentionRoom.width))
    for turn in 0...repeats {
      let start = monotonicSeconds()
      if isShort {
        engine.pool.run(count: heads, chunk: 1) { _, worker in room.head(of: worker) }
      } else {
        for _ in 0..<heads { room.headTogether() }
      }
      let elapsed = monotonicSeconds() - start
      if turn > 0 { result.add(elapsed, digest(room.workers[0].out.base, count * AttentionRoom.width)) }
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

/// Keys, values and workers of one attention.
private struct AttentionRoom {
  static let width = 64

  struct Worker {
    let memory: HeadMemory
    let strip: AttentionScratch
    let bias: UnsafeMutablePointer<Float>
    let out: Rows
  }

  let engine: Engine
  let arena: Arena
  let count: Int
  let gridSide: Int
  let x: Rows
  private(set) var workers: [Worker] = []

  init(_ engine: Engine, keys count: Int, gridSide: Int, strip rows: Int) throws(ComputeError) {
    let width = Self.width
    let perThread =
      rows * (roundUp(count, to: 64) + 4 * width + 8 * max(gridSide, 1) + 4096) + count * width * 8 + 65_536
    (self.engine, self.count, self.gridSide) = (engine, count, gridSide)
    arena = try Arena(capacity: count * width * 4 + engine.pool.threadCount * perThread + (1 << 20))
    x = try arena.rows(count, width)
    for _ in 0..<engine.pool.threadCount {
      workers.append(
        Worker(
          memory: try HeadMemory(arena, engine: engine, tokens: count, width: width),
          strip: try AttentionScratch(
            arena, engine: engine, rows: rows, keys: count, width: width, keepsLogits: false),
          bias: try arena.floats(rows * max(gridSide, 1)), out: try arena.rows(count, width)))
    }
  }

  /// One head by one worker.
  func head(of worker: Int) {
    let room = workers[worker]
    room.memory.load(engine, k: x, v: x)
    for row in stride(from: 0, to: count, by: room.strip.rowCapacity) {
      attend(row, room, room, into: room.out)
    }
  }

  /// One head by all workers.
  func headTogether() {
    let shared = workers[0]
    shared.memory.load(engine, k: x, v: x, sharing: true)
    engine.pool.run(count: count, chunk: shared.strip.rowCapacity) { range, worker in
      attend(range.lowerBound, shared, workers[worker], into: shared.out)
    }
  }

  private func attend(_ row: Int, _ head: Worker, _ room: Worker, into out: Rows) {
    let bias =
      gridSide > 0 ? RelativeBias(vertical: room.bias, horizontal: room.bias, gridWidth: gridSide) : nil
    let strip = row..<min(row + room.strip.rowCapacity, count)
    engine.attend(x[strip], head.memory, factor: 0.125, bias: bias, room.strip, into: out[strip])
  }
}
