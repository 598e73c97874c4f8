// Refinement without SAM: scores of the classes that are there, on a small copy of the photo, led by its
// colours.
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a method wants of a guided refinement.
package struct GuidedSettings: Equatable, Sendable {
  package var field = FieldSettings()
  /// Classes that take part, whatever they win before; nil: those that win pixels.
  package var labels: [Int]?
  /// Most classes that `labels` could have named.
  package var capacity: Int?

  package init(field: FieldSettings = FieldSettings(), labels: [Int]? = nil, capacity: Int? = nil) {
    (self.field, self.labels, self.capacity) = (field, labels, capacity)
  }
}

/// From scores to label rows by way of `PixelAdaptation`, `BilateralUpsampling` or `DenseField`.
///
/// All work on the photo itself up to 512 pixels a side and on a copy of that size beyond (their reach is a
/// number of pixels, chosen for such photos); refined scores are then resampled bilinearly. Of the classes,
/// those 16 take part that win most pixels before; a method may name up to 16 that all take part. Where the
/// best refined probability is below the probability threshold the label is 0.
///
/// - Memory: at most 512 * 512 pixels, 32 bytes each for every eight classes, and what the method takes;
///   everything from the arena, given back before return. On a counting arena the same reservations are made
///   and nothing else happens.
/// - Errors: an arena that is too small throws.
/// - Source: SCLIP's and Trident's public code for PAMR on logits. It adapts logits and takes the softmax
///   afterwards; here log-probabilities are adapted. The largest class is the same where classes have one
///   phrase each; what is compared with the threshold is smaller.
package struct GuidedRefinement {
  package static let sideLimit = 512
  package static let classLimit = 16

  private let engine: Engine
  private let height: Int
  private let width: Int
  private let settings: LabelSettings
  private let guided: GuidedSettings
  private let patches: (rows: Int, columns: Int)

  /// - Parameter patches: the method's grid on the photo.
  package init(
    engine: Engine, height: Int, width: Int, settings: LabelSettings,
    patches: (rows: Int, columns: Int) = (1, 1), guided: GuidedSettings = GuidedSettings()
  ) {
    (self.guided, self.patches) = (guided, patches)
    self.engine = engine
    self.height = height
    self.width = width
    self.settings = settings
  }

  /// Size of the copy.
  package static func guideSize(height: Int, width: Int) -> (height: Int, width: Int) {
    PhotoGeometry.shrunk(height, width, longSide: sideLimit)
  }

  /// Label rows of the photo, top to bottom.
  ///
  /// - Shapes: `guide`: the photo at `guideSize`.
  package func run(
    _ arena: Arena, scores: any ScoreField, guide: ColourGuide, _ choice: RefinementChoice,
    _ consume: LabelConsumer
  ) throws(ComputeError) -> RefinementReport {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    var report = RefinementReport()
    let labelCount = settings.labelCount(scores.grid)
    let pixels = try arena.reserve(Int.self, labelCount)
    let limit = min(Self.classLimit, guided.capacity ?? scores.grid.classCount)
    let classes = try arena.reserve(UInt16.self, limit)
    var planes: [UnsafeMutablePointer<Eight>] = []
    for _ in 0..<ceilDivide(limit, by: 8) { planes.append(try arena.reserve(Eight.self, guide.count)) }
    let count = try refine(arena, scores, guide, choice, classes, planes)
    let last = try GuidedRows(
      arena, engine: engine, guide: guide, height: height, width: width,
      thresholds: GuidedThresholds(settings, scores.grid, areLogarithms: choice != .crf))
    if arena.isCounting { return report }
    pixels.update(repeating: 0, count: labelCount)
    let chosen = UnsafeBufferPointer(start: classes, count: count)
    let used = Array(planes.prefix(ceilDivide(count, by: 8)))
    if areFours(choice, count) {
      last.run(fours(used, guide), chosen, pixels: pixels, consume)
    } else {
      last.run(used, chosen, pixels: pixels, consume)
    }
    report.pixels = Array(UnsafeBufferPointer(start: pixels, count: labelCount))
    return report
  }

  /// Fills `classes` and their planes: adapted log-probabilities, or probabilities of the field. Returns how
  /// many there are.
  ///
  /// - Memory: released on return.
  private func refine(
    _ arena: Arena, _ scores: any ScoreField, _ guide: ColourGuide, _ choice: RefinementChoice,
    _ classes: UnsafeMutablePointer<UInt16>, _ planes: [UnsafeMutablePointer<Eight>]
  ) throws(ComputeError) -> Int {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let rows = try rows(arena, scores, height: guide.height, width: guide.width)
    let count = try choose(arena, rows, into: classes)
    let used = Array(planes.prefix(ceilDivide(count, by: 8)))
    let chosen = UnsafeBufferPointer(start: classes, count: count)
    if areFours(choice, count) {
      try runField(arena, rows, guide, chosen, fours(used, guide), of: planes.count)
    } else if choice == .crf {
      try runField(arena, rows, guide, chosen, used, of: planes.count)
    } else if choice == .bilateral {
      try upsample(arena, scores, guide, chosen, used, of: planes.count)
    } else {
      try adapt(arena, rows, guide, chosen, used, of: planes.count)
    }
    return count
  }

  /// Scores as rows of a size. The threshold comes last; until then every pixel counts for its best class.
  private func rows(
    _ arena: Arena, _ scores: any ScoreField, height: Int, width: Int
  ) throws(ComputeError) -> LabelRows {
    try LabelRows(
      arena, engine: engine, scores: scores, height: height, width: width,
      settings: LabelSettings(logitScale: settings.logitScale, keeps: settings.keeps))
  }

  /// The field takes half the time where four classes are all.
  private func areFours(_ choice: RefinementChoice, _ count: Int) -> Bool { choice == .crf && count <= 4 }

  /// The same memory with four classes a pixel.
  private func fours(
    _ planes: [UnsafeMutablePointer<Eight>], _ guide: ColourGuide
  ) -> [UnsafeMutablePointer<SIMD4<Float>>] {
    planes.map { UnsafeMutableRawPointer($0).bindMemory(to: SIMD4<Float>.self, capacity: guide.count) }
  }

  /// - Parameter capacity: planes that a plan reserves for.
  private func runField<Values: ClassLanes>(
    _ arena: Arena, _ rows: LabelRows, _ guide: ColourGuide, _ classes: UnsafeBufferPointer<UInt16>,
    _ planes: [UnsafeMutablePointer<Values>], of capacity: Int
  ) throws(ComputeError) {
    let field = try DenseField<Values>(
      arena, engine: engine, guide: guide, planeCount: capacity, settings: guided.field)
    if arena.isCounting { return }
    field.run(planes) { y, worker, line in
      rows.logProbabilities(
        y, worker: worker, of: classes, planes: planes.count, areRelative: true, into: line)
    }
  }

  private func adapt(
    _ arena: Arena, _ rows: LabelRows, _ guide: ColourGuide, _ classes: UnsafeBufferPointer<UInt16>,
    _ planes: [UnsafeMutablePointer<Eight>], of capacity: Int
  ) throws(ComputeError) {
    let adaptation = try PixelAdaptation(arena, engine: engine, guide: guide)
    try fill(arena, rows, classes, planes, of: capacity)
    if !arena.isCounting { for plane in planes { adaptation.run(plane) } }
  }

  /// Bilateral upsampling of the log-probabilities that the method's patches have in their middles.
  private func upsample(
    _ arena: Arena, _ scores: any ScoreField, _ guide: ColourGuide, _ classes: UnsafeBufferPointer<UInt16>,
    _ planes: [UnsafeMutablePointer<Eight>], of capacity: Int
  ) throws(ComputeError) {
    let rows = try rows(arena, scores, height: patches.rows, width: patches.columns)
    let bilateral = try BilateralUpsampling(
      arena, engine: engine, guide: guide, rows: patches.rows, columns: patches.columns, planeCount: capacity)
    try fill(arena, rows, classes, Array(bilateral.patches.prefix(planes.count)), of: capacity)
    if !arena.isCounting { bilateral.run(planes) }
  }

  /// Log-probabilities of every row, in planes.
  ///
  /// - Shapes: `planes` [rows.height * rows.width].
  private func fill(
    _ arena: Arena, _ rows: LabelRows, _ classes: UnsafeBufferPointer<UInt16>,
    _ planes: [UnsafeMutablePointer<Eight>], of capacity: Int
  ) throws(ComputeError) {
    let lines = try engine.perWorker { () throws(ComputeError) in
      try arena.reserve(Eight.self, rows.width * capacity)
    }
    if arena.isCounting { return }
    engine.pool.run(count: rows.height, chunk: 4) { range, worker in
      for y in range {
        let line = lines[worker]
        rows.logProbabilities(
          y, worker: worker, of: classes, planes: planes.count, areRelative: false, into: line)
        for x in 0..<rows.width {
          for index in planes.indices { planes[index][y * rows.width + x] = line[x * planes.count + index] }
        }
      }
    }
  }

  /// The classes that win most pixels, ascending; of equal ones the first. Or all that a method names.
  ///
  /// - Memory: released on return.
  private func choose(
    _ arena: Arena, _ rows: LabelRows, into classes: UnsafeMutablePointer<UInt16>
  ) throws(ComputeError) -> Int {
    let classCount = rows.scores.classCount
    if let named = guided.labels, named.count <= Self.classLimit, !arena.isCounting {
      for (index, label) in named.sorted().enumerated() { classes[index] = UInt16(label) }
      return named.count
    }
    let wins = try rows.pixelCounts(arena)
    if arena.isCounting { return min(Self.classLimit, guided.capacity ?? classCount) }
    var chosen = guided.labels ?? (0..<classCount).filter { wins[$0] > 0 }
    chosen.sort { wins[$0] > wins[$1] || (wins[$0] == wins[$1] && $0 < $1) }
    chosen = chosen.prefix(Self.classLimit).sorted()
    for (index, label) in chosen.enumerated() { classes[index] = UInt16(label) }
    return chosen.count
  }
}

extension SegmentOptions {
  /// What is said where a raster was cut for its detail and a guided refinement takes that away again.
  package func coarseRefinement(height: Int, width: Int) -> String? {
    let side = GuidedRefinement.sideLimit
    guard tile > 0, [.pamr, .bilateral, .crf].contains(refinement), max(height, width) > 2 * side else {
      return nil
    }
    return
      "warning: --refine \(refinement.rawValue) works on a copy with a long side of \(side) pixels, also "
      + "with --tile: \(max(height, width) / side) pixels of this raster are one of it; --refine none keeps "
      + "what the tiles show"
  }
}
