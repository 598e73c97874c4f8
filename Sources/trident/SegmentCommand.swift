// `trident segment`: photos and class names in, label maps out.
import ArgumentParser
import Compute
import Raster
import Segmentation

struct SegmentCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "segment", abstract: "Labels every pixel of a photo with one of your classes.",
    discussion: """
      Examples:
        trident segment -m demo.gguf --class "cat; kitten" --class sofa --class wall photo.jpg -o labels.png --overlay overlay.png
        trident segment -m demo.gguf --classes words.txt photos/ -o labels/

      The label map is an 8-bit indexed PNG of the photo's size (16-bit grey above 256 classes), with a legend beside
      it (labels.json). With several photos or a folder, --output names a folder; photos that are already done are
      skipped unless --overwrite.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Output") var outputFlags: OutputFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags

  @Argument(help: "Photos (JPEG, PNG, PPM) or folders of them.", completion: .file())
  var photos: [String]

  func run() throws {
    let job = try SegmentJob(
      runtime: runtimeFlags, classes: classFlags, outputs: outputFlags, method: methodFlags, photos: photos)
    try job.run()
  }
}

/// Where results go.
struct OutputFlags: ParsableArguments {
  @Option(name: .shortAndLong, help: "Label map (.png), or a folder for several photos.", completion: .file())
  var output: String?
  @Option(help: "The photo with labels tinted over it (.png, at most 1024 pixels long).", completion: .file())
  var overlay: String?
  @Option(help: "Class scores before upsampling: float32 NPY [classes, gridH, gridW].", completion: .file())
  var scores: String?
  @Option(help: .hidden)
  var taps: String?
  @Flag(help: "A JSON object a photo on standard output.")
  var json = false
  @Flag(help: "Segment photos again whose label map exists.")
  var overwrite = false
  @Flag(name: .shortAndLong, help: "No progress, no summary.")
  var quiet = false
}

/// The photos of one command, one after another on one session.
final class SegmentJob {
  let session: Session
  let options: SegmentOptions
  let words: Words
  let outputs: OutputFlags
  let paths: [String]
  private let isMany: Bool
  private var vectors: [Float]?
  private var textReport: TextReport?

  init(
    runtime: RuntimeFlags, classes: ClassFlags, outputs: OutputFlags, method: MethodFlags, photos: [String],
    needsOutput: Bool = true
  ) throws {
    let (paths, hasFolder) = photoPaths(photos)
    isMany = paths.count > 1 || hasFolder
    self.paths = paths
    self.outputs = outputs
    options = method.options()
    if needsOutput && outputs.output == nil && outputs.overlay == nil && outputs.scores == nil && !outputs.json {
      throw SegmentationError(.usage("nothing to write: give --output labels.png (or --overlay, --scores, --json)"))
    }
    if isMany && (outputs.overlay != nil || outputs.scores != nil) {
      throw SegmentationError(.usage("--overlay and --scores take one photo"))
    }
    if isMany, let output = outputs.output, fileExists(output), !isFolder(output) {
      throw SegmentationError(.usage("--output '\(output)' is a file; several photos need a folder"))
    }
    if paths.isEmpty { throw SegmentationError(.usage("no photos found in \(photos.joined(separator: ", "))")) }
    session = try Session(modelPath: runtime.model, runtime: try runtime.runtime())
    words = try Words(classes, session: session)
    if isMany && outputs.output != nil { try Self.checkNames(paths) }
  }

  /// - Errors: `.usage` for two photos whose label maps would have one name.
  private static func checkNames(_ paths: [String]) throws {
    var photoOfName: [String: String] = [:]
    for path in paths {
      guard let other = photoOfName.updateValue(path, forKey: baseName(path)) else { continue }
      throw SegmentationError(.usage("'\(other)' and '\(path)' would both become \(baseName(path)).png"))
    }
  }

  /// - Errors: with several photos, those that are bad or do not fit in memory are reported, and the last error is thrown
  ///   at the end.
  func run() throws {
    if words.names.count == 1, !outputs.quiet {
      standardError("trident: warning: with one class every pixel belongs to it; name what else the photos show, too\n")
    }
    if isMany, let output = outputs.output { try makeFolder(output) }
    var failures: [SegmentationError] = []
    for path in paths {
      let target = isMany ? outputs.output.map { "\($0)/\(baseName(path)).png" } : outputs.output
      // The legend is written last.
      if isMany, !outputs.overwrite, let target, fileExists(target), fileExists(legendPath(target)) { continue }
      do {
        try segment(path, target: target)
      } catch let error as SegmentationError where isMany && [3, 5].contains(error.exitCode) {
        // Only a photo's own errors name it.
        failures.append(error.exitCode == 5 ? error.at(path: path) : error)
        complain(failures.last!.description)
      }
    }
    guard let last = failures.last else { return }
    let text = "\(failures.count) of \(paths.count) photos could not be segmented; the last: \(last.description)"
    throw last.exitCode == 5 ? last : SegmentationError(.photo(text))
  }

  private func segment(_ path: String, target: String?) throws {
    let result = try produce(path, target: target)
    if outputs.json {
      print(result.json.text(indent: isMany ? -1 : 0))
    } else if !outputs.quiet {
      print(result.summary(target))
    }
  }

  /// Runs one photo and writes its files.
  func produce(_ path: String, target: String?, measures: Bool = false) throws -> RunDescription {
    let photo = try PhotoFile(path: path)
    let previewSide = outputs.overlay == nil ? nil : OverlayWriter.sideLimit
    let wording = try prepareWording(photo, previewSide: previewSide, measures: measures || outputs.json)
    let plan = try session.plan(photo, wording, options, previewSide: previewSide)
    let megahertz = cpuMegahertz()
    let meter = ProgressMeter(quiet: outputs.quiet)
    var labels: LabelWriter?
    var overlay: OverlayWriter?
    var scores: NPYWriter?
    var failure: (any Error)?
    if let target {
      labels = try LabelWriter(path: target, width: photo.width, height: photo.height, classCount: words.names.count)
    }
    var sinks = RunSinks { row, line in
      do {
        try labels?.write(line)
        try overlay?.write(row, line)
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let path = outputs.scores {
      sinks.scores = { classes, rows, columns in
        let writer = try NPYWriter(path: path, shape: [classes, rows, columns])
        scores = writer
        return { try writer.append(UnsafeBufferPointer(start: $0, count: $1)) }
      }
    }
    sinks.previewSide = previewSide
    if let path = outputs.overlay {
      sinks.preview = { [words] preview in
        overlay = try OverlayWriter(
          path: path, preview: preview, photoWidth: photo.width, photoHeight: photo.height,
          keepsFirst: words.background)
      }
    }
    if outputs.taps != nil { sinks.taps = Taps() }
    if !outputs.quiet { sinks.progress = { meter.show($0, $1) } }
    var report = try session.run(photo, wording, options, plan: plan, measures: measures || outputs.json, sinks)
    meter.finish()
    if let failure { throw failure }
    if let path = outputs.taps, let taps = sinks.taps { try writeBytes(taps.file(), to: path) }
    try scores?.finish()
    try overlay?.finish()
    if let text = textReport { report.add(text) }
    textReport = nil
    let result = RunDescription(
      path: path, job: self, report: report, megahertzBefore: megahertz, megahertzAfter: cpuMegahertz())
    if let target { try labels?.finish(legend: result.legend.text() + "\n", at: legendPath(target)) }
    return result
  }

  /// Text vectors, made or found once for all photos, after the first photo's plan says that it can be done.
  private func prepareWording(_ photo: PhotoFile, previewSide: Int?, measures: Bool) throws -> Wording {
    if outputs.taps != nil { return try words.encodedInRun(session) }
    if vectors == nil {
      _ = try session.plan(photo, words.planned, options, previewSide: previewSide)
      let meter = ProgressMeter(quiet: outputs.quiet)
      (vectors, textReport) = try words.vectors(session, options.precision, measures: measures, meter)
    }
    return Wording(source: .vectors(vectors ?? []), phraseClass: words.phraseClass)
  }

  private func legendPath(_ target: String) -> String {
    (target.hasSuffix(".png") ? String(target.dropLast(4)) : target) + ".json"
  }
}
