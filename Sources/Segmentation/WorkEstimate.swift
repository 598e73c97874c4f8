// How much arithmetic each stage is, from sizes alone: what estimates of time are made of.
import Compute

/// Multiply-accumulates by the kind of code that does them.
package struct Work: Equatable, Sendable {
  /// Against stored weights, with the norms, activations and residuals around them.
  package var linear = 0.0
  /// Both products of attention, with the softmax between them.
  package var attention = 0.0
  /// In float: aggregation, masks, scores, pixels.
  package var float = 0.0

  package init(linear: Double = 0, attention: Double = 0, float: Double = 0) {
    (self.linear, self.attention, self.float) = (linear, attention, float)
  }

  /// One number for shares inside a stage; the weights suit a server with AVX-512.
  var size: Double { linear + 4 * attention + 8 * float }

  static func + (a: Work, b: Work) -> Work {
    Work(linear: a.linear + b.linear, attention: a.attention + b.attention, float: a.float + b.float)
  }
  static func * (count: Double, a: Work) -> Work {
    Work(linear: count * a.linear, attention: count * a.attention, float: count * a.float)
  }
}

/// The work of each stage.
///
/// - Memory: none.
package struct WorkEstimate: Sendable {
  let config: ModelConfig
  let options: SegmentOptions
  let photoWidth: Int
  let photoHeight: Int
  let phraseCount: Int

  /// Regions that a photo is assumed to have.
  static let typicalRegions = 8.0

  /// One pre-norm block without its attention: four projections and the MLP.
  static func linear(_ encoder: EncoderConfig, tokens: Int) -> Work {
    let perToken = 4 * encoder.width * encoder.inner + 2 * encoder.width * encoder.mlpWidth
    return Work(linear: Double(tokens) * Double(perToken))
  }

  /// Both products of attention.
  static func attention(_ encoder: EncoderConfig, queries: Int, keys: Int) -> Work {
    Work(attention: 2 * Double(queries) * Double(keys) * Double(encoder.inner))
  }

  static func patches(_ encoder: EncoderConfig, tokens: Int) -> Work {
    Work(linear: Double(tokens) * Double(3 * encoder.patch * encoder.patch * encoder.width))
  }

  /// Text tower over `nodes` tokens; attention is to a few ancestors only, which costs less than half as much again.
  package static func text(_ config: ModelConfig, nodes: Int, phrases: Int) -> Work {
    let ends = phrases * PromptTemplates.imageNet.count
    return Double(config.text.depth) * 1.4 * linear(config.text, tokens: nodes)
      + Work(linear: Double(ends * config.text.width * config.embedWidth))
  }

  private var windows: WindowPlan {
    WindowPlan(
      photoWidth: photoWidth, photoHeight: photoHeight, shortSide: options.shortSide, window: options.window,
      stride: options.stride, patch: config.clip.patch)
  }

  var dino: Work {
    let cells = (options.window / config.dino.patch) * (options.window / config.dino.patch)
    let block = Self.linear(config.dino, tokens: 1 + cells)
      + Self.attention(config.dino, queries: 1 + cells, keys: 1 + cells)
    return Double(windows.origins.count)
      * (Self.patches(config.dino, tokens: cells) + Double(config.dino.depth) * block)
  }

  var clip: Work {
    let cells = windows.windowGrid * windows.windowGrid
    let block = Self.linear(config.clip, tokens: 1 + cells)
      + Self.attention(config.clip, queries: 1 + cells, keys: 1 + cells)
    let last = Work(linear: 2 * Double(cells * config.clip.width * config.clip.inner))
      + Self.attention(config.clip, queries: cells, keys: cells)
    // Without DINO the mean similarity of CLIP's own values takes a pass of its own.
    let passes = options.usesDINO ? 1.0 : 2.0
    return Double(windows.origins.count)
      * (passes * (Self.patches(config.clip, tokens: cells) + Double(config.clip.depth - 1) * block) + last)
  }

  /// One block of SAM.
  static func samBlock(_ sam: SAMConfig, _ block: Int) -> Work {
    let tokens = sam.tokenCount
    if sam.globalBlocks.contains(block) {
      return linear(sam.encoder, tokens: tokens) + attention(sam.encoder, queries: tokens, keys: tokens)
    }
    let across = ceilDivide(sam.grid, by: sam.window)
    // Queries in padding below the grid are left out, those beside it are not.
    return linear(sam.encoder, tokens: tokens)
      + attention(sam.encoder, queries: sam.grid * across * sam.window, keys: sam.window * sam.window)
  }

  /// What the last block adds as affinity: queries and values once more, similarities, aggregation.
  static func affinity(_ sam: SAMConfig, valid: Int, canvasCells: Int, width: Int) -> Work {
    Work(linear: 2 * Double(valid * sam.encoder.width * sam.encoder.inner))
      + attention(sam.encoder, queries: valid, keys: valid)
      + Work(float: Double(valid) * Double(canvasCells * width))
  }

  static func neck(_ sam: SAMConfig) -> Work {
    Work(linear: Double(sam.tokenCount) * Double(sam.neckWidth * (sam.encoder.width + 9 * sam.neckWidth)))
  }

  /// One pass of SAM. `index`: which one, where the photo goes through in halves.
  func sam(pass index: Int) -> Work {
    let sam = config.sam
    let blocks = (0..<sam.encoder.depth).reduce(Work()) { $0 + Self.samBlock(sam, $1) }
    let geometry = PhotoGeometry(
      height: photoHeight, width: photoWidth, patch: config.clip.patch, grid: sam.grid,
      imageSide: sam.imageSide)
    let patch = sam.encoder.patch
    let valid = max(1, geometry.inputHeight / patch) * max(1, geometry.inputWidth / patch)
    let aggregates = options.paradigm == .splice && (!options.halves || index < 2)
    let embeds = options.refinement == .sam && (!options.halves || index == 2)
    return Self.patches(sam.encoder, tokens: sam.tokenCount) + blocks
      + (aggregates
        ? Self.affinity(
          sam, valid: valid, canvasCells: windows.gridRows * windows.gridColumns,
          width: config.clip.width) : Work())
      + (embeds ? Self.neck(sam) : Work())
  }

  /// Label rows: scores of the grid and softmax a pixel; with refinement half-size probabilities, regions, a second look
  /// and some masks. Factors are fitted to runs on AVX-512 and AVX2 (docs/speed.md).
  var labels: Work {
    let sam = config.sam
    let pixels = Double(photoWidth * photoHeight)
    let rows = Work(
      float: pixels * Double(phraseCount) * 12 + pixels * 200
        + Double(sam.tokenCount * config.embedWidth * phraseCount))
    switch options.refinement {
    case .none: return rows
    case .pamr, .crf: return rows + guided
    case .sam: break
    }
    let width = Double(sam.neckWidth)
    return 2 * rows + Work(float: pixels * 5000 + Self.typicalRegions * Double(sam.tokenCount) * width * 9 * width)
  }

  /// A guided refinement: ten iterations over the copy's pixels for every eight of at most 16 classes; the field looks at all
  /// phrases in each. Factors are fitted to one photo of 84 classes on AVX-512.
  private var guided: Work {
    let size = GuidedRefinement.guideSize(height: photoHeight, width: photoWidth)
    let planes = Double(ceilDivide(min(phraseCount, GuidedRefinement.classLimit), by: 8))
    let perPixel = options.refinement == .crf ? planes * 350_000 + Double(phraseCount) * 120 : planes * 90_000
    return Work(float: Double(size.height * size.width) * perPixel)
  }

  /// The photo is read once, every stored pixel; resizing is linear in it.
  var photo: Work { Work(float: Double(photoWidth * photoHeight) * 1500 + 1e9) }

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
