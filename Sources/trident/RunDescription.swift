// One photo's results in words and in JSON.
import Compute
import Container
import Raster
import Segmentation

/// Describes a finished run.
struct RunDescription {
  let path: String
  let job: SegmentJob
  let report: RunReport
  let megahertzBefore: Int?
  let megahertzAfter: Int?

  private var pixelCount: Double { Double(max(1, report.width * report.height)) }

  /// Class list with colours and shares.
  var classes: JSON {
    .array(
      job.words.names.indices.map { index in
        let colour = Palette.standard[index % 256]
        let count = index < report.refinement.pixels.count ? report.refinement.pixels[index] : 0
        return .object([
          ("id", .int(index)), ("name", .string(job.words.classes.titles[index])),
          (
            "phrases",
            .array(job.words.classes.phrases(ofClass: index).map { .string($0) })
          ),
          ("colour", .array([.int(Int(colour.red)), .int(Int(colour.green)), .int(Int(colour.blue))])),
          ("pixels", .int(count)), ("share", .number(Double(count) / pixelCount)),
        ])
      })
  }

  /// The text of the legend: what made the map, and what its numbers mean.
  var legend: String {
    let origin = Origin(job)
    return JSON.object(
      origin.members(photoByteCount: fileSize(path) ?? 0) + [
        ("photo", .string(path)), ("width", .int(report.width)), ("height", .int(report.height)), ("classes", classes),
        ("background", .bool(job.words.background)), ("version", .string(Segmentation.Trident.version)),
        ("model_id", .string(job.session.modelIdentity)), ("options", .object(job.options.members)),
      ]).text() + "\n"
  }

  var json: JSON {
    let memory = ProcessMemory.now()
    return .object([
      ("photo", .string(path)), ("width", .int(report.width)), ("height", .int(report.height)),
      ("grid", .array([.int(report.gridRows), .int(report.gridColumns)])), ("classes", classes),
      (
        "regions",
        .object([
          ("refined", .int(report.refinement.refined)), ("failed", .int(report.refinement.failed)),
          ("dropped", .int(report.refinement.dropped)),
        ])
      ),
      ("seconds", .number(report.seconds)),
      ("stages", .array(report.stages.map(Self.stage))),
      (
        "memory",
        .object([
          ("peak_resident_bytes", .int(memory.peakResident)),
          ("peak_anonymous_bytes", .int(report.stages.map(\.anonymous).max() ?? memory.anonymous)),
          ("planned_anonymous_bytes", .int(report.plan.peak)),
        ])
      ),
      ("machine", machine), ("options", .object(job.options.members)),
    ])
  }

  static func stage(_ stage: StageEntry) -> JSON {
    .object([
      ("name", .string(stage.name)), ("seconds", .number(stage.seconds)), ("arena_bytes", .int(stage.arenaByteCount)),
      ("anonymous_bytes", .int(stage.anonymous)), ("file_bytes", .int(stage.file)),
      ("weight_bytes", .int(stage.weightByteCount)), ("minor_faults", .int(stage.minorFaults)),
      ("major_faults", .int(stage.majorFaults)), ("read_bytes", .int(stage.readByteCount)),
    ])
  }

  private var machine: JSON {
    .object([
      ("cpu_path", .string(job.session.path.name)), ("threads", .int(report.plan.threads)),
      ("mhz_before", megahertzBefore.map { .int($0) } ?? .null),
      ("mhz_after", megahertzAfter.map { .int($0) } ?? .null),
      ("model_id", .string(job.session.modelIdentity)),
    ])
  }

  /// A few lines for people.
  func summary(_ target: String?) -> String {
    let memory = ProcessMemory.now()
    var text =
      "\(printable(path, limit: 400)): \(report.width) x \(report.height), \(fixed(report.seconds, 2)) s, peak \(mebibytes(memory.peakResident)) MiB"
    if job.options.refinement == .sam {
      text += ", \(report.refinement.refined) regions refined, \(report.refinement.failed) kept coarse"
    }
    let present = report.refinement.pixels.enumerated().filter { $0.element > 0 }
      .sorted { $0.element > $1.element }
    for (index, count) in present.prefix(12) {
      text += "\n  \(padded(fixed(Double(count) / pixelCount * 100, 1), 5, right: true)) %  \(printable(job.words.classes.titles[index], limit: 200))"
    }
    if present.count > 12 { text += "\n  and \(present.count - 12) more" }
    if let target { text += "\n  -> \(printable(target, limit: 400))" }
    return text
  }
}

/// What a label map was made of: the first members of its legend.
struct Origin {
  /// SHA-256 over everything but the photo that decides labels.
  private let settings: String

  init(_ job: SegmentJob) {
    let words = job.words
    let phrases = words.classes.phrases.map { JSON.string($0) }
    let parts = JSON.object([
      ("model", .string(job.session.modelIdentity)), ("options", .object(job.options.members)),
      ("phrases", .array(phrases)), ("phrase_class", .array(words.phraseClass.map { .int($0) })),
      ("background", .bool(words.background)), ("vocabulary", .string(words.vocabularyDigest ?? "")),
    ])
    var digest = SHA256Digest()
    Array(parts.text(indent: -1).utf8).withUnsafeBytes { digest.update($0) }
    settings = digest.finishHex()
  }

  func members(photoByteCount: Int) -> [(String, JSON)] {
    [("settings", .string(settings)), ("photo_bytes", .int(photoByteCount))]
  }

  /// How the legend of a map with this origin begins.
  func firstLines(photoByteCount: Int) -> String {
    String(JSON.object(members(photoByteCount: photoByteCount)).text().dropLast(2)) + ","
  }
}

extension SegmentOptions {
  /// Every number of the method by name.
  var members: [(String, JSON)] {
    [
      ("short_side", .int(shortSide)), ("window", .int(window)), ("stride", .int(stride)),
      ("logit_scale", .float(logitScale)), ("beta", .float(beta)), ("gamma", .float(gamma)),
      ("cos_factor", .float(cosFactor)), ("keeps_negative_thresholds", .bool(keepsNegativeThresholds)),
      ("probability_threshold", .float(probabilityThreshold)), ("coarse_threshold", .float(coarseThreshold)),
      ("minimal_area", .int(minimalArea)), ("iou_threshold", .float(iouThreshold)),
      ("mask_alpha", .float(maskAlpha)), ("prompts", .string(prompts.description)), ("refine", .string(refinement.rawValue)),
      ("affinity", .string(affinity.rawValue)), ("paradigm", .string(paradigm.rawValue)), ("dino", .bool(usesDINO)),
      ("halves", .bool(halves)), ("precision", .string(precision.rawValue)),
    ]
  }
}
