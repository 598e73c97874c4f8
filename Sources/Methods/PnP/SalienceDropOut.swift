// Rounds of attention times gradient: the patches that a round finds most telling are blank in the next one,
// so that it has to look at the rest of an object.
import Compute

/// Class maps of a photo.
///
/// - Shapes: maps [classes, cells].
/// - Source: PnP-OVSS (arXiv 2311.17095), and its public code where both differ (docs/parity-pnp.md): as many
///   patches in every round, the first round counts twice, blank means the mean colour. Differs: equal
///   salience goes to the smaller patch; several captions share their rounds.
struct SalienceDropOut {
  let run: RunContext
  let image: BLIPImageTower
  let tower: BERTTower
  let words: CaptionWords
  let options: SegmentOptions
  /// Tokens of the longest caption.
  let capacity: Int

  /// All rounds.
  ///
  /// - Shapes: `pixels` [side, side, 3]; `tokens` [imageTokens, width]: those of the photo as it is,
  ///   overwritten in later rounds; `maps` [classes, cells], overwritten.
  func run(_ pixels: UnsafePointer<UInt8>, _ tokens: Rows, _ classes: [Int], into maps: Rows) throws {
    let groups = words.groups(classes)
    var blank: [Int] = []
    if !run.isPlanning { maps.fill(0) }
    for round in 0..<options.rounds {
      if round > 0 {
        try run.stage(.image) { try image.encode(pixels, blank: blank, round: round, into: tokens) }
      }
      let salience = try run.stage(.caption) {
        try look(round, tokens, groups, blank: blank, into: maps)
      }
      if round + 1 < options.rounds && !run.isPlanning { blank += largest(salience, besides: blank) }
    }
    if !run.isPlanning {
      let numbers = blank.map { Float($0) }
      numbers.withUnsafeBufferPointer {
        if let base = $0.baseAddress {
          run.record("pnp.blanked", Rows(reading: base, count: 1, width: blank.count))
        }
      }
    }
  }

  /// One round: adds every class's mean over its pieces to the maps.
  ///
  /// - Shapes: the result [cells]: the sum over all pieces; 0 where a patch is blank.
  private func look(
    _ round: Int, _ tokens: Rows, _ groups: [[Int]], blank: [Int], into maps: Rows
  ) throws -> [Float] {
    try run.scope {
      let config = tower.config.blocks
      let room = try CaptionRoom(
        run, config, rows: capacity, longest: capacity, image: (tokens.count, tokens.width))
      let tape = try CaptionTape(
        run, config, lowest: options.attentionLayer - 1, head: options.attentionHead - 1, tokens: capacity,
        imageTokens: tokens.count)
      let back = try GradientRoom(run, config, tokens: capacity, imageTokens: tokens.count)
      let gradient = try run.arena.rows(capacity, tokens.count)
      let stream = run.blocks(of: tower.schema)
      run.note(max(1, groups.count) * work(tokens: tokens.count))
      var salience = [Float](repeating: 0, count: image.cells)
      guard !run.isPlanning, let keysValues = room.image?.keysValues else { return salience }
      let isBlank = image.flags(blank)
      let way = CaptionGradient(tower: tower, tape: tape, room: back, keysValues: keysValues)
      var first = 0
      for (number, group) in groups.enumerated() {
        let (caption, rows) = words.caption(group)
        let batch = CaptionBatch([caption])
        try tower.forward(batch, image: tokens, stream, room, tape: tape)
        record(tower.matchLogits(batch, room)[0], "\(round).\(number)")
        let slopes = gradient.prefix(caption.count)
        try way.run(stream, into: slopes)
        run.record("pnp.P.\(round).\(number)", tape.probabilities.prefix(caption.count))
        run.record("pnp.G.\(round).\(number)", slopes)
        for (index, pieces) in rows.enumerated() {
          let share = (round == 0 && options.rounds > 1 ? 2 : 1) / Float(pieces.count)
          let map = maps.row(first + index)
          for row in pieces {
            let (weight, slope) = (tape.probabilities.row(row) + 1, slopes.row(row) + 1)
            for cell in 0..<image.cells where !isBlank[cell] {
              let value = weight[cell] * max(slope[cell], 0)
              salience[cell] += value
              map[cell] += share * value
            }
          }
        }
        first += group.count
        run.step(Double(number + 1) / Double(groups.count))
      }
      return salience
    }
  }

  /// The patches of largest salience that are not blank yet, the largest first.
  private func largest(_ salience: [Float], besides blank: [Int]) -> [Int] {
    let taken = image.flags(blank)
    let rest = salience.indices.filter { !taken[$0] }
    return Array(rest.sorted { (salience[$0], $1) > (salience[$1], $0) }.prefix(options.blankedPatches))
  }

  /// Forth, and back down to the layer.
  private func work(tokens: Int) -> Work {
    let config = tower.config.blocks
    let forth = tower.work(rows: capacity, longest: capacity, imageTokens: tokens)
    let layers = Double(config.depth - options.attentionLayer + 1)
    let weights = Double(config.width) * Double(6 * config.inner + 2 * config.mlpWidth)
    let attention = 4 * Double(config.inner) * Double(capacity + tokens)
    return forth + Work(float: layers * Double(capacity) * (weights + attention))
  }

  private func record(_ logits: (no: Float, yes: Float), _ place: String) {
    [logits.no, logits.yes].withUnsafeBufferPointer {
      guard let base = $0.baseAddress else { return }
      run.record("pnp.logits.\(place)", Rows(reading: base, count: 1, width: 2))
    }
  }
}

extension SegmentOptions {
  /// Checks that a text tower has the layer and the head.
  ///
  /// - Errors: `.usage`.
  func checkAttention(of blocks: TransformerConfig) throws(SegmentationError) {
    let places = [
      ("--attention-layer \(attentionLayer)", attentionLayer, blocks.depth, "layers"),
      ("--attention-head \(attentionHead)", attentionHead, blocks.heads, "heads"),
    ]
    for (flag, value, count, what) in places where value > count {
      throw SegmentationError(.usage("\(flag): the text tower has \(count) \(what)"))
    }
  }
}
