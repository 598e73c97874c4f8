// What every stage took: planned and measured memory, faults, bytes read, seconds.
import Compute
import System

/// One stage of a run or of a plan.
package struct StageEntry: Equatable, Sendable {
  package var stage: Stage
  /// Highest arena use inside the stage, bytes (the plan's and the run's own books agree by construction).
  package var arenaByteCount = 0
  /// Weights that are read during the stage, and the part that is resident at a time, bytes.
  package var weightByteCount = 0
  package var hotWeightByteCount = 0
  /// Private memory that reading the photo takes beside the arena, bytes (plans only).
  package var imageByteCount = 0
  /// Arithmetic of the stage (plans only).
  package var work = Work()
  package var seconds = 0.0
  /// Highest reading inside the stage (sampled at its steps and end), bytes.
  package var anonymous = 0
  package var file = 0
  package var minorFaults = 0
  package var majorFaults = 0
  package var readByteCount = 0

  package var name: String { stage.name }
  package init(_ stage: Stage) { self.stage = stage }
}

/// A reading of memory over time, for the chart.
package struct MemorySample: Equatable, Sendable {
  package var seconds: Double
  package var anonymous: Int
  package var file: Int
}

/// Runs stages one after another and keeps the books.
package final class StageLog {
  package private(set) var entries: [StageEntry] = []
  package private(set) var samples: [MemorySample] = []
  package let start = monotonicSeconds()
  private let arena: Arena
  private let measures: Bool
  private let observer: ((_ stage: String, _ index: Int, _ fraction: Double) -> Void)?

  /// `measures`: read the kernel's books at every step (costs some 20 microseconds a reading).
  package init(arena: Arena, measures: Bool, observer: ((String, Int, Double) -> Void)? = nil) {
    self.arena = arena
    self.measures = measures
    self.observer = observer
  }

  /// Runs one stage.
  package func run<Result>(_ stage: Stage, _ body: () throws -> Result) rethrows -> Result {
    var entry = StageEntry(stage)
    // The last stage's pages go back, so that every stage holds what it needs and no more.
    arena.trim()
    arena.resetHighWater()
    let begin = monotonicSeconds()
    let before = measures ? ProcessMemory.now() : ProcessMemory()
    entries.append(entry)
    sample()
    if !arena.isCounting { observer?(stage.name, entries.count - 1, 0) }
    let result = try body()
    sample()
    entry = entries[entries.count - 1]
    entry.arenaByteCount = arena.highWater
    entry.seconds = monotonicSeconds() - begin
    if measures {
      let after = ProcessMemory.now()
      entry.minorFaults = after.minorFaults - before.minorFaults
      entry.majorFaults = after.majorFaults - before.majorFaults
      entry.readByteCount = after.readByteCount - before.readByteCount
    }
    entries[entries.count - 1] = entry
    return result
  }

  /// Notes the stages from `first` on again, so that they have been there so many `times`: for plans of equal
  /// work.
  package func repeatStages(from first: Int, times: Int) {
    let once = Array(entries[first...])
    entries.reserveCapacity(first + once.count * times)
    for _ in 1..<max(times, 1) { entries += once }
  }

  /// Notes how far the current stage is, and takes a reading.
  package func step(_ fraction: Double) {
    if arena.isCounting { return }
    sample()
    observer?(entries.last?.name ?? "", entries.count - 1, fraction)
  }

  /// Notes the weights that the current stage reads.
  package func weights(total: Int, hot: Int) {
    guard !entries.isEmpty else { return }
    entries[entries.count - 1].weightByteCount += total
    entries[entries.count - 1].hotWeightByteCount = max(entries[entries.count - 1].hotWeightByteCount, hot)
  }

  /// Notes arithmetic of the current stage.
  package func add(_ work: Work) {
    guard !entries.isEmpty else { return }
    entries[entries.count - 1].work = entries[entries.count - 1].work + work
  }

  /// Notes what reading the photo takes in the current stage.
  package func image(_ byteCount: Int) {
    guard !entries.isEmpty else { return }
    entries[entries.count - 1].imageByteCount = max(entries[entries.count - 1].imageByteCount, byteCount)
  }

  private func sample() {
    guard measures, !arena.isCounting, !entries.isEmpty else { return }
    let now = ProcessMemory.now()
    samples.append(
      MemorySample(seconds: monotonicSeconds() - start, anonymous: now.anonymous, file: now.file))
    entries[entries.count - 1].anonymous = max(entries[entries.count - 1].anonymous, now.anonymous)
    entries[entries.count - 1].file = max(entries[entries.count - 1].file, now.file)
  }
}
