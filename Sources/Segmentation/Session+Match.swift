// A photo beside texts, planned and limited like any run: what `trident match` asks.
import Compute
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// How well one text fits a photo.
package struct TextMatch: Equatable, Sendable {
  /// Logits of no match and match.
  package var logits: (no: Float, yes: Float)
  /// Cosine of photo and text, each seen alone (ITC).
  package var cosine: Float
  /// Probability of the match (ITM).
  package var probability: Float { 1 / (1 + expf(logits.no - logits.yes)) }

  package static func == (a: TextMatch, b: TextMatch) -> Bool {
    a.logits == b.logits && a.cosine == b.cosine
  }
}

/// What a comparison gave and took.
package struct MatchRun: Sendable {
  /// A match a text.
  package var matches: [TextMatch]
  package var plan: MemoryPlan
  package var stages: [StageEntry]
  package var seconds: Double
}

/// A photo and texts to compare.
package struct MatchRequest {
  package let photo: any PhotoPixels
  package let texts: [String]
  package var precision = PrecisionChoice.int8
  /// Side of the square that the photo is squeezed to, pixels; 0: the one that positions are stored for.
  package var side = 0

  package init(_ photo: any PhotoPixels, _ texts: [String]) { (self.photo, self.texts) = (photo, texts) }
}

extension Session {
  /// The fastest way to compare within the limit.
  ///
  /// - Errors: `.memory` with the smallest limit that would do; `.usage` for a side that is no multiple of
  ///   the patch; `.classes` for a text that is too long; `.model` for a file without BLIP.
  package func plan(_ request: MatchRequest, within limit: MemoryLimit = .ofRuntime) throws -> MemoryPlan {
    let matcher = try TextMatcher(model, request)
    return try planned(limit, request.precision, fixed: fixedByteCount()) { run in
      _ = try matcher.run(in: run)
    }
  }

  /// Compares as planned.
  ///
  /// - Errors: as `plan`; those of the photo.
  package func match(
    _ request: MatchRequest, plan: MemoryPlan, measures: Bool, taps: Taps? = nil,
    progress: ((_ stage: String, _ fraction: Double) -> Void)? = nil
  ) throws -> MatchRun {
    let observer = { (stage: String, _: Int, fraction: Double) -> Void in
      progress?(stage, fraction)
    }
    return try run(
      plan, request.precision, measures: measures, taps: taps,
      observer: observer
    ) { run in
      let matches = try TextMatcher(model, request).run(in: run)
      let areNumbers = matches.allSatisfy {
        $0.logits.no.isFinite && $0.logits.yes.isFinite && $0.cosine.isFinite
      }
      guard areNumbers else { throw notNumbers("scores") }
      return MatchRun(
        matches: matches, plan: plan, stages: run.log.entries, seconds: monotonicSeconds() - run.log.start)
    }
  }
}

/// Takes a photo and texts through BLIP.
private struct TextMatcher {
  let request: MatchRequest
  let image: (config: VisionConfig, schema: VisionSchema)
  let text: (config: TextConfig, schema: BERTSchema)
  let side: Int
  /// Beside the image, and alone.
  let captions: [[Int32]]
  let alone: [[Int32]]

  init(_ model: Model, _ request: MatchRequest) throws(SegmentationError) {
    guard let vision = model.config.blip, let schema = model.blip, let config = model.config.bert,
      let reader = model.bert, case .wordPieces(let tokenizer)? = try model.makeTokenizer()
    else {
      throw SegmentationError(
        .model(
          "\(model.file.path) holds no BLIP, which matches photos and texts; make one with trident-quantize "
            + "--blip"))
    }
    self.request = request
    (image, text) = ((vision, schema), (config, reader))
    side = request.side == 0 ? vision.grid * vision.patch : request.side
    guard side % vision.patch == 0, (vision.patch...4096).contains(side) else {
      throw SegmentationError(
        .usage("--side \(side) is not a multiple of the patch \(vision.patch), at most 4096"))
    }
    guard !request.texts.isEmpty else { throw SegmentationError(.usage("no text to compare the photo with")) }
    let encoder = try tokenizer.starting(with: .encode)
    var captions: [[Int32]] = []
    for text in request.texts {
      let pieces = tokenizer.encode(text)
      guard pieces.count + 2 <= config.context else {
        let problem = "\(pieces.count) word pieces, at most \(config.context - 2) fit"
        throw SegmentationError(.classes("'\(text.prefix(60))...' has \(problem)"))
      }
      captions.append([encoder.startToken] + pieces + [encoder.endToken])
    }
    self.captions = captions
    alone = captions.map { [tokenizer.startToken] + $0.dropFirst() }
  }

  func run(in run: RunContext) throws -> [TextMatch] {
    let tower = BLIPImageTower(run, image.config, image.schema, side: side)
    let reader = BERTTower(run, text.config, text.schema)
    return try run.scope {
      let pixels = try request.photo.squareCopy(side: side, run)
      let tokens = try run.arena.rows(tower.tokens, image.config.width)
      try run.stage(.image) { try tower.encode(pixels, into: tokens) }
      return try run.stage(.caption) { try compare(tokens, reader, run) }
    }
  }

  private func compare(_ tokens: Rows, _ reader: BERTTower, _ run: RunContext) throws -> [TextMatch] {
    let limit = max(32, run.tiling.textRows / 16)
    let batches = zip(
      CaptionBatch.batches(captions, limit: limit), CaptionBatch.batches(alone, limit: limit))
    let all = Array(batches)
    let rows = all.map(\.0.rows).max() ?? 0
    let room = try CaptionRoom(
      run, text.config.blocks, rows: rows, longest: all.map(\.0.longest).max() ?? 0,
      image: (tokens.count, tokens.width))
    let most = all.map(\.0.sequences.count).max() ?? 0
    let vectors = try run.arena.rows(most, text.config.embedWidth)
    let own = try run.arena.rows(1, text.config.embedWidth)
    let stream = run.blocks(of: text.schema)
    run.note(
      all.reduce(Work()) {
        $0 + reader.work($1.0, imageTokens: tokens.count) + reader.work($1.1, imageTokens: 0)
      }
    )
    if run.isPlanning { return [] }
    reader.project(image: tokens.prefix(1), room, into: own)
    var matches: [TextMatch] = []
    for (index, (beside, alone)) in all.enumerated() {
      try reader.forward(beside, image: tokens, stream, room)
      let logits = reader.matchLogits(beside, room)
      try reader.forward(alone, image: nil, stream, room)
      let made = vectors.prefix(alone.sequences.count)
      reader.project(alone, room, into: made)
      for (row, pair) in logits.enumerated() {
        matches.append(TextMatch(logits: pair, cosine: dot(made.row(row), own.base, own.width)))
      }
      run.step(Double(index + 1) / Double(all.count))
    }
    return matches
  }
}
