// How fast this machine runs a model, from one transformer block of it.
import Compute

/// Multiply-accumulates a second, all threads together, by kind of work.
package struct MachineSpeed: Equatable, Sendable {
  package var linear: Double
  package var attention: Double
  package var float: Double

  package init(linear: Double, attention: Double, float: Double) {
    (self.linear, self.attention, self.float) = (linear, attention, float)
  }

  package func seconds(_ work: Work) -> Double {
    work.linear / linear + work.attention / attention + work.float / float
  }
}

extension MachineSpeed {
  private static let tokens = 442
  /// Rows, columns and depth of a float product.
  private static let floatSide = 256

  /// Room for the block and the float products.
  private struct Room {
    let x: UnsafeMutablePointer<Float>
    let scratch: SequenceScratch
    let square: UnsafeMutablePointer<Float>
    let out: [UnsafeMutablePointer<Float>]

    init(_ arena: Arena, _ engine: Engine, _ config: EncoderConfig) throws(ComputeError) {
      let side = MachineSpeed.floatSide
      x = try arena.floats(MachineSpeed.tokens * config.width)
      scratch = try SequenceScratch(arena, engine, config, tokens: MachineSpeed.tokens, tiling: Tiling())
      square = try arena.floats(side * side)
      var out: [UnsafeMutablePointer<Float>] = []
      for _ in 0..<engine.pool.threadCount { out.append(try arena.floats(side * side)) }
      self.out = out
    }
  }

  /// Runs DINO's first block on 442 made-up tokens, and float products, for about `seconds`; medians, so that a busy
  /// machine counts as slow.
  ///
  /// - Memory: about 12 MiB for B/16 and two threads, given back.
  package static func measure(_ engine: Engine, _ reader: ModelReader, seconds: Double) throws -> MachineSpeed {
    let config = reader.config.dino
    let counting = Arena()
    _ = try Room(counting, engine, config)
    let arena = try Arena(capacity: counting.highWater)
    defer { withExtendedLifetime(arena) {} }
    let room = try Room(arena, engine, config)
    let weights = try BlockWeights(reader, config, block: 0)
    let encoder = SequenceEncoder(engine: engine, config: config, tiling: Tiling())
    let threads = engine.pool.threadCount
    let side = floatSide
    room.square.update(repeating: 0.5, count: side * side)
    var linear: [Double] = []
    var attention: [Double] = []
    var float: [Double] = []
    let start = monotonicSeconds()
    repeat {
      for index in 0..<tokens * config.width { room.x[index] = Float(index % 17) - 8 }
      let begin = monotonicSeconds()
      encoder.project(room.x, weights, room.scratch)
      let projected = monotonicSeconds()
      encoder.attend(room.scratch)
      let attended = monotonicSeconds()
      encoder.finish(room.x, weights, room.scratch)
      let finished = monotonicSeconds()
      engine.pool.run(count: threads, chunk: 1) { _, worker in
        engine.productNN(
          room.square, side, rows: side, room.square, side, columns: side, depth: side, out: room.out[worker], side)
      }
      linear.append(projected - begin + finished - attended)
      attention.append(attended - projected)
      float.append(monotonicSeconds() - finished)
      // The first turn brings pages in; it counts only where there is no time for another.
    } while linear.count < 2 || monotonicSeconds() - start < seconds
    func rate(_ work: Double, _ times: [Double]) -> Double {
      let sorted = times.dropFirst().sorted()
      return work / max(sorted[sorted.count / 2], 1e-9)
    }
    return MachineSpeed(
      linear: rate(WorkEstimate.linear(config, tokens: tokens).linear, linear),
      attention: rate(WorkEstimate.attention(config, queries: tokens, keys: tokens).attention, attention),
      float: rate(Double(threads * side * side * side), float))
  }
}
