// The phases of one photo in order, and nothing else: text, photo, DINO, CLIP, SAM, labels. A plan runs the same
// phases on a counting arena.
import Compute
import Raster

/// Where text vectors come from.
package enum TextSource {
  /// Encoded in this run.
  case prompts(PromptSource)
  /// Made before: [phrases, embedWidth]. A plan does not look at them.
  case vectors([Float])
}

/// The words of a run.
package struct Wording {
  package var source: TextSource
  /// Class of each phrase, ascending.
  package var phraseClass: [Int]
  package init(source: TextSource, phraseClass: [Int]) {
    self.source = source
    self.phraseClass = phraseClass
  }
}

/// What the score phase leaves behind.
struct Scored {
  /// On SAM's valid grid, or on the canvas where windows were scored one by one.
  let map: ScoreMap
  /// SAM's valid grid.
  let grid: (rows: Int, columns: Int)
  /// SAM's embedding of the whole photo, where refinement asked for it. Shapes: [grid * grid, neckWidth].
  let embedding: UnsafeMutablePointer<Float>?
  let geometry: PhotoGeometry
}

/// Runs the phases up to scores and SAM's embedding.
struct ScorePhases {
  let engine: Engine
  let arena: Arena
  let reader: ModelReader
  let options: SegmentOptions
  let tiling: Tiling
  let keepsWeights: Bool
  let log: StageLog
  let taps: Taps?

  private var config: ModelConfig { reader.config }
  private var needsSAM: Bool {
    options.refinement == .sam || (options.affinity != .none && options.paradigm == .splice)
  }

  /// - Memory: text vectors, score map and embedding stay reserved; everything else is given back.
  func run(_ photo: PhotoPixels, _ wording: Wording) throws -> Scored {
    let geometry = PhotoGeometry(
      height: photo.height, width: photo.width, patch: config.clip.patch, grid: config.sam.grid,
      imageSide: config.sam.imageSide)
    let plan = WindowPlan(
      photoWidth: photo.width, photoHeight: photo.height, shortSide: options.shortSide, window: options.window,
      stride: options.stride, patch: config.clip.patch)
    let vectors = try text(wording)
    let ratio = WindowStage.canvasRatio(
      window: options.window, clipPatch: config.clip.patch,
      featurePatch: options.usesDINO ? config.dino.patch : config.clip.patch)
    let canvasSize = (rows: plan.gridRows * ratio, columns: plan.gridColumns * ratio)
    let grid = validGrid(geometry)
    let valid = options.paradigm == .window ? canvasSize : grid
    var map = try ScoreMap(
      arena, rows: valid.rows, columns: valid.columns, width: config.embedWidth, text: vectors,
      phraseClass: wording.phraseClass)
    if needsSAM { try map.place(arena, engine) }
    let mark = arena.mark()
    let canvasWidth = options.paradigm == .window ? config.embedWidth : config.clip.width
    let canvas = try SpliceCanvas(
      arena, rows: canvasSize.rows, columns: canvasSize.columns, width: canvasWidth)
    let afterCanvas = arena.mark()
    let passes = samPasses(geometry)
    let sharesPass = needsSAM && passes.count == 1
    var first: CopyRequest?
    if sharesPass { first = try samCopy(passes[0], geometry) }
    try windows(photo, plan, canvas: canvas, alongside: first)
    // Without SAM nothing lies between canvas and map: the map takes the windows' room, then the canvas's.
    if !needsSAM { try map.place(arena, engine) }
    if options.paradigm == .window || !needsSAM {
      try log.run("scores") { try finishWithoutSAM(canvas, map) }
    }
    guard needsSAM else {
      arena.release(to: mark)
      try map.place(arena, engine)
      return Scored(map: map, grid: grid, embedding: nil, geometry: geometry)
    }
    var embedding: UnsafeMutablePointer<Float>?
    if !sharesPass { arena.release(to: afterCanvas) }
    for pass in passes {
      var copy = first
      if !sharesPass {
        let request = try samCopy(pass, geometry)
        try log.run("photo") { try load(photo, [request]) }
        copy = request
      }
      guard let copy else { preconditionFailure("a SAM pass without its copy") }
      let made = try sam(pass, copy, canvas: canvas, map: map, base: afterCanvas)
      if let made { embedding = made }
      arena.release(to: afterCanvas)
    }
    arena.release(to: mark)
    return Scored(map: map, grid: grid, embedding: try embedding.map(moveDown), geometry: geometry)
  }

  /// The embedding was made above SAM's tokens; it outlives them, so it moves to where the canvas was.
  private func moveDown(_ embedding: UnsafeMutablePointer<Float>) throws -> UnsafeMutablePointer<Float> {
    let count = config.sam.tokenCount * config.sam.neckWidth
    let low = try arena.floats(count)
    if !arena.isCounting && low != embedding { low.update(from: embedding, count: count) }
    return low
  }

  private func load(_ photo: PhotoPixels, _ copies: [CopyRequest]) throws {
    log.image(photo.workingByteCount(copies))
    if !arena.isCounting { try photo.load(copies) }
  }

  // MARK: Text

  private func text(_ wording: Wording) throws -> UnsafeMutablePointer<Float> {
    let count = wording.phraseClass.count * config.embedWidth
    let vectors = try arena.floats(count)
    switch wording.source {
    case .vectors(let stored):
      if arena.isCounting { return vectors }
      precondition(stored.count == count, "text vectors of another shape")
      vectors.update(from: stored, count: count)
    case .prompts(let source):
      try log.run("text") {
        let tower = TextTower(
          engine: engine, arena: arena, reader: reader, tiling: tiling, keepsWeights: keepsWeights,
          progress: { log.step($0) }, taps: taps)
        noteWeights(config.text, name: "text.")
        try tower.encode(source, into: vectors)
        taps?.record("text.vectors", vectors, [wording.phraseClass.count, config.embedWidth])
      }
    }
    return vectors
  }

  // MARK: Windows

  private func windows(_ photo: PhotoPixels, _ plan: WindowPlan, canvas: SpliceCanvas, alongside: CopyRequest?)
    throws
  {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let image = try arena.reserve(UInt8.self, plan.copyWidth * plan.copyHeight * 3)
    var copies = [CopyRequest(kind: .windows, width: plan.copyWidth, height: plan.copyHeight, pixels: image)]
    if let alongside { copies.append(alongside) }
    try log.run("photo") { try load(photo, copies) }
    let stage = WindowStage(
      engine: engine, arena: arena, reader: reader, plan: plan,
      options: WindowOptions(beta: options.beta, gamma: options.gamma, usesDINO: options.usesDINO), tiling: tiling,
      keepsWeights: keepsWeights, progress: { log.step($0) }, taps: taps)
    var features: WindowFeatures?
    var mean: Float = 0
    if options.usesDINO {
      let side = plan.window / config.dino.patch
      let room = try WindowFeatures(arena, engine, windows: plan.origins.count, side: side, width: config.dino.width)
      features = room
      mean = try log.run("dino") {
        noteWeights(config.dino, name: "dino.")
        return try stage.dino(image, into: room)
      }
    }
    try log.run("clip") {
      noteWeights(config.clip, name: "clip.")
      let project = options.paradigm == .window ? try headProjection() : nil
      try stage.clip(image, features: features, mean: mean, canvas: canvas, project: project)
    }
    if !arena.isCounting {
      taps?.record("canvas", canvas.sum, [canvas.rows * canvas.columns, canvas.width])
    }
  }

  /// Rows of the last attention to unit embeddings, one window at a time (the baseline paradigm).
  private func headProjection() throws -> (UnsafeMutablePointer<Float>, Int) ->
    UnsafeMutablePointer<Float>
  {
    let head = try ScoreHead(reader)
    let ratio = WindowStage.canvasRatio(
      window: options.window, clipPatch: config.clip.patch,
      featurePatch: options.usesDINO ? config.dino.patch : config.clip.patch)
    let side = options.window / config.clip.patch * ratio
    let cells = side * side
    let out = try arena.floats(cells * config.embedWidth)
    let rows = try RowScratch(arena, engine: engine, rows: cells, depth: config.clip.width)
    return { [engine] source, count in
      head.project(engine, source, count: count, rows, out: out)
      return out
    }
  }

  // MARK: SAM

  /// One encoding: the whole photo or a half of it.
  private struct Pass {
    var columns: Range<Int>
    var width: Int
    var height: Int
    var aggregates: Bool
    var embeds: Bool
    var mapColumn: Int
  }

  private func samPasses(_ geometry: PhotoGeometry) -> [Pass] {
    let whole = Pass(
      columns: 0..<geometry.paddedWidth, width: geometry.inputWidth, height: geometry.inputHeight,
      aggregates: options.paradigm == .splice, embeds: options.refinement == .sam, mapColumn: 0)
    guard options.halves else { return [whole] }
    let left = half(0..<geometry.paddedWidth / 2, geometry, mapColumn: 0)
    let right = half(
      geometry.paddedWidth / 2..<geometry.paddedWidth, geometry, mapColumn: left.width / config.sam.encoder.patch)
    var refining = whole
    refining.aggregates = false
    return options.refinement == .sam ? [left, right, refining] : [left, right]
  }

  private func half(_ columns: Range<Int>, _ geometry: PhotoGeometry, mapColumn: Int) -> Pass {
    let size = PhotoGeometry.fitted(geometry.paddedHeight, columns.count, longSide: config.sam.imageSide)
    return Pass(
      columns: columns, width: size.width, height: size.height, aggregates: true, embeds: false,
      mapColumn: mapColumn)
  }

  /// SAM's grid without its padding: where scores are wanted.
  private func validGrid(_ geometry: PhotoGeometry) -> (rows: Int, columns: Int) {
    let patch = config.sam.encoder.patch
    if options.halves && options.paradigm == .splice {
      let passes = samPasses(geometry).filter(\.aggregates)
      return (max(1, passes[0].height / patch), passes.reduce(0) { $0 + max(1, $1.width / patch) })
    }
    return (max(1, geometry.inputHeight / patch), max(1, geometry.inputWidth / patch))
  }

  private func samCopy(_ pass: Pass, _ geometry: PhotoGeometry) throws -> CopyRequest {
    CopyRequest(
      kind: .sam(
        paddedWidth: geometry.paddedWidth, paddedHeight: geometry.paddedHeight, columns: pass.columns),
      width: pass.width, height: pass.height,
      pixels: try arena.reserve(UInt8.self, pass.width * pass.height * 3))
  }

  /// One pass; the embedding, if the pass makes one, lies above what the pass gives back.
  private func sam(
    _ pass: Pass, _ copy: CopyRequest, canvas: SpliceCanvas, map: ScoreMap, base: Arena.Mark
  ) throws -> UnsafeMutablePointer<Float>? {
    try log.run("sam") {
      noteWeights(config.sam.encoder, name: "sam.blocks.")
      let encoder = SAMEncoder(
        engine: engine, arena: arena, reader: reader, tiling: tiling, keepsWeights: keepsWeights,
        progress: { log.step($0) }, taps: taps)
      let count = config.sam.tokenCount * config.sam.encoder.width
      let high = try arena.floats(count)
      try encoder.embed(copy.pixels, imageWidth: copy.width, imageHeight: copy.height, x: high)
      // The photo's bytes are spent: the tokens move down over them.
      arena.release(to: base)
      let x = try arena.floats(count)
      if !arena.isCounting && x != high { x.update(from: high, count: count) }
      try encoder.run(x)
      if pass.aggregates {
        try aggregate(pass, encoder, x, canvas: canvas, map: map)
      } else {
        try encoder.lastBlock(x)
      }
      guard pass.embeds else { return nil }
      let embedding = try arena.floats(config.sam.tokenCount * config.sam.neckWidth)
      if !arena.isCounting {
        taps?.record("sam.block.\(config.sam.encoder.depth - 1)", x, [config.sam.tokenCount, config.sam.encoder.width])
      }
      try Neck(engine: engine, arena: arena, reader: reader, tiling: tiling).run(x, out: embedding)
      if !arena.isCounting {
        taps?.record("sam.neck", embedding, [config.sam.tokenCount, config.sam.neckWidth])
      }
      return embedding
    }
  }

  /// SAM's last block as affinity, strips straight into the score map.
  private func aggregate(
    _ pass: Pass, _ encoder: SAMEncoder, _ x: UnsafeMutablePointer<Float>, canvas: SpliceCanvas, map: ScoreMap
  ) throws {
    let patch = config.sam.encoder.patch
    let middle = canvas.columns / 2
    let columns: Range<Int>
    if !options.halves {
      columns = 0..<canvas.columns
    } else {
      columns = pass.mapColumn == 0 ? 0..<middle : middle..<canvas.columns
    }
    let target = AffinityTarget(
      canvas: canvas, columns: columns, validRows: min(map.rows, max(1, pass.height / patch)),
      validColumns: max(1, pass.width / patch))
    let strips = AffinityStrips(
      encoder: encoder,
      options: AffinityOptions(
        mode: AffinityMode(rawValue: options.affinity.rawValue) ?? .trident, cosFactor: options.cosFactor,
        keepsNegativeThresholds: options.keepsNegativeThresholds),
      target: target, needsOutput: pass.embeds)
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let head = try ScoreHead(reader)
    let strip = min(tiling.strip, config.sam.grid)
    var workers: [(rows: RowScratch, out: UnsafeMutablePointer<Float>)] = []
    for _ in 0..<engine.pool.threadCount {
      workers.append(
        (
          try RowScratch(arena, engine: engine, rows: strip, depth: config.clip.width),
          try arena.floats(strip * config.embedWidth)
        ))
    }
    try strips.run(x) { y, column, count, rows, worker in
      let first = y * map.columns + pass.mapColumn + column
      taps?.record("aggregated.\(first)", rows, [count, config.clip.width])
      head.project(engine, rows, count: count, workers[worker].rows, out: workers[worker].out)
      map.store(engine, workers[worker].out, first: first, count: count)
    }
  }

  /// The canvas itself becomes the score map.
  private func finishWithoutSAM(_ canvas: SpliceCanvas, _ map: ScoreMap) throws {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let width = canvas.width
    let tile = 64
    let row = try arena.floats(tile * width)
    let out = try arena.floats(tile * config.embedWidth)
    let rows = try RowScratch(arena, engine: engine, rows: tile, depth: width)
    let head = try ScoreHead(reader)
    if arena.isCounting { return }
    let cells = map.rows * map.columns
    if options.paradigm == .window {
      map.store(engine, canvas.sum, first: 0, count: cells)
      return
    }
    let taps = GridTaps(bilinearFrom: (canvas.rows, canvas.columns), to: (map.rows, map.columns))
    var first = 0
    while first < cells {
      let count = min(tile, cells - first)
      for index in 0..<count {
        taps.resample(canvas.sum, channels: width, cell: first + index, into: row + index * width)
      }
      head.project(engine, row, count: count, rows, out: out)
      map.store(engine, out, first: first, count: count)
      first += count
    }
  }

  private func noteWeights(_ encoder: EncoderConfig, name: String) {
    let stream = LayerStream(reader, encoder, keepsWeights: keepsWeights)
    log.weights(total: reader.range(of: name).count, hot: stream.hotByteCount)
  }
}

/// CLIP's head: ln_post, projection, unit length.
///
/// - Shapes: rows [count, width] (overwritten by their norm) to [count, embedWidth].
struct ScoreHead {
  private let norm: NormWeights
  private let layer: PackedLinear

  init(_ reader: ModelReader) throws(SegmentationError) {
    let clip = reader.config.clip
    norm = try reader.norm("clip.norm_post", width: clip.width, epsilon: clip.normEpsilon)
    layer = try reader.packed("clip.proj", inputs: clip.width, outputs: reader.config.embedWidth, bias: false)
  }

  func project(
    _ engine: Engine, _ rows: UnsafeMutablePointer<Float>, count: Int, _ scratch: RowScratch,
    out: UnsafeMutablePointer<Float>
  ) {
    engine.normalize(rows, norm.width, rows: count, norm, out: rows, norm.width)
    let prepared = engine.prepare(rows, norm.width, rows: count, columns: norm.width, scratch)
    engine.linear(layer, prepared, out: out, layer.outputs)
    normalizeRows(out, rows: count, width: layer.outputs)
  }
}
