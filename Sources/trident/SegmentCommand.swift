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
        trident segment -m demo.gguf --class "cat; kitten" --class sofa \\
          photo.jpg -o labels.png --overlay overlay.png
        trident segment -m demo.gguf --classes words.txt photos/ -o labels/
        curl -s https://example.org/photo.jpg | \\
          trident segment -m demo.gguf --classes words.txt - -o - >labels.png

      The label map is an 8-bit indexed PNG of the photo's size (16-bit grey above 256 \
      classes), with a legend beside it (labels.json). With several photos or a folder, \
      outputs name folders. Photos that are done there, with the same model, classes and \
      options, are skipped; maps that anything else made are not replaced unless \
      --overwrite says so. '-' is standard input as a photo, standard output as an output.
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
  @Option(name: .shortAndLong, help: "Label map (.png); for several photos a folder, as for the next two.", completion: .file())
  var output: String?
  @Option(help: "The photo with labels tinted over it (.png, at most 1024 pixels long).", completion: .file())
  var overlay: String?
  @Option(help: "Class scores before upsampling: float32 NPY [classes, gridH, gridW].", completion: .file())
  var scores: String?
  @Option(help: .hidden)
  var taps: String?
  @Flag(help: "A JSON object a photo on standard output.")
  var json = false
  @Flag(help: "In a folder: do again what is done, and replace maps that anything else made.")
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
  let paths: OutputPaths
  /// Of all photos, from the first one's start: words come before and have their own.
  private lazy var meter = ProgressMeter(quiet: outputs.quiet)
  /// Photos of `run()` before this one, and all of them.
  private var position = (index: 0, count: 1)
  private var vectors: [Float]?
  private var textReport: TextReport?

  init(
    runtime: RuntimeFlags, classes: ClassFlags, outputs: OutputFlags, method: MethodFlags, photos: [String],
    needsOutput: Bool = true, drawing: String? = nil
  ) throws {
    self.outputs = outputs
    options = method.options()
    if needsOutput && outputs.output == nil && outputs.overlay == nil && outputs.scores == nil && !outputs.json {
      throw SegmentationError(.usage("nothing to write: give --output labels.png (or --overlay, --scores, --json)"))
    }
    let inputs = [try runtime.model.path(), classes.file, classes.vocabulary].compactMap { $0 }
    paths = try OutputPaths(photos: photos, others: inputs, outputs: outputs, drawing: drawing)
    session = try runtime.open()
    words = try Words(classes, preset: method.preset, session: session)
  }

  /// - Errors: with several photos, those that are bad or do not fit in memory are reported, and the last error is thrown
  ///   at the end. `.usage` for label maps that something else made, before any work.
  func run() throws {
    if words.names.count == 1, !outputs.quiet {
      standardError("trident: warning: with one class every pixel belongs to it; name what else the photos show, too\n")
    }
    try paths.makeFolders()
    let origin = Origin(self)
    let rest = try photosToDo(origin)
    var failures: [SegmentationError] = []
    for (index, path) in rest.enumerated() {
      position = (index, rest.count)
      // Another process may work on the same folder.
      if earlier(path, origin) == .done { continue }
      do {
        try segment(path)
      } catch let error as SegmentationError where paths.isMany && [3, 5].contains(error.exitCode) {
        // Only a photo's own errors name it.
        failures.append(error.exitCode == 5 ? error.at(path: path) : error)
        complain(failures.last!.description)
      }
    }
    guard let last = failures.last else { return }
    let text = "\(failures.count) of \(rest.count) photos could not be segmented; the last: \(last.description)"
    throw last.exitCode == 5 ? last : SegmentationError(.photo(text))
  }

  /// What an earlier run left of a photo.
  private enum Earlier { case nothing, done, other }

  private func earlier(_ photo: String, _ origin: Origin) -> Earlier {
    let files = paths.files(of: photo)
    guard paths.mapsAreInFolder, !outputs.overwrite, let map = files.map, let legend = files.legend, fileExists(map),
      let size = fileSize(photo), let text = try? FileBytes.read(legend, limit: 1 << 28)
    else { return .nothing }
    if !text.starts(with: origin.firstLines(photoByteCount: size).utf8) { return .other }
    return files.all.allSatisfy(fileExists) ? .done : .nothing
  }

  /// Photos that are not done yet.
  private func photosToDo(_ origin: Origin) throws -> [String] {
    let found = paths.photos.map { (photo: $0, earlier: earlier($0, origin)) }
    let others = found.filter { $0.earlier == .other }
    if let map = others.first.flatMap({ paths.files(of: $0.photo).map }) {
      let more = others.count > 1 ? " and \(others.count - 1) more were" : " was"
      throw SegmentationError(
        .usage(
          "'\(map)'\(more) made with another photo, model, classes or options; "
            + "--overwrite replaces what is there, another --output keeps it"))
    }
    let rest = found.filter { $0.earlier == .nothing }.map(\.photo)
    if rest.count < found.count && !outputs.quiet {
      let done = "\(found.count - rest.count) of \(found.count)"
      standardError("trident: \(done) photos are done already; --overwrite does them again\n")
    }
    return rest
  }

  private func segment(_ path: String) throws {
    let result = try produce(path)
    if outputs.json {
      print(result.json.text(indent: paths.isMany ? -1 : 0))
    } else if !outputs.quiet && !paths.writesStandardOutput {
      print(result.summary(paths.files(of: path).map))
    }
  }

  /// Runs one photo and writes its files.
  func produce(_ path: String, measures: Bool = false) throws -> RunDescription {
    let files = paths.files(of: path)
    let photo = try PhotoFile(path: path)
    let previewSide = files.overlay == nil ? nil : OverlayWriter.sideLimit
    let wording = try prepareWording(photo, previewSide: previewSide, measures: measures || outputs.json)
    let plan = try session.plan(photo, wording, options, previewSide: previewSide)
    let megahertz = cpuMegahertz()
    let meter = measures ? ProgressMeter(quiet: outputs.quiet) : self.meter
    defer { meter.finish() }
    var labels: LabelWriter?
    var overlay: OverlayWriter?
    var scores: NPYWriter?
    var failure: (any Error)?
    if let map = files.map {
      labels = try LabelWriter(path: map, width: photo.width, height: photo.height, classCount: words.names.count)
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
    if let path = files.scores {
      sinks.scores = { classes, rows, columns in
        let writer = try NPYWriter(path: path, shape: [classes, rows, columns])
        scores = writer
        return { try writer.append(UnsafeBufferPointer(start: $0, count: $1)) }
      }
    }
    sinks.previewSide = previewSide
    if let path = files.overlay {
      sinks.preview = { [words] preview in
        overlay = try OverlayWriter(
          path: path, preview: preview, photoWidth: photo.width, photoHeight: photo.height,
          keepsFirst: words.background)
      }
    }
    if outputs.taps != nil { sinks.taps = Taps() }
    let (index, count) = position
    sinks.progress = { stage, fraction in
      meter.show(count > 1 ? "photo \(index + 1) of \(count), \(stage)" : stage, (Double(index) + fraction) / Double(count))
    }
    if outputs.quiet { sinks.progress = nil }
    var report = try session.run(photo, wording, options, plan: plan, measures: measures || outputs.json, sinks)
    if let failure { throw failure }
    if let path = outputs.taps, let taps = sinks.taps { try writeBytes(taps.file(), to: path) }
    try scores?.finish()
    try overlay?.finish()
    if let text = textReport { report.add(text) }
    textReport = nil
    let result = RunDescription(
      path: path, job: self, report: report, megahertzBefore: megahertz, megahertzAfter: cpuMegahertz())
    try labels?.finish(legend: result.legend, at: files.legend)
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
}
