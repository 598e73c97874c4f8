// Predicted against measured, stage by stage: what `trident measure` does.
import Segmentation
import System

/// Runs photos, several times each, and compares what it took with the plan.
package struct MeasureJob {
  private let repeats: Int
  private let isCold: Bool

  /// `isCold`: the model's pages are dropped before every run, as after a restart.
  ///
  /// - Errors: `.usage` for a number of repeats out of range.
  package init(repeats: Int, isCold: Bool) throws(SegmentationError) {
    guard (1...10_000).contains(repeats) else {
      throw SegmentationError(.usage("--repeat \(repeats) is outside 1...10000"))
    }
    (self.repeats, self.isCold) = (repeats, isCold)
  }

  /// Hands over what each photo's last run took.
  package func run(_ job: PhotoJob, _ paths: OutputPaths, each: (Measurement) throws -> Void) throws {
    try paths.makeFolders()
    for path in paths.photos {
      var seconds: [Double] = []
      var before = ProcessMemory.now().anonymous
      for index in 0..<repeats {
        if isCold { job.session.dropWeights() }
        if index == 1 { before = ProcessMemory.now().anonymous }
        let report = try segment(path, job, paths).run
        seconds.append(report.seconds)
        guard index == repeats - 1 else { continue }
        let growth = ProcessMemory.now().anonymous - before
        try each(Measurement(path: path, report: report, seconds: seconds, growth: growth))
      }
    }
  }

  private func segment(_ path: String, _ job: PhotoJob, _ paths: OutputPaths) throws -> SegmentReport {
    let photo = try PhotoFile(path: path, ceilings: job.session.runtime.photoCeilings)
    let display = job.listener.progressDisplay()
    defer { display?.finish() }
    return try job.run(
      photo, name: path, measures: true, into: paths.sinks(of: path),
      progress: job.listener.showsProgress ? { display?.show($0, $1, detail: "") } : nil)
  }
}

/// One run beside its plan.
package struct Measurement {
  fileprivate let path: String
  package let report: RunReport
  /// Of every repeat.
  fileprivate let seconds: [Double]
  /// Private memory after the last repeat over that before the second.
  fileprivate let growth: Int

  private var peak: Int { report.stages.map(\.anonymous).max() ?? 0 }
  private var median: Double { seconds.sorted()[seconds.count / 2] }

  /// Measured stages with their planned ones.
  private var pairs: [(measured: StageEntry, planned: StageEntry?)] {
    var rest = report.plan.stages
    return report.stages.map { stage in
      guard let index = rest.firstIndex(where: { $0.name == stage.name }) else { return (stage, nil) }
      return (stage, rest.remove(at: index))
    }
  }

  package var text: String {
    var lines = ["\(path): \(report.width) x \(report.height), \(report.plan.threads) thread(s); MiB"]
    lines.append(Self.row(["stage", "planned", "private", "mapped", "minor", "major", "read", "seconds"]))
    for (stage, planned) in pairs {
      lines.append(
        Self.row([
          stage.name, planned.map { mebibytes(report.plan.anonymous($0)) } ?? "-", mebibytes(stage.anonymous),
          mebibytes(stage.file), String(stage.minorFaults), String(stage.majorFaults),
          mebibytes(stage.readByteCount), fixed(stage.seconds, 2),
        ]))
    }
    let difference = report.plan.peak - peak
    lines.append(
      "peak private \(mebibytes(peak)) MiB measured, \(mebibytes(report.plan.peak)) MiB planned "
        + "(\(difference < 0 ? "-" : "+")\(mebibytes(abs(difference)))); "
        + "peak resident \(mebibytes(ProcessMemory.now().peakResident)) MiB; \(fixed(median, 2)) s"
        + (seconds.count > 1 ? " median of \(seconds.count), grew by \(growth / 1024) KiB" : ""))
    lines.append(Self.meaning)
    return lines.joined(separator: "\n")
  }

  static let meaning =
    "Private memory must stay in RAM (or swap). Mapped pages are clean copies of the model and program "
    + "files: the system takes them back whenever it needs room. Faults: minor found the page in RAM, "
    + "major waited for storage."

  private static func row(_ cells: [String]) -> String {
    cells.enumerated().map { padded($1, 8, right: $0 > 0) }.joined(separator: " ")
  }

  package var json: JSON {
    .object([
      ("photo", .string(path)), ("width", .int(report.width)), ("height", .int(report.height)),
      ("threads", .int(report.plan.threads)), ("planned_peak_bytes", .int(report.plan.peak)),
      ("measured_peak_bytes", .int(peak)), ("peak_resident_bytes", .int(ProcessMemory.now().peakResident)),
      ("growth_bytes", .int(growth)), ("seconds", .array(seconds.map { .number($0) })),
      ("median_seconds", .number(median)), ("meaning", .string(Self.meaning)),
      (
        "stages",
        .array(
          pairs.map { stage, planned in
            .object(
              stage.members + [("planned_bytes", planned.map { .int(report.plan.anonymous($0)) } ?? .null)])
          })
      ),
    ])
  }
}
