// How much arithmetic each stage is, from sizes alone: what estimates of time are made of.
import Compute

/// Multiply-accumulates by stage, attention and float work weighted by how much slower they run.
///
/// - Units: equivalent INT8 multiply-accumulates against stored weights: an estimate of time.
/// - Memory: none.
package struct WorkEstimate: Sendable {
  let config: ModelConfig
  let options: SegmentOptions
  let photoWidth: Int
  let photoHeight: Int
  let phraseCount: Int

  /// Attention over short keys: packing, exponentials and both products, per multiply-accumulate.
  static let attentionFactor = 4.0
  /// Float32 products, per multiply-accumulate.
  static let floatFactor = 8.0
  /// The mask decoder's products, which run over few tokens, per multiply-accumulate.
  static let decoderFactor = 2.5
  /// Regions that a photo is assumed to have.
  static let typicalRegions = 8.0

  /// One pre-norm block without its attention: four projections and the MLP.
  static func linear(_ encoder: EncoderConfig, tokens: Int) -> Double {
    let perToken = 4 * encoder.width * encoder.inner + 2 * encoder.width * encoder.mlpWidth
    return Double(tokens) * Double(perToken)
  }

  /// Both products of attention, weighted.
  static func attention(_ encoder: EncoderConfig, queries: Int, keys: Int) -> Double {
    2 * Double(queries) * Double(keys) * Double(encoder.inner) * attentionFactor
  }

  static func patches(_ encoder: EncoderConfig, tokens: Int) -> Double {
    Double(tokens) * Double(3 * encoder.patch * encoder.patch * encoder.width)
  }

  /// Text tower over `nodes` tokens; attention is to a few ancestors only.
  package static func text(_ config: ModelConfig, nodes: Int, phrases: Int) -> Double {
    let ends = phrases * PromptTemplates.imageNet.count
    return Double(config.text.depth) * linear(config.text, tokens: nodes) * 1.1
      + Double(ends * config.text.width * config.embedWidth)
  }

  private var windows: WindowPlan {
    WindowPlan(
      photoWidth: photoWidth, photoHeight: photoHeight, shortSide: options.shortSide, window: options.window,
      stride: options.stride, patch: config.clip.patch)
  }

  var dino: Double {
    let cells = (options.window / config.dino.patch) * (options.window / config.dino.patch)
    let block = Self.linear(config.dino, tokens: 1 + cells)
      + Self.attention(config.dino, queries: 1 + cells, keys: 1 + cells)
    return Double(windows.origins.count)
      * (Self.patches(config.dino, tokens: cells) + Double(config.dino.depth) * block)
  }

  var clip: Double {
    let cells = windows.windowGrid * windows.windowGrid
    let block = Self.linear(config.clip, tokens: 1 + cells)
      + Self.attention(config.clip, queries: 1 + cells, keys: 1 + cells)
    let last = 2 * Double(cells * config.clip.width * config.clip.inner)
      + Self.attention(config.clip, queries: cells, keys: cells)
    // Without DINO the mean similarity of CLIP's own values takes a pass of its own.
    let passes = options.usesDINO ? 1.0 : 2.0
    return Double(windows.origins.count)
      * (passes * (Self.patches(config.clip, tokens: cells) + Double(config.clip.depth - 1) * block) + last)
  }

  /// One block of SAM.
  static func samBlock(_ sam: SAMConfig, _ block: Int) -> Double {
    let tokens = sam.tokenCount
    if sam.globalBlocks.contains(block) {
      return linear(sam.encoder, tokens: tokens) + attention(sam.encoder, queries: tokens, keys: tokens)
    }
    let across = ceilDivide(sam.grid, by: sam.window)
    let padded = across * across * sam.window * sam.window
    return linear(sam.encoder, tokens: tokens)
      + attention(sam.encoder, queries: padded, keys: sam.window * sam.window)
  }

  /// What the last block adds as affinity: queries and values once more, similarities, aggregation.
  static func affinity(_ sam: SAMConfig, valid: Int, canvasCells: Int, width: Int) -> Double {
    let tokens = Double(valid)
    return 2 * tokens * Double(sam.encoder.width * sam.encoder.inner)
      + attention(sam.encoder, queries: valid, keys: valid)
      + tokens * Double(canvasCells * width) * floatFactor
  }

  static func neck(_ sam: SAMConfig) -> Double {
    Double(sam.tokenCount) * Double(sam.neckWidth * (sam.encoder.width + 9 * sam.neckWidth))
  }

  /// One pass of SAM. `index`: which one, where the photo goes through in halves.
  func sam(pass index: Int) -> Double {
    let sam = config.sam
    let blocks = (0..<sam.encoder.depth).reduce(0.0) { $0 + Self.samBlock(sam, $1) }
    let geometry = PhotoGeometry(
      height: photoHeight, width: photoWidth, patch: config.clip.patch, grid: sam.grid,
      imageSide: sam.imageSide)
    let patch = sam.encoder.patch
    let valid = max(1, geometry.inputHeight / patch) * max(1, geometry.inputWidth / patch)
    let aggregates = options.paradigm == .splice && (!options.halves || index < 2)
    let embeds = options.refines && (!options.halves || index == 2)
    return Self.patches(sam.encoder, tokens: sam.tokenCount) + blocks
      + (aggregates
        ? Self.affinity(
          sam, valid: valid, canvasCells: windows.gridRows * windows.gridColumns,
          width: config.clip.width) : 0)
      + (embeds ? Self.neck(sam) : 0)
  }

  /// Label rows: scores of the grid and softmax a pixel; with refinement a second look and some masks.
  var labels: Double {
    let sam = config.sam
    let pixels = Double(photoWidth * photoHeight)
    let rows = pixels * Double(phraseCount) * 12 + pixels * 200
      + Double(sam.tokenCount * config.embedWidth * phraseCount) * Self.floatFactor
    guard options.refines else { return rows }
    let width = Double(sam.neckWidth)
    let region = Double(sam.tokenCount) * width * 8 * width * Self.decoderFactor
    return 2 * rows + Self.typicalRegions * region
  }

  /// The photo is read once, every stored pixel; resizing is linear in it.
  var photo: Double { Double(photoWidth * photoHeight) * 2500 + 2e9 }

  /// Writes each stage's work into a plan's stages.
  func fill(_ stages: inout [StageEntry]) {
    var pass = 0
    for index in stages.indices {
      switch stages[index].name {
      case "photo": stages[index].work = photo
      case "dino": stages[index].work = dino
      case "clip": stages[index].work = clip
      case "sam":
        stages[index].work = sam(pass: pass)
        pass += 1
      case "text": break
      default: stages[index].work = labels
      }
    }
  }
}

/// The speed of this machine, from a few products.
///
/// - Units: INT8 multiply-accumulates a second, all threads together.
package enum Calibration {
  /// Share of a product's speed that whole stages reach: norms, copies and writes are not counted as work.
  private static let efficiency = 0.5

  /// Runs products of 128 x 768 x 768 for about `seconds`; the median, so that a busy machine counts as slow.
  ///
  /// - Memory: 1.2 MiB a thread and 0.6 MiB, given back.
  package static func rate(_ engine: Engine, seconds: Double = 0.05) throws -> Double {
    let (rows, width) = (128, 768)
    let threads = engine.pool.threadCount
    let layerBytes = width * width + 3 * width * 4
    let workerBytes = rows * width * 9 + (1 << 16) + (engine.isInteger ? 0 : width * 4 * (rows + 128))
    let arena = try Arena(capacity: layerBytes + threads * (workerBytes + 4096) + 65_536)
    let weight = try arena.reserve(Int8.self, width * width)
    let scale = try arena.floats(width)
    let sum = try arena.reserve(Int32.self, width)
    for index in 0..<width * width { weight[index] = Int8(truncatingIfNeeded: index % 251 - 125) }
    scale.update(repeating: 1e-3, count: width)
    sum.update(repeating: 0, count: width)
    let layer = PackedLinear(inputs: width, outputs: width, weight: weight, scale: scale, sum: sum, bias: nil)
    var rooms: [(x: UnsafeMutablePointer<Float>, out: UnsafeMutablePointer<Float>, rows: RowScratch)] = []
    for _ in 0..<threads {
      rooms.append(
        (
          try arena.floats(rows * width), try arena.floats(rows * width),
          try RowScratch(arena, engine: engine, rows: rows, depth: width)
        ))
    }
    for room in rooms {
      for index in 0..<rows * width { room.x[index] = Float(index % 17) - 8 }
    }
    var rates: [Double] = []
    let start = monotonicSeconds()
    repeat {
      let begin = monotonicSeconds()
      let count = 4 * threads
      engine.pool.run(count: count, chunk: 1) { _, worker in
        let room = rooms[worker]
        let prepared = engine.prepare(room.x, width, rows: rows, columns: width, room.rows)
        engine.linear(layer, prepared, out: room.out, width)
      }
      let elapsed = monotonicSeconds() - begin
      rates.append(Double(count * rows * width * width) / max(elapsed, 1e-9))
    } while monotonicSeconds() - start < seconds
    return Self.efficiency * rates.sorted()[rates.count / 2]
  }
}

extension Session {
  /// Speed of this machine with a plan's threads, for estimates.
  package func calibrate(threads: Int, _ precision: PrecisionChoice) throws -> Double {
    try Calibration.rate(try makeEngine(threads: threads, precision: precision))
  }
}
