// SAM refinement: regions of the coarse labels become prompts, SAM's masks become labels. And the way without
// it.
import Compute

/// How refinement chooses regions and trusts masks.
package struct RefinementSettings: Equatable, Sendable {
  /// Pixels whose best class is less probable belong to no region. 0 switches the rule off.
  package var coarseThreshold: Float
  /// In half-size pixels.
  package var minimalArea: Int
  /// Masks with a predicted IoU at or below it fail.
  package var iouThreshold: Float
  /// Factor on the probabilities of a mask prompt.
  package var maskAlpha: Float
  /// Room for masks in memory; more go to a temporary file.
  package var storeByteCount: Int
  /// Regions beyond this number, the smallest ones, are left out and reported.
  package var regionLimit: Int
  /// Bytes that the temporary file may hold where it takes memory.
  package var spillRoom: Int
  /// Folder of that file; nil: TMPDIR.
  package var spillFolder: String?

  package init(
    coarseThreshold: Float = 0.2, minimalArea: Int = 225, iouThreshold: Float = 0.8, maskAlpha: Float = 0.005,
    storeByteCount: Int = 2 << 20, regionLimit: Int = 4096, spillRoom: Int = .max
  ) {
    self.coarseThreshold = coarseThreshold
    self.minimalArea = minimalArea
    self.iouThreshold = iouThreshold
    self.maskAlpha = maskAlpha
    self.storeByteCount = storeByteCount
    self.regionLimit = regionLimit
    self.spillRoom = spillRoom
  }
}

/// What became of the regions and of the pixels.
package struct RefinementReport: Equatable, Sendable {
  package var refined = 0
  package var failed = 0
  /// Left out: beyond the region limit.
  package var dropped = 0
  package var spilledByteCount = 0
  /// Pixels of the photo per class; with an unknown threshold those of no class last.
  package var pixels: [Int] = []

  package init() {}

  /// Pixels of a label; 0 for one that there is not.
  package func pixels(of label: Int) -> Int { pixels.indices.contains(label) ? pixels[label] : 0 }
}

/// What a refinement looks with.
package struct RefinementModel {
  package let shape: DecoderShape
  package let weights: DecoderWeights
  /// SAM's embedding of the whole photo, [cells, width] f32.
  package let embedding: UnsafePointer<Float>

  package init(shape: DecoderShape, weights: DecoderWeights, embedding: UnsafePointer<Float>) {
    self.shape = shape
    self.weights = weights
    self.embedding = embedding
  }
}

/// From scores to label rows, with or without refinement.
///
/// - Memory: everything from the arena, given back before return. On a counting arena the same reservations
///   are
///   made and nothing else happens. Largest phase: the mask decoder (about 10.5 MiB with two workers at grid
///   64).
/// - Errors: an arena that is too small throws.
/// - Source: Trident's public code, `sam_refinement`. There, failed regions put their coarse probabilities
///   back into
///   the scores first and are compared with the result, so they never change a label; so it is here.
package struct Refinement {
  package let engine: Engine
  package let geometry: PhotoGeometry
  package let labelSettings: LabelSettings
  package let settings: RefinementSettings
  private let taps: Taps?
  private let down: AxisChain
  private let across: AxisChain
  /// Classes whose mask prompts are made in one go.
  private static let promptGroup = 4

  package init(
    engine: Engine, geometry: PhotoGeometry, labelSettings: LabelSettings, settings: RefinementSettings,
    taps: Taps? = nil
  ) {
    self.engine = engine
    self.geometry = geometry
    self.labelSettings = labelSettings
    self.settings = settings
    self.taps = taps
    down = .rows(of: geometry)
    across = .columns(of: geometry)
  }

  /// Label rows without refinement.
  package func runCoarse(
    _ arena: Arena, scores: any ScoreField, _ consume: LabelConsumer
  ) throws(ComputeError) -> RefinementReport {
    try run(arena, scores: scores, model: nil, consume)
  }

  /// Label rows of the photo, top to bottom; `model` nil: coarse ones.
  package func run(
    _ arena: Arena, scores: any ScoreField, model: RefinementModel?, _ consume: LabelConsumer
  ) throws(ComputeError) -> RefinementReport {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    var report = RefinementReport()
    let labelCount = labelSettings.labelCount(scores.grid)
    let pixels = try arena.reserve(Int.self, labelCount)
    let rows = try LabelRows(
      arena, engine: engine, scores: scores, height: geometry.height, width: geometry.width,
      settings: labelSettings)
    var store: MaskStore?
    if let model, geometry.halfHeight > 0, geometry.halfWidth > 0 {
      store = try refine(arena, rows, model, &report)
    }
    let last = try PhotoRows(arena, rows: rows, geometry: geometry, store: store)
    if arena.isCounting { return report }
    pixels.update(repeating: 0, count: labelCount)
    last.run(pixels: pixels, consume)
    report.pixels = Array(UnsafeBufferPointer(start: pixels, count: labelCount))
    return report
  }

  /// Regions to stored masks.
  private func refine(
    _ arena: Arena, _ rows: LabelRows, _ model: RefinementModel, _ report: inout RefinementReport
  ) throws(ComputeError) -> MaskStore {
    let possible = geometry.halfHeight * geometry.halfWidth / max(settings.minimalArea, 1)
    let capacity = max(1, min(settings.regionLimit, possible))
    let kept = try arena.reserve(Region.self, capacity)
    let store = try MaskStore(
      arena, engine: engine, byteCount: settings.storeByteCount, maskCapacity: capacity,
      side: model.shape.maskSide, memoryRoom: settings.spillRoom,
      folder: settings.spillFolder)
    let regions = try findRegions(arena, rows, kept: kept, capacity: capacity, &report)
    try decodeRegions(arena, rows, model, regions, store, &report)
    if arena.isCounting { return store }
    try store.beginReading()
    report.spilledByteCount = store.spilledByteCount
    return store
  }

  // MARK: Regions

  /// Regions worth a prompt, in order.
  ///
  /// - Memory: released on return, but for `kept`.
  package func findRegions(
    _ arena: Arena, _ rows: LabelRows, kept: UnsafeMutablePointer<Region>, capacity: Int,
    _ report: inout RefinementReport
  ) throws(ComputeError) -> UnsafeMutableBufferPointer<Region> {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let width = geometry.halfWidth
    let workers = engine.pool.threadCount
    let perWorker = 4
    var finder = try RegionFinder(
      arena, width: width, minimalArea: settings.minimalArea, kept: kept, capacity: capacity)
    let photoLabels = try arena.reserve(UInt16.self, workers * geometry.width)
    let labels = try arena.reserve(UInt16.self, workers * perWorker * width)
    let probabilities = try arena.floats(workers * perWorker * width)
    if arena.isCounting { return UnsafeMutableBufferPointer(start: kept, count: 0) }

    rows.resetTop()
    var start = 0
    while start < geometry.halfHeight {
      let count = min(workers * perWorker, geometry.halfHeight - start)
      engine.pool.run(count: count, chunk: perWorker) { range, worker in
        for row in range {
          rows.halfRow(
            start + row, coarseThreshold: settings.coarseThreshold, worker: worker,
            photoLabels: photoLabels + worker * geometry.width, labels: labels + row * width,
            probabilities: probabilities + row * width)
        }
      }
      for row in 0..<count {
        finder.add(row: labels + row * width, probabilities: probabilities + row * width)
      }
      start += count
    }
    finder.finish { label in rows.top(Int(label)) >= settings.coarseThreshold }
    report.dropped += finder.dropped
    return finder.regions
  }

  // MARK: Masks

  /// Prompts, decodes and stores, class by class.
  ///
  /// - Memory: released on return.
  private func decodeRegions(
    _ arena: Arena, _ rows: LabelRows, _ model: RefinementModel,
    _ regions: UnsafeMutableBufferPointer<Region>,
    _ store: MaskStore, _ report: inout RefinementReport
  ) throws(ComputeError) {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let side = model.shape.maskSide
    let group = min(Self.promptGroup, rows.scores.classCount)
    let prompts = try arena.floats(group * side * side)
    let logits = try arena.floats(side * side)
    let decoder = try MaskDecoder(arena, engine: engine, shape: model.shape, weights: model.weights)
    if arena.isCounting { return }

    var classes: [Int] = []
    for region in regions where classes.last != Int(region.label) { classes.append(Int(region.label)) }
    var next = 0
    for start in stride(from: 0, to: classes.count, by: group) {
      let some = classes[start..<min(start + group, classes.count)]
      if model.shape.prompts.contains(.mask) { makePrompts(rows, some, side: side, prompts) }
      while next < regions.count, let slot = some.firstIndex(of: Int(regions[next].label)) {
        let prompt = prompts + (slot - start) * side * side
        try decode(
          regions[next], at: next, decoder, model.embedding, prompt: prompt, logits, store, &report)
        next += 1
      }
    }
  }

  /// Mask prompts of a few classes, each [side, side].
  private func makePrompts(
    _ rows: LabelRows, _ classes: ArraySlice<Int>, side: Int, _ prompts: UnsafeMutablePointer<Float>
  ) {
    prompts.update(repeating: 0, count: classes.count * side * side)
    engine.pool.run(count: min(geometry.promptHeight, side), chunk: 4) { range, worker in
      for row in range {
        rows.promptRow(
          row, geometry, classes: classes, coarseThreshold: settings.coarseThreshold,
          alpha: settings.maskAlpha,
          worker: worker, out: prompts + row * side, stride: side * side)
      }
    }
  }

  private func decode(
    _ region: Region, at index: Int, _ decoder: MaskDecoder, _ embedding: UnsafePointer<Float>,
    prompt: UnsafeMutablePointer<Float>, _ logits: UnsafeMutablePointer<Float>, _ store: MaskStore,
    _ report: inout RefinementReport
  ) throws(ComputeError) {
    let scale = geometry.promptScale
    // Logits below the photo's last row are never read.
    let gridRows = min(geometry.grid, ceilDivide(down.range(geometry.height - 1).upper + 1, by: 4))
    let iou = decoder.decode(
      MaskPrompt(
        point: (Float(region.best.x) * scale.x, Float(region.best.y) * scale.y),
        boxMin: (Float(region.low.x) * scale.x, Float(region.low.y) * scale.y),
        boxMax: (Float(region.high.x) * scale.x, Float(region.high.y) * scale.y),
        mask: UnsafePointer(prompt)),
      embedding: embedding, gridRows: gridRows, logits: logits)
    if let taps {
      record(region, at: index, prompt: prompt, logits: logits, rows: 4 * gridRows, iou: iou, taps)
    }
    guard iou > settings.iouThreshold else {
      report.failed += 1
      return
    }
    try store.add(
      label: region.label, logits: logits, rows: 4 * gridRows, side: 4 * geometry.grid,
      margin: (across.span - 1, down.span - 1))
    report.refined += 1
  }

  /// What a region asked and was answered, under the reference's names.
  private func record(
    _ region: Region, at index: Int, prompt: UnsafePointer<Float>, logits: UnsafePointer<Float>, rows: Int,
    iou: Float,
    _ taps: Taps
  ) {
    let scale = geometry.promptScale
    let asked = [region.best, region.low, region.high]
    let places = asked.flatMap { [Float($0.x), Float($0.y)] }
    let pixels = asked.flatMap { [Float($0.x) * scale.x, Float($0.y) * scale.y] }
    let side = 4 * geometry.grid
    func row(_ values: [Float], _ name: String) {
      values.withUnsafeBufferPointer {
        taps.record(name, Rows(reading: $0.baseAddress!, count: 1, width: values.count), at: index)
      }
    }
    row([Float(region.label)] + places + [Float(region.area)] + pixels, "refine.regions")
    row([iou], "refine.iou")
    taps.record("refine.mask_prompt.\(region.label)", Rows(reading: prompt, count: side, width: side))
    taps.record("refine.logits.\(index)", Rows(reading: logits, count: rows, width: side))
  }
}
