// CLIP's word for a picture as a whole: its class token through the last block as it was trained, compared
// with text. Mixed into the scores of patches it tells them what the picture is about.
import Compute

/// The class token of one window, or of the whole copy, as cosines.
///
/// - Shapes: tokens [tokens, width] to scores [1, phrases].
/// - Memory: a `SequenceRoom` and a few rows.
/// - Source: CASS, arXiv 2411.17150 (`global_semantics_weight`).
struct ClassTokenScores {
  private let run: RunContext
  private let config: TransformerConfig
  private let room: SequenceRoom
  /// [1, width].
  private let token: Rows
  private let head: ScoreHead
  private let headRoom: ScoreHead.Room
  /// [1, phrases].
  let scores: Rows

  init(
    _ run: RunContext, _ clip: CLIPConfig, _ schema: CLIPSchema, tokens: Int, windows: Int, phrases: Int
  ) throws(ComputeError) {
    (self.run, config) = (run, clip.vision.blocks)
    room = try SequenceRoom(run, config, tokens: tokens)
    token = try run.arena.rows(1, config.width)
    head = ScoreHead(run, schema)
    headRoom = try ScoreHead.Room(run, clip, rows: 1)
    scores = try run.arena.rows(1, phrases)
    run.note(
      windows
        * (.linear(rows: tokens, inputs: config.width, outputs: 3 * config.inner)
          + config.attentionWork(queries: tokens, keys: tokens)))
  }

  /// Scores of the class token, valid until the next.
  ///
  /// - Shapes: `x` [tokens, width], what enters the last block, not changed; `text` [phrases, embedWidth].
  func apply(_ x: Rows, _ weights: BlockWeights, _ text: Rows) -> Rows {
    token.update(from: x.prefix(1))
    let blocks = TransformerBlocks(run, config)
    blocks.project(x, weights, room)
    blocks.attend(room)
    blocks.finish(token, weights, room)
    run.engine.productNT(head.project(token, headRoom), text, into: scores)
    return scores
  }
}

/// How much a picture's own scores weigh in those of its patches: (1 - weight) patch + weight picture.
///
/// - Memory: a number a phrase, where the picture is the photo.
struct ClassMix {
  let weight: Float
  /// Unit vectors. [phrases, embedWidth].
  let text: Rows
  /// Of the whole copy. [1, phrases]; nil: every window has its own.
  let photo: Rows?

  /// Nil where the options ask for no mix.
  ///
  /// - Errors: an arena that is too small throws.
  init?(_ options: SegmentOptions, _ text: Rows, in run: RunContext) throws(ComputeError) {
    guard options.classMix > 0 else { return nil }
    (weight, self.text) = (options.classMix, text)
    photo = options.classMixOf == .photo ? try run.arena.rows(1, text.count) : nil
  }

  /// Takes the whole copy through CLIP in one pass, where the photo's own class token is asked for.
  ///
  /// - Memory: tokens of the whole copy and a `SequenceRoom` over them; given back.
  func look(
    at image: UnsafePointer<UInt8>, _ plan: WindowPlan, _ clip: CLIPConfig, _ vision: VisionConfig,
    _ schema: CLIPSchema, in run: RunContext
  ) throws {
    guard let photo else { return }
    let whole = WindowPlan(
      copy: (plan.copyWidth, plan.copyHeight), image: (plan.width, plan.height), window: plan.window,
      stride: 0, patch: plan.patch)
    try run.stage(.classToken) {
      try run.scope {
        let tower = WindowTransformer(
          run, vision, schema.vision, streaming: schema, image: image, plan: whole)
        let x = try run.arena.rows(tower.tokens, clip.width)
        try tower.encode(0..<1, through: 0..<clip.vision.depth - 1, into: x)
        let token = try ClassTokenScores(
          run, clip, schema, tokens: tower.tokens, windows: 1, phrases: text.count)
        if run.isPlanning { return }
        try tower.withLastBlock { weights in photo.update(from: token.apply(x, weights, text)) }
        run.record("clip.image_scores", photo)
      }
    }
  }

  /// A field's scores with the photo's mixed in.
  func mixed(_ field: any ScoreField) -> any ScoreField {
    guard let photo else { return field }
    return MixedScores(field: field, mix: self, picture: photo)
  }

  /// Mixes a picture's scores into those of its patches.
  ///
  /// - Shapes: `scores` [cells, phrases], in place; `picture` [1, phrases].
  func mix(_ picture: Rows, into scores: Rows) {
    for cell in 0..<scores.count {
      let line = scores.row(cell)
      for phrase in 0..<scores.width {
        line[phrase] = (1 - weight) * line[phrase] + weight * picture.base[phrase]
      }
    }
  }
}

/// Scores with a picture's own mixed in, row by row.
private struct MixedScores: ScoreField {
  let field: any ScoreField
  let mix: ClassMix
  /// [1, phrases].
  let picture: Rows

  var grid: ScoreGrid { field.grid }
  var rule: ScoreRule { field.rule }
  var isGated: [Bool] { field.isGated }
  var scratchCount: Int { field.scratchCount }
  var rowWork: Double { field.rowWork }
  var isFinite: Bool { field.isFinite && picture.isFinite }
  var patches: (rows: Int, columns: Int) { field.patches }

  func row(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    field.row(engine, index, scratch: scratch, into: out)
    mix.mix(picture, into: scores(out, columns: grid.columns))
  }

  func patchRow(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    field.patchRow(engine, index, scratch: scratch, into: out)
    mix.mix(picture, into: scores(out, columns: patches.columns))
  }

  private func scores(_ out: UnsafeMutablePointer<Float>, columns: Int) -> Rows {
    Rows(out, count: columns, width: grid.phraseCount, stride: grid.lanes * 8)
  }
}

extension Stage {
  static let classToken = Stage("class_token")
}
