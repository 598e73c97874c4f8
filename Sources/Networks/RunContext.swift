// What a run hands on from stage to stage: model, threads, scratch memory, tiling, books.
import Compute

/// How work is cut into pieces. Results do not depend on it.
package struct Tiling: Equatable, Sendable {
  /// Rows of tokens a worker takes through a block at a time.
  package var rows = 128
  /// Queries a worker compares with all keys at a time.
  package var strip = 32
  /// Windows carried through the blocks together.
  package var windows = 4
  /// Text nodes encoded together.
  package var textRows = 2048

  package init() {}
}

/// A part of a run that plan, progress and report know by name.
package struct Stage: Equatable, Sendable {
  /// What the tiling may cut smaller, before rows and strips, where this stage is in the way.
  package enum Cut: Sendable { case textRows, windows }

  package let name: String
  package let cut: Cut?

  package init(_ name: String, cut: Cut? = nil) { (self.name, self.cut) = (name, cut) }

  package static let text = Stage("text", cut: .textRows)
  package static let photo = Stage("photo")
  package static let dino = Stage("dino", cut: .windows)
  package static let clip = Stage("clip", cut: .windows)
  package static let sam = Stage("sam")
  package static let scores = Stage("scores")
  package static let presence = Stage("presence")
  package static let labels = Stage("labels")
  package static let refine = Stage("refine")
}

/// Everything that a stage computes with.
///
/// A plan is the same run on a counting arena: reservations, weights and work are noted, nothing is computed.
package struct RunContext {
  package let model: Model
  package let engine: Engine
  package let arena: Arena
  package let tiling: Tiling
  /// Weights stay resident between blocks.
  package let keepsWeights: Bool
  package let log: StageLog
  package let taps: Taps?
  /// What the memory limit leaves for temporary files that take memory, bytes.
  package var spillRoom = Int.max
  /// Whether nobody waits for the result any more.
  package var isCancelled: (() -> Bool)?

  package init(
    model: Model, engine: Engine, arena: Arena, tiling: Tiling, keepsWeights: Bool, log: StageLog,
    taps: Taps? = nil
  ) {
    self.model = model
    self.engine = engine
    self.arena = arena
    self.tiling = tiling
    self.keepsWeights = keepsWeights
    self.log = log
    self.taps = taps
  }

  /// Only the books are kept.
  package var isPlanning: Bool { arena.isCounting }

  /// - Errors: `CancellationError` where nobody waits for the result any more.
  package func checkCancelled() throws { if isCancelled?() == true { throw CancellationError() } }

  /// Runs a stage. What it reserves outside a scope stays.
  package func stage<Result>(_ stage: Stage, _ body: () throws -> Result) rethrows -> Result {
    try log.run(stage, body)
  }

  /// Gives back whatever `body` reserves.
  package func scope<Result>(_ body: () throws -> Result) rethrows -> Result {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    return try body()
  }

  /// Gives back whatever `body` reserves but what it returns: that moves down to where the scope began.
  package func keeping<Kept: Movable>(_ body: () throws -> Kept) throws -> Kept {
    try scope(body).moved(down: self)
  }

  /// The blocks of a network, one after another through resident memory; notes what they weigh.
  package func blocks(of schema: some NetworkSchema) -> BlockStream {
    let stream = BlockStream(self, schema)
    log.weights(total: stream.byteCount, hot: stream.hotByteCount)
    return stream
  }

  /// Notes arithmetic of the current stage.
  package func note(_ work: Work) { if isPlanning { log.add(work) } }

  /// Tells how much of the current stage is done.
  package func step(_ fraction: Double) { log.step(fraction) }

  /// Keeps a copy of an intermediate result, or of some of its rows, where somebody wants to see it.
  package func record(_ name: @autoclosure () -> String, _ rows: Rows, at first: Int = 0) {
    if !isPlanning { taps?.record(name(), rows, at: first) }
  }
}

/// What can be moved to where an arena stands, from above.
package protocol Movable {
  func moved(down run: RunContext) throws(ComputeError) -> Self
}

extension Rows: Movable {
  package func moved(down run: RunContext) throws(ComputeError) -> Rows {
    let low = try run.arena.rows(count, width)
    if !run.isPlanning && low.base != base { low.update(from: self) }
    return low
  }
}

extension StoredRows: Movable {
  package func moved(down run: RunContext) throws(ComputeError) -> StoredRows {
    try moved(down: run.arena, run.engine)
  }
}

extension Optional: Movable where Wrapped: Movable {
  package func moved(down run: RunContext) throws(ComputeError) -> Wrapped? { try self?.moved(down: run) }
}
