// Ways to cut the work, from fast to small. Results are the same for all of them.
import Compute

/// Steps down from the fastest tiling: whatever the stage in the way is made of shrinks first.
package enum TilingLadder {
  /// Where every thread count starts.
  package static let fastest = Tiling()

  /// The smallest tiling there is.
  package static let smallest: Tiling = {
    var tiling = Tiling()
    (tiling.rows, tiling.strip, tiling.windows, tiling.textRows) = (16, 1, 1, 128)
    return tiling
  }()

  /// Thread counts to try, most first.
  package static func threadCounts(_ threads: Int) -> [Int] {
    var counts: [Int] = []
    var count = max(1, threads)
    while count > 1 {
      counts.append(count)
      count = count > 4 ? count / 2 : count - 1
    }
    return counts + [1]
  }

  /// Tilings that need less in `stage`, the cheapest in time first.
  static func steps(_ tiling: Tiling, stage: Stage?) -> [Tiling] {
    var result: [Tiling] = []
    func halve(_ path: WritableKeyPath<Tiling, Int>) {
      let floor = smallest[keyPath: path]
      guard tiling[keyPath: path] > floor else { return }
      var next = tiling
      next[keyPath: path] = max(floor, tiling[keyPath: path] / 2)
      result.append(next)
    }
    switch stage?.cut {
    case .textRows: halve(\.textRows)
    case .windows: halve(\.windows)
    case nil: break
    }
    if tiling.rows > 32 { halve(\.rows) }
    if tiling.strip > 8 { halve(\.strip) }
    if tiling.rows <= 32 { halve(\.rows) }
    if tiling.strip <= 8 { halve(\.strip) }
    return result
  }
}

/// What a plan has to fit.
package enum MemoryLimit: Sendable {
  /// The limit of the session's runtime options, if it has one.
  case ofRuntime
  /// As little as possible.
  case smallest
}

extension Session {
  /// Walks down the ladder until a plan fits: all threads with ever smaller pieces, then fewer threads.
  ///
  /// - Errors: `.memory` with the smallest peak that was met and its stage.
  func fit(
    _ limit: MemoryLimit, _ make: (_ threads: Int, _ tiling: Tiling) throws -> MemoryPlan
  ) throws -> MemoryPlan {
    let bytes = limit == .smallest ? 0 : runtime.memoryCeiling
    let (fitting, smallest) = try walk(limit: bytes, make)
    if let fitting { return fitting }
    if limit == .smallest { return smallest }
    throw SegmentationError(
      .memory(limit: bytes, needed: smallest.peak, stage: smallest.peakStageName))
  }

  /// The first plan within the limit, or none; and the smallest plan that was met.
  private func walk(
    limit: Int?, _ make: (_ threads: Int, _ tiling: Tiling) throws -> MemoryPlan
  ) throws -> (fitting: MemoryPlan?, smallest: MemoryPlan) {
    var smallest: MemoryPlan?
    for threads in TilingLadder.threadCounts(runtime.threads) {
      var plan = try make(threads, TilingLadder.fastest)
      while true {
        guard let limit, plan.peak > limit else { return (plan, plan) }
        if smallest.map({ plan.peak < $0.peak }) ?? true { smallest = plan }
        var next: MemoryPlan?
        for tiling in TilingLadder.steps(plan.tiling, stage: plan.peakStage) {
          let candidate = try make(threads, tiling)
          guard candidate.peak < plan.peak || candidate.peakStage != plan.peakStage else { continue }
          next = candidate
          break
        }
        guard let next else { break }
        plan = next
      }
    }
    guard let smallest else { preconditionFailure("the ladder has steps") }
    return (nil, smallest)
  }
}
