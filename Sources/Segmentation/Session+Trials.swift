// One photo under many options: what networks say is asked for once for all options that they do not see, and
// every setting leaves a small mask of each class that is there.
import Compute

/// A photo, and options to try on it.
package struct TrialRequest {
  package let photo: any PhotoPixels
  package let wording: Wording
  /// Of one method, precision and refinement.
  package let options: [SegmentOptions]
  /// The classes whose masks are asked for, ascending.
  package let labels: [Int]
  /// Of the masks, pixels.
  package let side: Int
  /// PnP-OVSS: the blur of the masks as a share of their side, whatever the options say; nil: as they say.
  package var maskBlur: Float?

  package init(
    _ photo: any PhotoPixels, _ wording: Wording, _ options: [SegmentOptions], labels: [Int], side: Int
  ) {
    precondition(!options.isEmpty && !labels.isEmpty, "nothing to try")
    (self.photo, self.wording, self.options) = (photo, wording, options)
    (self.labels, self.side) = (labels, side)
  }

  /// What its masks take, and a label map while they are made.
  package var byteCount: Int {
    options.count * labels.count * PixelMask.byteCount(side: side) + side * side * 2
  }
}

extension SegmentOptions {
  /// The same, but for what networks do not see: options that are equal here share their run.
  package var seenByNetworks: SegmentOptions {
    var options = self
    let usual = SegmentOptions(method: method)
    let unseen: [WritableKeyPath<SegmentOptions, Float>] = [
      \.logitScale, \.probabilityThreshold, \.coarseThreshold, \.iouThreshold, \.maskAlpha,
      \.unknownThreshold, \.areaThreshold, \.classGate, \.mapThreshold, \.blur, \.redundancy,
    ]
    for path in unseen { options[keyPath: path] = usual[keyPath: path] }
    options.minimalArea = usual.minimalArea
    // This rule looks at attention, all others at scores.
    if options.absent != .purify { options.absent = usual.absent }
    return options
  }
}

extension Session {
  /// The fastest way to try them within the limit. `heldByteCount`: what the caller keeps beside the run.
  ///
  /// - Errors: `.memory` with the smallest limit that would do; `.usage` for options that cannot work.
  package func plan(
    _ request: TrialRequest, heldByteCount: Int = 0, within limit: MemoryLimit = .ofRuntime
  ) throws -> MemoryPlan {
    let fixed = fixedByteCount() + heldByteCount + request.byteCount
    return try planned(limit, request.options[0].precision, fixed: fixed) { run in
      try masks(request, in: run, progress: { _ in }, take: { _, _, _ in })
    }
  }

  /// Masks of every setting.
  ///
  /// - Shapes: [options, labels].
  /// - Memory: the plan's; the masks stay.
  /// - Errors: as `plan`; those of the photo.
  package func masks(
    _ request: TrialRequest, plan: MemoryPlan, progress: (_ fraction: Double) -> Void = { _ in }
  ) throws -> [[PixelMask]] {
    let empty = PixelMask(side: request.side, all: false)
    var made = request.options.map { _ in request.labels.map { _ in empty } }
    let precision = request.options[0].precision
    let observer = { (_: String, _: Int, _: Double) -> Void in }
    try run(plan, precision, measures: false, taps: nil, observer: observer) { run in
      var run = run
      if let limit = runtime.memoryLimit { run.spillRoom = max(0, limit - plan.peak) }
      try masks(request, in: run, progress: progress) { made[$0][$1] = $2 }
    }
    return made
  }

  private typealias TakeMask = (_ trial: Int, _ index: Int, PixelMask) -> Void

  private func masks(
    _ request: TrialRequest, in run: RunContext, progress: (Double) -> Void, take: TakeMask
  ) throws {
    if request.options[0].method == .pnpOVSS {
      guard request.options.allSatisfy({ $0.tile == 0 }) else {
        throw SegmentationError(.usage("--tile: trials of pnp-ovss look at whole photos"))
      }
      try CaptionTrials(model, request).run(in: run, progress: progress, take: take)
      return
    }
    var groups: [(options: SegmentOptions, trials: [Int])] = []
    for (trial, options) in request.options.enumerated() {
      let seen = options.seenByNetworks
      if let group = groups.firstIndex(where: { $0.options == seen }) {
        groups[group].trials.append(trial)
      } else {
        groups.append((seen, [trial]))
      }
    }
    let text = try request.wording.vectors(in: run, width: embedWidth)
    var done = 0
    for group in groups {
      try run.scope {
        let method = try makeMethod(model, request.options[group.trials[0]])
        let scored = try method.score(request.photo, text: text, words: request.wording, in: run)
        if !run.isPlanning, !scored.scores.isFinite { throw notNumbers("scores") }
        for trial in group.trials {
          try run.scope { try label(request, trial, scored, in: run, take) }
          done += 1
          progress(Double(done) / Double(request.options.count))
        }
      }
    }
  }

  /// Labels of one setting, looked at where the pixels of the masks lie.
  private func label(
    _ request: TrialRequest, _ trial: Int, _ scored: Scored, in run: RunContext, _ take: TakeMask
  ) throws {
    let (photo, options, side) = (request.photo, request.options[trial], request.side)
    let scores = try makeMethod(model, options).scores(of: scored, photo, in: run)
    let own = Scored(
      scores: scores, reported: scored.reported, grid: scored.grid, embedding: scored.embedding,
      geometry: scored.geometry, guided: scored.guided, found: scored.found, purity: scored.purity)
    let presence = try presence(own, photo, request.wording, options, in: run)
    let settings = LabelSettings(options, request.wording, keeps: presence.keeps)
    let columns = (0..<side).map { Self.place($0, side, photo.width) }
    var map = [UInt16](repeating: LabelRows.noClass, count: side * side)
    var next = 0
    _ = try makeRefiner(own, settings, options, passes: 1, in: run).run(photo, in: run) { y, labels in
      while next < side, Self.place(next, side, photo.height) == y {
        for x in 0..<side { map[next * side + x] = labels[columns[x]] }
        next += 1
      }
      return true
    }
    if run.isPlanning { return }
    for (index, label) in request.labels.enumerated() {
      take(trial, index, PixelMask(side: side) { map[$0] == UInt16(label) })
    }
  }

  /// The pixel of `count` that the middle of cell `index` of `side` lies in.
  private static func place(_ index: Int, _ side: Int, _ count: Int) -> Int {
    min(count - 1, (2 * index + 1) * count / (2 * side))
  }
}
