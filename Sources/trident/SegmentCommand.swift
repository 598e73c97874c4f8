// `trident segment`: photos and class names in, label maps out.
import Application
import ArgumentParser
import Segmentation
import System

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
      outputs name folders. Files of a folder are judged by what is in them, not by their \
      names; what is no photo is counted and named. Photos that are done there, with the \
      same model, classes and options, are skipped; maps that anything else made are not \
      replaced unless --overwrite says so. '-' is standard input as a photo, standard \
      output as an output.

      Many processes share a list of photos, each with a --shard of it, and leave parts:
        trident segment -m demo.gguf --classes words.txt --list photos.txt \\
          --shard 1/64 --parts parts/

      --help-all shows every option: those of the papers, and of many processes.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Output") var outputFlags: OutputFlags
  @OptionGroup(title: "Pictures") var pictureFlags: PictureFlags
  @OptionGroup(title: "Many processes", visibility: .hidden) var fleetFlags: FleetFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags

  @Argument(help: "Photos (JPEG, PNG, PPM) or folders of them.", completion: .file()) var photos: [String] =
    []

  func run() throws {
    try fleetFlags.prepare(photos, overwrites: outputFlags.overwrite)
    let formats = fleetFlags.tar == nil ? [] : try TarJob.formats(fleetFlags.tarFormats)
    let tellsConfidence = (outputFlags.targets.map(\.format) + formats).tellConfidence
    // Parts hold confidences, for whatever they are merged into.
    try methodFlags.check(classFlags, tells: tellsConfidence || fleetFlags.parts != nil)
    if let folder = fleetFlags.parts { return try runShard(folder) }
    if let input = fleetFlags.tar, let output = fleetFlags.tarOutput { return try runTar(input, output) }
    let (job, paths) = try makeJob()
    do {
      try job.run { report in
        if outputFlags.json {
          print(report.json.text(indent: paths.isMany ? -1 : 0))
        } else if !outputFlags.quiet && !paths.writesStandardOutput {
          print(report.summary(paths.files(of: report.photo)))
        }
      } failed: { photo, error in
        if outputFlags.json { print(error.json(photo: photo).text(indent: -1)) }
      } ended: { tally in
        if outputFlags.json {
          print(tally.json.text(indent: -1))
        } else if !outputFlags.quiet {
          print(tally.text)
        }
      }
    } catch let error as SegmentationError {
      // One photo of one: whoever reads lines gets one, too.
      if outputFlags.json, !paths.isMany, [3, 5].contains(error.exitCode), let photo = paths.photos.first {
        print(error.json(photo: photo).text(indent: -1))
      }
      throw error
    }
  }

  /// The photos of the command, ready to run, and where their outputs go.
  private func makeJob() throws -> (SegmentJob, OutputPaths) {
    let targets = outputFlags.targets
    if targets.isEmpty && !outputFlags.json {
      throw SegmentationError(
        .usage("nothing to write: give --output labels.png (or --overlay, --scores, --json)"))
    }
    let style = try pictureFlags.style()
    let inputs = try classFlags.inputs(runtimeFlags, methodFlags) + [pictureFlags.file].compactMap { $0 }
    let paths = try outputFlags.paths(photos, inputs, classFlags)
    let job = SegmentJob(
      try PhotoJob(runtimeFlags, classFlags, methodFlags, style, quiet: outputFlags.quiet), paths,
      measures: outputFlags.json, overwrites: outputFlags.overwrite)
    return (job, paths)
  }
}

/// Where results go: a flag a format, whose help is the format's.
package struct OutputFlags: ParsableArguments {
  @Option(name: .shortAndLong, help: .format(.labelMap), completion: .file()) var output: String?
  @Option(help: .format(.overlay), completion: .file()) var overlay: String?
  @Option(help: .format(.confidence), completion: .file()) var confidence: String?
  @Option(help: .format(.scores), completion: .file()) var scores: String?
  @Option(help: .format(.csv), completion: .file())
  var csv: String?
  @Option(help: .format(.coco), completion: .file())
  var coco: String?
  @Option(help: .format(.masks), completion: .directory)
  var masks: String?
  @Option(help: .format(.instances), completion: .file())
  var instances: String?
  @Option(help: .format(.yolo), completion: .directory)
  var yolo: String?
  @Option(help: .format(.labelMe), completion: .directory)
  var labelme: String?
  @Option(help: .format(.cvat), completion: .file())
  var cvat: String?
  @Option(help: .format(.gdal), completion: .file())
  var gdal: String?
  @Option(help: .hidden) var taps: String?
  @Flag(help: "A JSON object a photo on standard output, and of several one more at the end.")
  var json = false
  @Flag(help: "Photos in folders inside folders, too; results keep the folders.") var recursive = false
  @Flag(help: "Do again what is done in a folder, and replace files that anything else made.")
  var overwrite = false
  @Flag(name: .shortAndLong, help: "No progress, no summary.") var quiet = false

  package init() {}

  /// The formats that were asked for.
  package var targets: [OutputTarget] {
    let named = [
      (ResultFormat.labelMap, output), (.overlay, overlay), (.confidence, confidence), (.scores, scores),
      (.csv, csv), (.coco, coco),
      (.masks, masks), (.instances, instances), (.yolo, yolo), (.labelMe, labelme), (.cvat, cvat),
      (.gdal, gdal), (.taps, taps),
    ]
    return named.compactMap { format, path in path.map { OutputTarget(format, $0) } }
  }

  /// `drawing`: an SVG that is written beside the photos' outputs.
  /// `inputs`: what a run reads beside its photos.
  func paths(
    _ photos: [String], _ inputs: [String], _ classes: ClassFlags, drawing: String? = nil
  ) throws -> OutputPaths {
    try classes.checkWords(photos)
    return try OutputPaths(
      photos: photos, recursive: recursive, others: inputs, targets: targets,
      printsJSON: json, drawing: drawing, overwrites: overwrite)
  }
}

extension ClassFlags {
  /// Files that a run reads beside its photos.
  func inputs(_ runtime: RuntimeFlags, _ method: MethodFlags) throws -> [String] {
    let preset = method.preset.flatMap { SegmentOptions.Preset(rawValue: $0) == nil ? $0 : nil }
    return [
      try modelPath(runtime.model), words.file, vocabulary, presentFile, presenceModel, preset,
      TemplateList.file(words.templates),
    ].compactMap { $0 }
  }

  /// Words that were meant for --class and came to stand among the photos.
  ///
  /// - Errors: `.usage`, before anything is made.
  func checkWords(_ photos: [String]) throws(SegmentationError) {
    if words.file == "-" && photos.contains("-") {
      throw SegmentationError(.usage("'-' is standard input, and cannot be both photo and --classes"))
    }
    guard let last = words.phrases.last else { return }
    let missing = photos.filter { $0 != "-" && !fileExists($0) && !$0.contains("/") && !$0.contains(".") }
    guard let word = missing.first else { return }
    throw SegmentationError(
      .usage(
        "there is no photo '\(word)'; for a class of several words quote them (--class \"\(last) \(word)\"), "
          + "for more classes repeat --class (--class \"\(last)\" --class \"\(word)\")"))
  }
}

extension ArgumentHelp {
  /// The help of a format's flag.
  static func format(_ format: ResultFormat) -> ArgumentHelp { ArgumentHelp(stringLiteral: format.help) }
}
