// `trident measure`: predicted against measured, stage by stage.
import ArgumentParser
import Segmentation

struct MeasureCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "measure", abstract: "Segments, and compares what it took with the plan, stage by stage.",
    discussion: """
      Example:
        trident measure -m demo.gguf --class dog --class grass photo.jpg \\
          --cold --chart memory.svg

      Takes the arguments of 'segment'; --output is optional.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Output") var outputFlags: OutputFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags
  @Option(help: "Runs a photo; the table shows the last.")
  var `repeat`: Int = 1
  @Flag(help: "Drop the model's pages before every run, as after a restart.")
  var cold = false
  @Option(help: "Drawing of memory over time (.svg), of the last run.", completion: .file())
  var chart: String?
  @Argument(help: "Photos (JPEG, PNG, PPM) or folders of them.", completion: .file())
  var photos: [String]

  func run() throws {
    guard (1...10_000).contains(`repeat`) else {
      throw SegmentationError(.usage("--repeat \(`repeat`) is outside 1...10000"))
    }
    let job = try SegmentJob(
      runtime: runtimeFlags, classes: classFlags, outputs: outputFlags, method: methodFlags, photos: photos,
      needsOutput: false, drawing: chart)
    try job.paths.makeFolders()
    for path in job.paths.photos {
      var reports: [RunReport] = []
      var before = ProcessMemory.now().anonymous
      for index in 0..<`repeat` {
        if cold { job.session.dropWeights() }
        if index == 1 { before = ProcessMemory.now().anonymous }
        reports.append(try job.produce(path, measures: true).report)
        if index < `repeat` - 1 { reports[index].samples = [] }
      }
      guard let last = reports.last else { return }
      let growth = ProcessMemory.now().anonymous - before
      if let chart { try writeText(MemoryChart(report: last, limit: job.session.runtime.memoryLimit).svg, to: chart) }
      let table = Measurement(path: path, report: last, seconds: reports.map(\.seconds), growth: growth)
      print(outputFlags.json ? table.json.text(indent: job.paths.isMany ? -1 : 0) : table.text)
    }
  }
}

/// One run beside its plan.
struct Measurement {
  let path: String
  let report: RunReport
  /// Of every repeat.
  let seconds: [Double]
  /// Private memory after the last repeat over that before the second.
  let growth: Int

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

  var text: String {
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
    "Private memory must stay in RAM (or swap). Mapped pages are clean copies of the model and program files: "
    + "the system takes them back whenever it needs room. Faults: minor found the page in RAM, major waited for storage."

  private static func row(_ cells: [String]) -> String {
    cells.enumerated().map { padded($1, 8, right: $0 > 0) }.joined(separator: " ")
  }

  var json: JSON {
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
            guard case .object(let members) = RunDescription.stage(stage) else { return .null }
            return .object(
              members + [("planned_bytes", planned.map { .int(report.plan.anonymous($0)) } ?? .null)])
          })
      ),
    ])
  }
}
