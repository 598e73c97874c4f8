// How fast this machine runs a model, from one transformer block of it.
import Compute
import System

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
    let x: Rows
    let sequence: SequenceRoom
    let square: Rows
    let out: [Rows]

    init(_ run: RunContext, _ config: TransformerConfig) throws(ComputeError) {
      let side = MachineSpeed.floatSide
      x = try run.arena.rows(MachineSpeed.tokens, config.width)
      sequence = try SequenceRoom(run, config, tokens: MachineSpeed.tokens)
      square = try run.arena.rows(side, side)
      out = try run.engine.perWorker { () throws(ComputeError) in try run.arena.rows(side, side) }
    }
  }

  /// The network that is timed.
  private static func subject(_ model: Model) throws -> (TransformerConfig, BlockSchema) {
    let networks: [(TransformerConfig, BlockSchema)?] = [
      model.config.dino.flatMap { config in model.dino.map { (config.blocks, $0.blocks[0]) } },
      model.config.clip.flatMap { config in model.clip.map { (config.vision.blocks, $0.blocks[0]) } },
      model.config.radio.flatMap { config in model.radio.map { (config.vision.blocks, $0.blocks[0]) } },
      model.config.blip.flatMap { config in model.blip.map { (config.blocks, $0.blocks[0]) } },
      model.config.text.flatMap { config in model.text.map { (config.blocks, $0.blocks[0]) } },
      model.config.siglip.flatMap { config in model.siglip.map { (config.tower.blocks, $0.blocks[0]) } },
    ]
    guard let subject = networks.compactMap({ $0 }).first else {
      throw SegmentationError(.model("\(model.file.path) holds no transformer whose speed could be measured"))
    }
    return subject
  }

  private static func context(_ engine: Engine, _ model: Model, _ arena: Arena) -> RunContext {
    RunContext(
      model: model, engine: engine, arena: arena, tiling: Tiling(), keepsWeights: true,
      log: StageLog(arena: arena, measures: false))
  }

  /// What a measurement reserves, counted.
  static func arena(_ engine: Engine, _ model: Model) throws -> Arena {
    let counting = Arena()
    _ = try Room(context(engine, model, counting), subject(model).0)
    return counting
  }

  /// Where nothing can be measured: the proportions of an x86-64 core with VNNI.
  static let typical = MachineSpeed(linear: 100e9, attention: 40e9, float: 10e9)

  /// Runs a network's first block on 442 made-up tokens, and float products, for about `seconds`; medians, so
  /// that a busy machine counts as slow.
  ///
  /// - Memory: about 12 MiB for B/16 and two threads, given back.
  package static func measure(_ engine: Engine, _ model: Model, seconds: Double) throws -> MachineSpeed {
    let (config, block) = try subject(model)
    let arena = try Arena(capacity: try Self.arena(engine, model).highWater)
    defer { withExtendedLifetime(arena) {} }
    let run = context(engine, model, arena)
    let room = try Room(run, config)
    let weights = BlockWeights(model, block)
    let tower = TransformerBlocks(run, config)
    let threads = engine.pool.threadCount
    let side = floatSide
    room.square.fill(0.5)
    var linear: [Double] = []
    var attention: [Double] = []
    var float: [Double] = []
    let start = monotonicSeconds()
    repeat {
      for index in 0..<tokens * config.width { room.x.base[index] = Float(index % 17) - 8 }
      let begin = monotonicSeconds()
      tower.project(room.x, weights, room.sequence)
      let projected = monotonicSeconds()
      tower.attend(room.sequence)
      let attended = monotonicSeconds()
      tower.finish(room.x, weights, room.sequence)
      let finished = monotonicSeconds()
      engine.pool.run(count: threads, chunk: 1) { _, worker in
        engine.productNN(room.square, room.square, into: room.out[worker])
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
      linear: rate(config.linearWork(tokens: tokens).linear, linear),
      attention: rate(config.attentionWork(queries: tokens, keys: tokens).attention, attention),
      float: rate(Double(threads * side * side * side), float))
  }
}
