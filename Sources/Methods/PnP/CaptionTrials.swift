// PnP-OVSS under many options at once: one pass forth and one way back give the maps of every layer and head;
// thresholds and blurs are tried on those. As in the published search there is one round: no patch is blank.
import Compute
import Raster

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Masks of the classes of a photo, setting by setting.
///
/// - Memory: for every layer and head that a setting asks for, cells floats a class; the tape of all layers
///   from the lowest on; side * side * 2 floats.
/// - Source: PnP-OVSS's search (arXiv 2311.17095, section on the reward): a map brought to 0...1, above the
///   threshold, enlarged cubically to the judge's square, blurred, brought to 0...1, above the threshold
///   again.
struct CaptionTrials {
  private let method: PnPOVSSMethod
  private let request: TrialRequest
  private let model: Model
  /// Layer and head, from 0, of every map that is asked for; each once.
  private let places: [Place]

  private struct Place: Hashable {
    let layer: Int
    let head: Int

    init(_ options: SegmentOptions) {
      (layer, head) = (options.attentionLayer - 1, options.attentionHead - 1)
    }
  }

  init(_ model: Model, _ request: TrialRequest) throws(SegmentationError) {
    method = try PnPOVSSMethod(model, request.options[0])
    for options in request.options.dropFirst() { _ = try PnPOVSSMethod(model, options) }
    (self.model, self.request) = (model, request)
    var seen: Set<Place> = []
    places = request.options.map { Place($0) }.filter { seen.insert($0).inserted }
  }

  func run(
    in run: RunContext, progress: (Double) -> Void,
    take: (_ trial: Int, _ index: Int, PixelMask) -> Void
  ) throws {
    let captions = try CaptionWords(request.wording, model)
    let side = method.options.shortSide
    let tower = BLIPImageTower(run, method.image.config, method.image.schema, side: side)
    let labels = request.labels
    let maps = try run.arena.rows(places.count * labels.count, tower.cells)
    try run.scope {
      let pixels = try request.photo.squareCopy(side: side, run)
      let tokens = try run.arena.rows(tower.tokens, method.image.config.width)
      try run.stage(.image) { try tower.encode(pixels, into: tokens) }
      progress(0.5)
      try run.stage(.caption) { try look(run, tokens, captions, into: maps) }
    }
    try run.stage(.channels) {
      let pixels = request.side * request.side
      let room = (try run.arena.floats(pixels), try run.arena.floats(pixels))
      if run.isPlanning { return }
      let taps = MapMask(grid: tower.grid, side: request.side)
      for (trial, options) in request.options.enumerated() {
        guard let place = places.firstIndex(of: Place(options)) else { continue }
        for index in labels.indices {
          let blur = request.maskBlur ?? options.blur
          let mask = taps.mask(
            maps.row(place * labels.count + index), threshold: options.mapThreshold, blur: blur, room)
          take(trial, index, mask)
        }
        progress(0.5 + 0.5 * Double(trial + 1) / Double(request.options.count))
      }
    }
  }

  /// Attention times the positive part of the gradient, the mean over the pieces of each class.
  ///
  /// - Shapes: `maps` [places * labels, cells], overwritten.
  private func look(_ run: RunContext, _ tokens: Rows, _ captions: CaptionWords, into maps: Rows) throws {
    let reader = BERTTower(run, method.text.config, method.text.schema)
    let config = method.text.config.blocks
    let capacity = captions.longest(request.labels)
    try run.scope {
      let room = try CaptionRoom(
        run, config, rows: capacity, longest: capacity, image: (tokens.count, tokens.width))
      let lowest = places.map(\.layer).min() ?? 0
      let tape = try CaptionTape(
        run, config, lowest: lowest, head: 0, tokens: capacity, imageTokens: tokens.count, keepsHeads: true)
      let back = try GradientRoom(run, config, tokens: capacity, imageTokens: tokens.count)
      let stream = run.blocks(of: reader.schema)
      let groups = captions.groups(request.labels)
      run.note(
        2 * max(1, groups.count) * reader.work(rows: capacity, longest: capacity, imageTokens: tokens.count))
      guard !run.isPlanning, let keysValues = room.image?.keysValues else { return }
      maps.fill(0)
      let way = CaptionGradient(tower: reader, tape: tape, room: back, keysValues: keysValues)
      var first = 0
      for group in groups {
        let (caption, rows) = captions.caption(group)
        let batch = CaptionBatch([caption])
        try reader.forward(batch, image: tokens, stream, room, tape: tape)
        try way.visit(stream, tokens: caption.count) { layer, head, weights, slopes in
          guard let place = places.firstIndex(where: { $0.layer == layer && $0.head == head }) else { return }
          for (index, pieces) in rows.enumerated() {
            let map = maps.row(place * request.labels.count + first + index)
            Self.add(pieces, weights, slopes, to: map, cells: maps.width)
          }
        }
        first += group.count
      }
    }
  }

  /// map += mean over pieces of weights * max(slopes, 0), the image's class token left out.
  private static func add(
    _ pieces: Range<Int>, _ weights: Rows, _ slopes: Rows, to map: UnsafeMutablePointer<Float>, cells: Int
  ) {
    let share = 1 / Float(pieces.count)
    for row in pieces {
      let (weight, slope) = (weights.row(row) + 1, slopes.row(row) + 1)
      for cell in 0..<cells { map[cell] += share * weight[cell] * max(slope[cell], 0) }
    }
  }
}
