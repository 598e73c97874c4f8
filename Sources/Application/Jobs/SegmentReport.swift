// One photo's results in words and in JSON.
import Container
import Raster
import Segmentation
import System

/// Describes a finished run.
package struct SegmentReport {
  /// As it was named.
  package let photo: String
  let job: PhotoJob
  package let run: RunReport
  /// Intermediate results, where a sink wanted them.
  let taps: Taps?
  /// The photo's own file, where a legend names it.
  let contents: FileContents?
  let megahertzBefore: Int?
  let megahertzAfter: Int?

  private var pixelCount: Double { Double(max(1, run.width * run.height)) }

  private var titles: [String] { job.titles }

  /// Every label with colour and share.
  private var classes: JSON { .array(titles.indices.map { .object(members(of: $0)) }) }

  private func members(of label: Int) -> [(String, JSON)] {
    let list = job.words.classes
    let colour = job.colours[label]
    let phrases = label < list.count ? Array(list.phrases(ofClass: label)) : job.words.named.negatives
    return [
      ("id", .int(label)), ("name", .string(titles[label])), ("phrases", .array(phrases.map { .string($0) })),
      ("colour", .array([.int(Int(colour.red)), .int(Int(colour.green)), .int(Int(colour.blue))])),
      ("pixels", .int(run.refinement.pixels(of: label))), ("share", .number(run.share(of: label))),
    ] + (list.descriptions[label]?.members ?? []) + presence(of: label) + confidence(of: label)
  }

  /// The templates of the text vectors, where they are not the usual ones.
  var templates: [(String, JSON)] {
    job.words.ownTemplates.map { [("templates", .string($0))] } ?? []
  }

  /// The blocks that SC-CLIP looked at, where options say "as published", too.
  private var blocks: [(String, JSON)] {
    guard let found = try? job.session.usedBlocks(job.options), !found.isEmpty else { return [] }
    return [("blocks", .object(found.map { ($0.key, $0.value.json) }))]
  }

  /// Mean confidence of a class's pixels, where confidences were wanted.
  private func confidence(of label: Int) -> [(String, JSON)] {
    if run.confidence == nil { return [] }
    return [("confidence", run.meanConfidence(of: label).map { .number(Self.rounded($0)) } ?? .null)]
  }

  /// Mean confidence of the photo, and what it says.
  private var confidence: [(String, JSON)] {
    guard let sums = run.confidence else { return [] }
    let mean = Self.rounded(sums.mean(pixels: run.refinement.pixels))
    return [
      ("confidence", .object([("kind", .string(sums.kind.rawValue)), ("mean", .number(mean))]))
    ]
  }

  private static func rounded(_ value: Double) -> Double { (value * 10_000).rounded() / 10_000 }

  /// Whether a class has pixels; what a gate or a rule made of it, and how sure the patches are of it, where
  /// a rule asked.
  private func presence(of label: Int) -> [(String, JSON)] {
    let present = ("present", JSON.bool(run.refinement.pixels(of: label) > 0))
    guard label < run.presence.count else {
      return [present] + (label < run.isGated.count ? [("dropped", .bool(isGated(label)))] : [])
    }
    let found = run.presence[label]
    return [
      present, ("dropped", .bool(found.isDropped || isGated(label))),
      ("certainty", .float(found.certainty)), ("best", .float(found.best)), ("mean", .float(found.mean)),
    ] + (found.purity.map { [("purity", .float($0))] } ?? [])
  }

  /// Whether a gate of the method's own took a class away.
  private func isGated(_ label: Int) -> Bool { label < run.isGated.count && run.isGated[label] }

  /// What says which classes a rule took away; empty: none did.
  private var dropped: String {
    let options = job.options
    let rules =
      (options.absent == .keep ? [] : ["--absent \(options.absent.rawValue)"])
      + (options.areaThreshold < 0 ? [] : ["--area-threshold"])
    let byRule = run.presence.indices.filter { run.presence[$0].isDropped && !isGated($0) }
    return Self.dropped(by: "--class-gate", run.isGated.indices.filter(isGated).map { titles[$0] })
      + Self.dropped(
        by: rules.joined(separator: ", "), byRule.filter { $0 < job.words.count }.map { titles[$0] })
  }

  private static func dropped(by rule: String, _ names: [String]) -> String {
    if names.isEmpty { return "" }
    let shown = names.prefix(12).map { printable($0, limit: 100) }.joined(separator: ", ")
    return "\n  dropped by \(rule): \(shown)" + (names.count > 12 ? " and \(names.count - 12) more" : "")
  }

  /// The text of the legend: what made the map, and what its numbers mean.
  package var legend: String {
    var members = Self.origin(of: job, sha256: contents?.sha256)
    members += [
      ("photo", .string(photo)), ("photo_bytes", .int(contents?.byteCount ?? 0)),
      ("width", .int(run.width)), ("height", .int(run.height)), ("classes", classes),
      ("background", .bool(job.words.classes.background)), ("version", .string(Trident.version)),
      ("model_id", .string(job.session.modelIdentity)), ("options", job.options.json),
    ]
    members += blocks + templates
    members += preset + found
    return JSON.object(members).text() + "\n"
  }

  /// What a label map was made of: the first members of its legend.
  private static func origin(of job: PhotoJob, sha256: String?) -> [(String, JSON)] {
    [
      ("settings", .string(job.settings)), ("photo_sha256", .string(sha256 ?? "")),
      ("palette", .string(job.style.paletteName)),
    ]
  }

  /// How the legend of a map begins that this job makes of such a photo.
  static func firstLines(of job: PhotoJob, sha256: String) -> String {
    String(JSON.object(origin(of: job, sha256: sha256)).text().dropLast(2)) + ","
  }

  package var json: JSON {
    let memory = ProcessMemory.now()
    let regions = run.refinement
    let members: [(String, JSON)] = [
      ("photo", .string(photo)), ("width", .int(run.width)), ("height", .int(run.height)),
      ("grid", .array([.int(run.gridRows), .int(run.gridColumns)])), ("classes", classes),
      (
        "regions",
        .object([
          ("refined", .int(regions.refined)), ("failed", .int(regions.failed)),
          ("dropped", .int(regions.dropped)),
        ])
      ),
      ("seconds", .number(run.seconds)), ("stages", .array(run.stages.map(\.json))),
      (
        "memory",
        .object([
          ("peak_resident_bytes", .int(memory.peakResident)),
          ("peak_anonymous_bytes", .int(run.stages.map(\.anonymous).max() ?? memory.anonymous)),
          ("planned_anonymous_bytes", .int(run.plan.peak)),
        ])
      ),
      ("machine", machine), ("options", job.options.json),
    ]
    let more = blocks + templates + confidence
    return .object(members + more + preset + found)
  }

  /// The file that the options come from, with what it says of itself.
  private var preset: [(String, JSON)] { job.preset.map { [("preset", $0.json)] } ?? [] }

  /// Which classes the method looked for, and what told it so.
  private var found: [(String, JSON)] {
    guard let found = run.found else { return [] }
    let classes = found.matches.map { match in
      JSON.object([
        ("id", .int(match.label)), ("name", .string(titles[match.label])),
        ("cosine", match.cosine.map { .float($0) } ?? .null),
        ("match", match.probability.map { .float($0) } ?? .null),
        ("share", match.share.map { .number($0) } ?? .null), ("present", .bool(match.isPresent)),
      ])
    }
    return [("presence", .object([("rule", .string(found.rule.rawValue)), ("classes", .array(classes))]))]
  }

  private var machine: JSON {
    .object([
      ("cpu_path", .string(job.session.path.name)), ("threads", .int(run.plan.threads)),
      ("mhz_before", megahertzBefore.map { .int($0) } ?? .null),
      ("mhz_after", megahertzAfter.map { .int($0) } ?? .null),
      ("model_id", .string(job.session.modelIdentity)),
    ])
  }

  /// A few lines for people. `files`: what was written.
  package func summary(_ files: [String]) -> String {
    let (memory, titles) = (ProcessMemory.now(), titles)
    var text =
      "\(printable(photo, limit: 400)): \(run.width) x \(run.height), \(fixed(run.seconds, 2)) s, "
      + "peak \(mebibytes(memory.peakResident)) MiB"
    if job.options.refinement == .sam {
      text += ", \(run.refinement.refined) regions refined, \(run.refinement.failed) kept coarse"
    }
    let present = run.refinement.pixels.enumerated().filter { $0.element > 0 }.sorted {
      $0.element > $1.element
    }
    for (index, count) in present.prefix(12) {
      let share = padded(fixed(Double(count) / pixelCount * 100, 1), 5, right: true)
      text += "\n  \(share) %  \(printable(titles[index], limit: 200))"
    }
    if present.count > 12 { text += "\n  and \(present.count - 12) more" }
    text += dropped
    if !job.words.isLooked(for: present.map(\.offset)) {
      text += "\n  nothing of what you named is in this photo"
    }
    let isFirstForAll = run.refinement.pixels.first == Int(pixelCount)
    if !run.isGated.isEmpty && run.isGated.allSatisfy({ $0 }) && isFirstForAll {
      text +=
        "\n  no class passes --class-gate \(job.options.classGate): the first one has all pixels, which says "
        + "nothing; name what the photo shows, or lower the gate"
    }
    if !files.isEmpty { text += "\n  -> " + files.map { printable($0, limit: 400) }.joined(separator: ", ") }
    return text
  }
}

extension StageEntry {
  var json: JSON { .object(members) }

  /// What a stage took, by name.
  var members: [(String, JSON)] {
    [
      ("name", .string(name)), ("seconds", .number(seconds)), ("arena_bytes", .int(arenaByteCount)),
      ("anonymous_bytes", .int(anonymous)), ("file_bytes", .int(file)),
      ("weight_bytes", .int(weightByteCount)),
      ("minor_faults", .int(minorFaults)), ("major_faults", .int(majorFaults)),
      ("read_bytes", .int(readByteCount)),
    ]
  }
}

extension SegmentOptions {
  package var json: JSON { .object(jsonMembers) }

  /// Every option that the run depends on, by key.
  var jsonMembers: [(String, JSON)] {
    named.map { ($0.key, $0.value.json) }
  }
}
