// CLIP as a judge of masks: photos of which only a mask is left, as vectors beside those of words.
import Compute

/// A photo, and the masks through which CLIP shall see it.
package struct JudgeRequest {
  package let photo: any PhotoPixels
  /// On the square that CLIP sees: `Session.judgeSide`.
  package let masks: [PixelMask]
  package var precision = PrecisionChoice.int8

  package init(_ photo: any PhotoPixels, _ masks: [PixelMask]) { (self.photo, self.masks) = (photo, masks) }
}

extension Session {
  /// Side of the square that CLIP sees a whole photo on, pixels: its positions are as stored. Nil where the
  /// model file has no whole CLIP with words.
  package var judgeSide: Int? {
    guard model.config.text != nil, model.config.clip?.hasLastMLP == true else { return nil }
    return model.config.clip.map { $0.vision.grid * $0.vision.patch }
  }

  /// The fastest way to judge within the limit. `heldByteCount`: what the caller keeps beside the run.
  ///
  /// - Errors: `.memory` with the smallest limit that would do; `.model` for a file without the whole of
  ///   CLIP.
  package func plan(
    _ request: JudgeRequest, heldByteCount: Int = 0, within limit: MemoryLimit = .ofRuntime
  ) throws -> MemoryPlan {
    let judge = try MaskJudge(model, request)
    let fixed = fixedByteCount() + heldByteCount + request.masks.count * embedWidth * 4
    return try planned(limit, request.precision, fixed: fixed) { _ = try judge.run(in: $0, { _ in }) }
  }

  /// CLIP's vector of the photo behind every mask; what is not in a mask is black.
  ///
  /// - Shapes: [masks, embedWidth], unit rows.
  /// - Errors: as `plan`; those of the photo.
  package func judge(
    _ request: JudgeRequest, plan: MemoryPlan, progress: (_ fraction: Double) -> Void = { _ in }
  ) throws -> [Float] {
    let observer = { (_: String, _: Int, _: Double) -> Void in }
    return try run(plan, request.precision, measures: false, taps: nil, observer: observer) { run in
      let vectors = try MaskJudge(model, request).run(in: run, progress)
      guard vectors.allSatisfy(\.isFinite) else { throw notNumbers("vectors of photos") }
      return vectors
    }
  }
}

/// Takes a masked photo through CLIP's image tower, some masks at a time.
///
/// - Source: the judge of PnP-OVSS (arXiv 2311.17095, equation 4). The photo is squeezed to the square
///   (Pillow's bicubic rule), masked as bytes, and normalised afterwards, so that black is 0 before it.
private struct MaskJudge {
  let request: JudgeRequest
  let clip: CLIPConfig
  let schema: CLIPSchema
  let side: Int

  init(_ model: Model, _ request: JudgeRequest) throws(SegmentationError) {
    guard let clip = model.config.clip, let schema = model.clip else {
      throw SegmentationError(.model("\(model.file.path) holds no CLIP, which judges masks"))
    }
    (self.request, self.clip, self.schema) = (request, clip, schema)
    side = clip.vision.grid * clip.vision.patch
    precondition(request.masks.allSatisfy { $0.side == side }, "masks of another size")
  }

  func run(in run: RunContext, _ progress: (Double) -> Void) throws -> [Float] {
    try run.scope {
      let photo = try request.photo.squareCopy(side: side, run)
      return try run.stage(.judge) { try judge(photo, run, progress) }
    }
  }

  private func judge(
    _ photo: UnsafePointer<UInt8>, _ run: RunContext, _ progress: (Double) -> Void
  ) throws -> [Float] {
    let masks = request.masks
    let count = min(run.tiling.windows, max(masks.count, 1))
    let pixels = try run.arena.reserve(UInt8.self, count * side * side * 3)
    let strip = (width: side, height: count * side)
    let tower = WindowTransformer(
      run, clip.vision, schema.vision, streaming: schema, image: pixels,
      plan: WindowPlan(copy: strip, image: strip, window: side, stride: side, patch: clip.vision.patch))
    let x = try run.arena.rows(count * tower.tokens, clip.width)
    let head = ScoreHead(run, schema)
    let room = try ScoreHead.Room(run, clip, rows: 1)
    var vectors: [Float] = []
    if run.isPlanning {
      let blocks = clip.vision.blocks
      run.note(
        (masks.count - count)
          * (clip.vision.patchWork(cells: tower.cells)
            + Double(clip.vision.depth) * blocks.blockWork(tokens: tower.tokens)))
      try tower.encode(0..<count, through: 0..<clip.vision.depth, into: x)
      return vectors
    }
    vectors.reserveCapacity(masks.count * clip.embedWidth)
    for part in strips(of: masks.count, count) {
      for (index, mask) in masks[part].enumerated() {
        copy(photo, mask, to: pixels + index * side * side * 3)
      }
      try tower.encode(0..<part.count, through: 0..<clip.vision.depth, into: x)
      for index in 0..<part.count {
        let vector = head.project(tower.window(index, of: x).prefix(1), room)
        vectors.append(contentsOf: UnsafeBufferPointer(start: vector.base, count: vector.width))
      }
      progress(Double(part.upperBound) / Double(masks.count))
    }
    return vectors
  }

  private func copy(
    _ photo: UnsafePointer<UInt8>, _ mask: PixelMask, to out: UnsafeMutablePointer<UInt8>
  ) {
    for pixel in 0..<side * side {
      let isIn = mask[pixel]
      for channel in 0..<3 { out[3 * pixel + channel] = isIn ? photo[3 * pixel + channel] : 0 }
    }
  }
}

extension Stage {
  static let judge = Stage("judge", cut: .windows)
}
