// Which classes may be labels: the others keep their place in the softmax and get probability 0.
import Compute

/// Classes that take part, as masks over phrases and classes.
///
/// - Shapes: `phrases` [lanes]: 0, or far below any score; `classes` [classLanes]: 1 or 0.
/// - Memory: 32 bytes for every eight phrases and every eight classes.
struct ClassMasks {
  /// Some class takes no part.
  let isUsed: Bool
  let phrases: UnsafeMutablePointer<Eight>
  let classes: UnsafeMutablePointer<Eight>

  /// - Shapes: `keeps` [classes]; empty: all take part.
  init(_ arena: Arena, _ grid: ScoreGrid, keeps: [Bool]) throws(ComputeError) {
    let classLanes = ceilDivide(grid.classCount, by: 8)
    isUsed = keeps.contains(false)
    phrases = try arena.reserve(Eight.self, grid.lanes)
    classes = try arena.reserve(Eight.self, classLanes)
    if arena.isCounting { return }
    for lane in 0..<grid.lanes { phrases[lane] = Eight(repeating: 0) }
    for lane in 0..<classLanes { classes[lane] = Eight(repeating: 1) }
    for (label, keep) in keeps.enumerated() where !keep {
      floats(classes)[label] = 0
      for phrase in Int(grid.firstPhrase[label])..<Int(grid.firstPhrase[label + 1]) {
        // Below the padding behind the last phrase, too.
        floats(phrases)[phrase] = 100 * ScoreGrid.padding
      }
    }
  }
}

/// Rules that say which classes are in a photo.
///
/// Where a rule keeps no class it keeps all, unless negative phrases are there to have the pixels. A
/// background (class 0) is never dropped, nor are negative phrases.
package struct ClassRules: Equatable, Sendable {
  package var absent = AbsentRule.keep
  /// The gate: a class needs a patch at least this certain; the relative rule: its share of the way from the
  /// least class to the most certain one.
  package static let edge: Float = 0.5
  /// The purify rule: a class needs more than this ratio in some window.
  package var redundancy: Float = 0.1
  /// SC-CLIP's area rule: a class needs more than this share of the pixels that classes 1... have; below 0:
  /// off.
  package var areaThreshold: Float = -1
  /// Class 0 is what nothing else is.
  package var background = false
  /// The last class is that of negative phrases.
  package var hasNegatives = false

  package init(
    absent: AbsentRule = .keep, redundancy: Float = 0.1, areaThreshold: Float = -1, background: Bool = false,
    hasNegatives: Bool = false
  ) {
    // Words settle `auto`; where nobody asked them, nothing was added.
    (self.absent, self.areaThreshold) = (absent == .auto ? .keep : absent, areaThreshold)
    (self.redundancy, self.background, self.hasNegatives) = (redundancy, background, hasNegatives)
  }

  /// Nothing is ever taken away.
  var isEmpty: Bool { absent == .keep && areaThreshold < 0 }
}

extension ClassRules {
  /// Which classes stay, by patches first and then by area.
  ///
  /// - Shapes: `presence` [classes]; the result [classes].
  /// - Memory: with the area rule a pass over label rows; given back.
  func choose(
    _ presence: [ClassPresence], _ scores: any ScoreField, _ photo: any PhotoPixels,
    _ settings: LabelSettings,
    in run: RunContext
  ) throws -> [Bool] {
    let kept = keptByPatches(presence.map { absent == .purify ? $0.purity ?? 0 : $0.certainty })
    if areaThreshold < 0 { return kept }
    return try run.scope {
      let coarse = LabelSettings(logitScale: settings.logitScale, keeps: kept)
      let rows = try LabelRows(
        run.arena, engine: run.engine, scores: scores, height: photo.height, width: photo.width,
        settings: coarse)
      let counts = try rows.pixelCounts(run.arena)
      if run.isPlanning { return kept }
      let named = hasNegatives ? counts.dropLast() : counts[...]
      let large = Self.keptByArea(Array(named), areaThreshold) + (hasNegatives ? [true] : [])
      return zip(kept, large).map { $0 && $1 }
    }
  }

  /// Classes that pass the rule by their most certain patch or, with `purify`, by their purest window.
  ///
  /// - Source: MaskCLIP's prompt denoising and RADSeg (gate); TagCLIP (relative), without its step over
  ///   attention; FreeCP (purify).
  package func keptByPatches(_ certainty: [Float]) -> [Bool] {
    let first = background ? 1 : 0
    let rivals = certainty.dropFirst(first).dropLast(hasNegatives ? 1 : 0)
    guard absent != .keep, let least = rivals.min(), let most = rivals.max() else {
      return Array(repeating: true, count: certainty.count)
    }
    var kept = rivals.map { value in
      switch absent {
      case .relative: value > least + Self.edge * (most - least)
      case .purify: value > redundancy
      case .auto, .keep, .gate, .relevancy: value >= Self.edge
      }
    }
    if !kept.contains(true) && !hasNegatives { kept = Array(repeating: true, count: kept.count) }
    return Array(repeating: true, count: first) + kept + (hasNegatives ? [true] : [])
  }

  /// Classes with more than `threshold` of the pixels of classes 1...; class 0 is neither counted nor
  /// dropped.
  ///
  /// - Source: SC-CLIP's public code.
  package static func keptByArea(_ counts: [Int], _ threshold: Float) -> [Bool] {
    // The threshold as people wrote it: 0.1 is no float, and a class may have exactly a tenth.
    let limit = (Double("\(threshold)") ?? Double(threshold)) * Double(counts.dropFirst().reduce(0, +))
    return [true] + counts.dropFirst().map { Double($0) > limit }
  }
}

/// How sure the patches are of a class.
package struct ClassPresence: Equatable, Sendable {
  /// Largest probability over all patches at CLIP's own scale of 100, which the rules' edges belong to.
  package var certainty: Float = 0
  /// Largest probability over all patches at the run's scale.
  package var best: Float = 0
  /// Mean probability, at the run's scale, of the patches where it is the best class; 0 where there is none.
  package var mean: Float = 0
  /// Patches where it is the best class.
  package var patches = 0
  /// What the purify rule goes by: the largest ratio of any window, 0 to 0.5; nil where it does not run.
  package var purity: Float?
  /// Some rule took it away.
  package var isDropped = false

  package init() {}
}

extension ScoreField {
  /// Looks at every patch once; in one thread, so that sums never depend on threads.
  ///
  /// - Shapes: the result [classes]; defaults in a plan.
  /// - Parameter ofClasses: the softmax is over classes, each with its best phrase; otherwise over phrases.
  /// - Memory: a row of scores and a few numbers a phrase; given back.
  func presence(scale: Float, ofClasses: Bool, in run: RunContext) throws -> [ClassPresence] {
    try run.scope {
      let line = try run.arena.reserve(Eight.self, grid.columns * grid.lanes)
      let scratch = try run.arena.floats(scratchCount)
      let numerators = try run.arena.reserve(Eight.self, grid.lanes)
      var found = Array(repeating: ClassPresence(), count: grid.classCount)
      if run.isPlanning { return found }
      for row in 0..<patches.rows {
        patchRow(run.engine, row, scratch: scratch, into: floats(line))
        for column in 0..<patches.columns {
          let cell = line + column * grid.lanes
          if ofClasses { keepBestPhrases(cell) }
          forEachClass(cell, scale: 100, numerators) { found[$0].certainty = max(found[$0].certainty, $1) }
          var (winner, most) = (0, -Float.infinity)
          forEachClass(cell, scale: scale, numerators) { label, probability in
            found[label].best = max(found[label].best, probability)
            if probability > most { (winner, most) = (label, probability) }
          }
          found[winner].patches += 1
          found[winner].mean += most
        }
      }
      for label in found.indices where found[label].patches > 0 {
        found[label].mean /= Float(found[label].patches)
      }
      return found
    }
  }

  /// Leaves a class one phrase: the others score nothing.
  private func keepBestPhrases(_ cell: UnsafeMutablePointer<Eight>) {
    let scores = floats(cell)
    for label in 0..<grid.classCount {
      let phrases = Int(grid.firstPhrase[label])..<Int(grid.firstPhrase[label + 1])
      var best = phrases.lowerBound
      for phrase in phrases where scores[phrase] > scores[best] { best = phrase }
      for phrase in phrases where phrase != best { scores[phrase] = ScoreGrid.padding }
    }
  }

  /// Class probabilities of one cell: the softmax over phrases, the best phrase of each class.
  private func forEachClass(
    _ cell: UnsafeMutablePointer<Eight>, scale: Float, _ numerators: UnsafeMutablePointer<Eight>,
    _ body: (_ label: Int, _ probability: Float) -> Void
  ) {
    var top = Eight(repeating: -.infinity)
    for lane in 0..<grid.lanes { top = larger(top, cell[lane]) }
    let most = largest(top)
    var sum = Eight(repeating: 0)
    for lane in 0..<grid.lanes {
      numerators[lane] = expOfNonPositive((cell[lane] - most) * scale)
      sum += numerators[lane]
    }
    let factor = 1 / total(sum)
    for label in 0..<grid.classCount {
      var best: Float = 0
      for phrase in Int(grid.firstPhrase[label])..<Int(grid.firstPhrase[label + 1]) {
        best = max(best, floats(numerators)[phrase])
      }
      body(label, best * factor)
    }
  }
}

extension LabelSettings {
  /// Labels that pixels may get: all classes', and the one behind them where there is an unknown threshold.
  func labelCount(_ grid: ScoreGrid) -> Int {
    grid.classCount + (unknownThreshold > 0 && !hasNegatives ? 1 : 0)
  }

  /// The label of pixels of no class: the one behind the last class, which negative phrases share.
  func unknownLabel(_ grid: ScoreGrid) -> UInt16 { UInt16(grid.classCount - (hasNegatives ? 1 : 0)) }
}

extension LabelRows {
  /// Pixels by label.
  ///
  /// - Shapes: the result [classes]; zeros in a plan.
  /// - Memory: a row of labels and a count a class for every worker; given back.
  func pixelCounts(_ arena: Arena) throws(ComputeError) -> [Int] {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let (classCount, workers) = (scores.classCount, engine.pool.threadCount)
    let wins = try arena.reserve(Int.self, workers * classCount)
    let lines = try arena.reserve(UInt16.self, workers * width)
    if arena.isCounting { return Array(repeating: 0, count: classCount) }
    wins.update(repeating: 0, count: workers * classCount)
    engine.pool.run(count: height, chunk: 8) { range, worker in
      let line = lines + worker * width
      let own = wins + worker * classCount
      for y in range {
        labels(y, worker: worker, into: line)
        for x in 0..<width { own[Int(line[x])] += 1 }
      }
    }
    return (0..<classCount).map { label in (0..<workers).reduce(0) { $0 + wins[$1 * classCount + label] } }
  }
}
