// What a photo will take, before any work: what `trident plan` does.
import Compute
import Raster
import Segmentation
import System

/// Plans a photo and the words that are not in the cache.
package struct PlanJob {
  private let session: Session
  private let words: Words
  private let options: SegmentOptions

  package init(_ session: Session, _ words: Words, _ options: SegmentOptions) {
    (self.session, self.words, self.options) = (session, words, options)
  }

  /// A photo file, or a size such as `4000x3000`.
  ///
  /// - Errors: `.usage` for both, or a size that is none; `.photo`.
  package static func photo(
    _ path: String?, size: String?, ceilings: PhotoCeilings = .usual
  ) throws(SegmentationError) -> any PhotoPixels {
    if let path {
      guard size == nil else { throw SegmentationError(.usage("give either --photo or --size, not both")) }
      return try PhotoFile(path: path, ceilings: ceilings)
    }
    let sides = (size ?? "448x448").lowercased().split(separator: "x").compactMap { Int($0) }
    guard sides.count == 2, sides.allSatisfy({ (1...100_000).contains($0) }) else {
      throw SegmentationError(.usage("--size is '\(size ?? "")', not WxH in pixels, each 1 to 100000"))
    }
    return PhotoSize(width: sides[0], height: sides[1])
  }

  /// `formats`: results that need room beside the label map; `smallest`: the tightest plan instead of the
  /// fastest inside the limit.
  ///
  /// - Errors: `.memory` with the smallest limit that would do.
  package func run(
    _ photo: any PhotoPixels, formats: [ResultFormat] = [], smallest: Bool = false
  ) throws -> PlanReport {
    let needs = SinkNeeds(formats.flatMap { OutputTarget($0, "").sinks })
    let (plan, text) = try plan(photo, needs, within: smallest ? .smallest : .ofRuntime)
    let speed = try session.speed(threads: plan.threads, options.precision, seconds: 0.2)
    return PlanReport(
      plan: plan, text: text, width: photo.width, height: photo.height, classCount: words.count,
      limit: smallest ? nil : session.runtime.memoryLimit, speed: speed)
  }

  /// The whole run: what says which classes are there, then words that are not in the cache (`text`), then
  /// the photo.
  func plan(
    _ photo: any PhotoPixels, _ needs: SinkNeeds, within limit: MemoryLimit
  ) throws -> (plan: MemoryPlan, text: MemoryPlan?) {
    var plan = try session.plan(
      photo, words.planned(options), options, previewSide: needs.previewSide, scores: needs.scores,
      confidence: needs.confidence, within: limit)
    let text = words.readsVectors(options) ? try words.planText(options.precision, within: limit) : nil
    if let text { plan.precede(with: text) }
    if let model = words.presenceModel { plan.precede(with: try model.plan(photo, within: limit)) }
    return (plan, text)
  }
}

/// A plan in words and in JSON.
package struct PlanReport {
  package let plan: MemoryPlan
  let text: MemoryPlan?
  let width: Int
  let height: Int
  let classCount: Int
  let limit: Int?
  let speed: MachineSpeed

  private func seconds(_ stage: StageEntry) -> Double { speed.seconds(stage.work) }
  private var seconds: Double { plan.stages.reduce(0) { $0 + seconds($1) } }

  /// One line: the limit that would do.
  package var smallest: String {
    "smallest limit: \(mebibytes(plan.peak)) MiB (--memory-limit \(ceilDivide(plan.peak, by: 1 << 20))M), "
      + "set by \(plan.peakStageName), with \(plan.threads) thread(s)"
  }

  /// Columns in MiB.
  package var table: String {
    var lines = ["\(width) x \(height), \(classCount) classes, \(plan.threads) thread(s); MiB"]
    lines.append(
      Self.row(["stage", "arena", "image", "fixed", "private", "weights read", "hot", "seconds"]))
    for stage in plan.stages {
      lines.append(
        Self.row([
          stage.name, mebibytes(stage.arenaByteCount), mebibytes(stage.imageByteCount),
          mebibytes(plan.fixedByteCount), mebibytes(plan.anonymous(stage)), mebibytes(stage.weightByteCount),
          mebibytes(stage.hotWeightByteCount), fixed(seconds(stage), 2),
        ]))
    }
    lines.append(
      "peak \(mebibytes(plan.peak)) MiB private, set by \(plan.peakStageName)"
        + (limit.map { "; limit \(mebibytes($0)) MiB" } ?? ""))
    lines.append(
      "about \(fixed(seconds, 1)) s, from one block timed just now: \(fixed(speed.linear / 1e9, 0)) GMAC/s, "
        + "in attention \(fixed(speed.attention / 1e9, 0)), in float \(fixed(speed.float / 1e9, 0))")
    let words = text.map { "; text \($0.tiling.textRows) rows, \($0.threads) thread(s)" } ?? ""
    lines.append("tiles: \(Self.tiles(plan.tiling))" + words)
    lines.append(
      "Private memory is what a limit counts. Weights are mapped from the file: "
        + "the system drops them as it likes.")
    return lines.joined(separator: "\n")
  }

  private static func tiles(_ tiling: Tiling) -> String {
    "\(tiling.rows) rows, strips of \(tiling.strip), \(tiling.windows) window(s) a pass"
  }

  private static func row(_ cells: [String]) -> String {
    cells.enumerated().map { padded($1, $0 == 5 ? 13 : 8, right: $0 > 0) }.joined(separator: " ")
  }

  package var json: JSON {
    .object([
      ("width", .int(width)), ("height", .int(height)), ("classes", .int(classCount)),
      ("threads", .int(plan.threads)),
      (
        "tiling",
        .object([
          ("rows", .int(plan.tiling.rows)), ("strip", .int(plan.tiling.strip)),
          ("windows", .int(plan.tiling.windows)),
          ("text_rows", .int(text?.tiling.textRows ?? plan.tiling.textRows)),
        ])
      ),
      ("peak_bytes", .int(plan.peak)), ("peak_stage", .string(plan.peakStageName)),
      ("limit_bytes", limit.map { .int($0) } ?? .null), ("fixed_bytes", .int(plan.fixedByteCount)),
      ("hot_weight_bytes", .int(plan.hotWeightByteCount)), ("seconds", .number(seconds)),
      ("macs_per_second", .number(speed.linear)), ("attention_macs_per_second", .number(speed.attention)),
      ("float_macs_per_second", .number(speed.float)),
      (
        "stages",
        .array(
          plan.stages.map { stage in
            .object([
              ("name", .string(stage.name)), ("arena_bytes", .int(stage.arenaByteCount)),
              ("image_bytes", .int(stage.imageByteCount)), ("private_bytes", .int(plan.anonymous(stage))),
              ("weight_bytes", .int(stage.weightByteCount)),
              ("hot_weight_bytes", .int(stage.hotWeightByteCount)),
              ("macs", .number(stage.work.linear + stage.work.attention + stage.work.float)),
              ("seconds", .number(seconds(stage))),
            ])
          })
      ),
    ])
  }
}
