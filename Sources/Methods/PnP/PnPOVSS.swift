// PnP-OVSS (arXiv 2311.17095), in the order of its sections: a network that was trained to tell whether a
// caption matches a photo is asked with one caption of all classes; where each word looked, weighted by how
// much that helped the match, is where its class is. The most telling patches are blanked and it is asked
// again.
import Compute
import Raster

/// The method, with the two towers of its one network.
///
/// - Source: PnP-OVSS, and what its public code does where both differ (docs/parity-pnp.md).
package struct PnPOVSSMethod: SegmentationMethod {
  package static let networks: [NetworkRole] = [.blip, .bert]

  let options: SegmentOptions
  let image: (config: VisionConfig, schema: VisionSchema)
  let text: (config: TextConfig, schema: BERTSchema)

  package init(_ model: Model, _ options: SegmentOptions) throws(SegmentationError) {
    self.options = options
    image = (
      try Self.require(model.config.blip, .blip, of: model), try Self.require(model.blip, .blip, of: model)
    )
    text = (
      try Self.require(model.config.bert, .bert, of: model), try Self.require(model.bert, .bert, of: model)
    )
    try options.check(patches: [("blip", image.config.patch)])
    try options.checkAttention(of: text.config.blocks)
  }

  package func score(
    _ photo: any PhotoPixels, text vectors: Rows, words: Wording, in run: RunContext
  ) throws -> Scored {
    // 1. Words. What stands for nothing else has no place in a caption.
    let captions = try CaptionWords(words, run.model)
    let classes = Array(captions.pieces.indices.dropFirst(words.background ? 1 : 0))
    guard !classes.isEmpty else {
      throw SegmentationError(.usage("--background leaves no class to look for; name another one"))
    }
    let candidates = words.present ?? classes
    let rule = words.rule(options, candidates: candidates.count)
    let most = rule == .match ? min(ClassMatching.shortList, candidates.count) : candidates.count
    let tower = BLIPImageTower(run, image.config, image.schema, side: options.shortSide)
    let reader = BERTTower(run, text.config, text.schema)
    let maps = try run.arena.rows(most, tower.cells)
    var matches = words.matches(candidates, of: classes)
    var present = Array(candidates.prefix(most))
    try run.scope {
      // 2. The photo as a square.
      let side = options.shortSide
      let pixels = try photo.squareCopy(side: side, run)
      let tokens = try run.arena.rows(tower.tokens, image.config.width)
      try run.stage(.image) { try tower.encode(pixels, into: tokens) }
      // 3. Which classes are there.
      if rule == .match {
        matches = try run.stage(.presence) {
          try ClassMatching(tower: reader, words: captions, text: vectors, phraseClass: words.phraseClass)
            .find(candidates, image: tokens)
        }
        if !run.isPlanning { present = matches.filter(\.isPresent).map(\.label) }
      }
      // 4. Attention times gradient, round after round.
      let rounds = SalienceDropOut(
        run: run, image: tower, tower: reader, words: captions, options: options,
        capacity: rule == .match
          ? captions.longest(ofAny: most, candidates) : captions.longest(candidates))
      try rounds.run(pixels, tokens, present, into: maps)
    }
    run.record("pnp.maps", maps.prefix(present.count))
    let classCount = captions.pieces.count
    let reported = try MapScores(run, maps, labels: present, classCount: classCount, side: tower.grid)
    // 5. Channels of pixels: threshold, aligned corners, blur.
    let size = GuidedRefinement.guideSize(height: photo.height, width: photo.width)
    let channels = try run.stage(.channels) {
      try ChannelField(
        run, maps, labels: present, classCount: classCount, size: size, options,
        hasBackground: words.background, isBlurred: options.refinement != .none)
    }
    channels.record(options.refinement == .none ? "pnp.raw" : "pnp.blurred", run)
    let labels = (words.background ? [0] : []) + present
    return Scored(
      scores: channels, reported: reported, grid: (tower.grid, tower.grid), embedding: nil,
      geometry: PhotoGeometry(
        height: photo.height, width: photo.width, patch: 1, grid: tower.grid, imageSide: options.shortSide),
      guided: GuidedSettings(
        field: .pnpOVSS, labels: labels, capacity: most + (words.background ? 1 : 0)),
      found: PresenceFindings(rule, matches))
  }
}

extension PnPOVSSMethod {
  /// Channels, in which a class that is not there lies just below all that are, so that it can fade in. They
  /// are made of so few patches that four cells for each hold what a value a pixel would.
  package func fading(_ tile: Scored) -> FadingScores {
    guard let channels = tile.scores as? ChannelField else { return FadingScores(tile.scores) }
    let (grid, patches) = (channels.grid, tile.grid)
    return FadingScores(
      channels.fading, cells: (min(grid.rows, 4 * patches.rows), min(grid.columns, 4 * patches.columns)))
  }

  /// Classes that no tile shows have no pixel.
  package func raster(_ blended: Scored, _: any PhotoPixels, words: Wording, in _: RunContext) throws
    -> Scored
  {
    let present = blended.found?.matches.filter(\.isPresent).map(\.label) ?? []
    let labels = (words.background ? [0] : []) + present
    let scores = FoundClasses(blended.scores, labels: labels)
    return Scored(
      scores: scores, grid: blended.grid, embedding: nil, geometry: blended.geometry,
      guided: GuidedSettings(field: .pnpOVSS, labels: labels, capacity: scores.grid.classCount),
      found: blended.found)
  }
}

/// Scores of the classes that were found; all others are far below.
struct FoundClasses: ScoreField {
  private let field: any ScoreField
  /// [lanes * 8].
  private let isFound: [Bool]

  init(_ field: any ScoreField, labels: [Int]) {
    self.field = field
    var isFound = [Bool](repeating: false, count: field.grid.lanes * 8)
    for label in labels { isFound[label] = true }
    self.isFound = isFound
  }

  var grid: ScoreGrid { field.grid }
  var rule: ScoreRule { field.rule }
  var scratchCount: Int { field.scratchCount }
  var rowWork: Double { field.rowWork }
  var isFinite: Bool { field.isFinite }

  func row(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    field.row(engine, index, scratch: scratch, into: out)
    for column in 0..<grid.columns {
      let cell = out + column * isFound.count
      for index in isFound.indices where !isFound[index] { cell[index] = ScoreGrid.padding }
    }
  }
}

extension Wording {
  /// What says which classes take part. What is known of a raster is asked of each of its tiles, unless those
  /// are more classes than are asked one by one.
  fileprivate func rule(_ options: SegmentOptions, candidates: Int) -> PresenceRule {
    let isAsked = options.presence == .match && isTile && candidates <= ClassMatching.shortList
    return isAsked ? .match : presenceRule ?? (options.presence == .all ? .all : .match)
  }

  /// What was found where BLIP itself looks for nothing: all that are there, or the shares of all.
  fileprivate func matches(_ present: [Int], of classes: [Int]) -> [ClassMatch] {
    (shares == nil ? present : classes).map { label in
      var match = ClassMatch(label: label, share: shares?[label])
      match.isPresent = present.contains(label)
      return match
    }
  }
}

/// How the classes of a photo were found.
package struct PresenceFindings: Sendable {
  package let rule: PresenceRule
  package let matches: [ClassMatch]

  init(_ rule: PresenceRule, _ matches: [ClassMatch]) { (self.rule, self.matches) = (rule, matches) }

  /// Of two tiles: what is in either, as sure as the surer one.
  func joined(with other: PresenceFindings) -> PresenceFindings {
    func larger<Number: Comparable>(_ one: Number?, _ two: Number?) -> Number? {
      guard let one, let two else { return one ?? two }
      return max(one, two)
    }
    let both = zip(matches, other.matches).map { one, two in
      precondition(one.label == two.label, "tiles were asked for other classes")
      var match = one
      match.cosine = larger(one.cosine, two.cosine)
      match.probability = larger(one.probability, two.probability)
      match.isPresent = one.isPresent || two.isPresent
      return match
    }
    return PresenceFindings(rule, both)
  }
}

extension Stage {
  static let channels = Stage("channels")
}

extension FieldSettings {
  /// Source: PnP-OVSS's public code. Its narrow colours make more corners: photos that were tried take 48,000
  /// to 140,000.
  static let pnpOVSS: FieldSettings = {
    var settings = FieldSettings()
    (settings.smoothSigma, settings.smoothWeight) = (3, 7)
    (settings.sigmaXY, settings.sigmaRGB, settings.colourWeight) = (50, 5, 10)
    settings.cornerLimit = 1 << 17
    return settings
  }()
}
