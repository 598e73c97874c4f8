// `trident text`: class names in, a file of text vectors out.
import ArgumentParser
import Segmentation

struct TextCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "text", abstract: "Encodes classes once, for 'segment --vocabulary'.",
    discussion: """
      Example:
        trident text -m demo.gguf --classes words.txt -o words.tvoc

      A name ending in .npz writes NumPy arrays. The file works with the model that made it and no other.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @Option(help: "The classes of a published configuration.")
  var preset: SegmentOptions.Preset?
  @Option(name: .shortAndLong, help: "Vocabulary to write: .tvoc or .npz.", completion: .file())
  var output: String
  @Option(help: "Arithmetic (int8); float32 is the reference and needs OpenBLAS.")
  var precision: PrecisionChoice = .int8
  @Flag(help: "One JSON object on standard output.")
  var json = false
  @Flag(name: .shortAndLong, help: "No progress, no summary.")
  var quiet = false

  func run() throws {
    guard output.hasSuffix(".tvoc") || output.hasSuffix(".npz") else {
      throw SegmentationError(.usage("--output '\(output)' ends in neither .tvoc nor .npz"))
    }
    guard classFlags.vocabulary == nil else {
      throw SegmentationError(.usage("--vocabulary is what this command makes; give --class or --classes"))
    }
    let start = monotonicSeconds()
    let session = try runtimeFlags.open()
    let words = try Words(classFlags, preset: preset, session: session)
    let meter = ProgressMeter(quiet: quiet)
    let (vectors, report) = try words.vectors(session, precision, measures: json, meter)
    let vocabulary = Vocabulary(
      classes: words.classes, width: session.embedWidth, vectors: vectors, modelID: session.modelIdentity)
    try VocabularyFile.write(vocabulary, path: output)
    let seconds = monotonicSeconds() - start
    let encoded = report.map { $0.vectors.count / session.embedWidth } ?? 0
    if json {
      print(
        JSON.object([
          ("output", .string(output)), ("classes", .int(words.names.count)), ("phrases", .int(words.phrases.count)),
          ("encoded", .int(encoded)), ("width", .int(session.embedWidth)),
          ("model_id", .string(session.modelIdentity)), ("seconds", .number(seconds)),
          ("stages", .array((report?.stages ?? []).map(RunDescription.stage))),
        ]).text())
    } else if !quiet {
      print(
        "\(output): \(words.names.count) classes, \(words.phrases.count) phrases "
          + "(\(encoded) encoded, \(words.phrases.count - encoded) from the cache), \(fixed(seconds, 2)) s")
    }
  }
}
