// `trident text`: class names in, a file of text vectors out.
import Application
import ArgumentParser
import Segmentation
import System

struct TextCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "text", abstract: "Encodes classes once, for 'segment --vocabulary'.",
    discussion: """
      Example:
        trident text -m demo.gguf --classes words.txt -o words.tvoc
        trident text -m demo.gguf --classes words.txt --choose-templates photos/ -o words.tvoc
        trident text -m demo.gguf --classes more.txt --extend words.tvoc -o more.tvoc

      A name ending in .npz writes NumPy arrays. The file works with the model that made it and no other.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: WordFlags
  @Option(
    help: "The classes of a published configuration, or of the one that a preset file starts from.",
    completion: .file(extensions: ["json"]))
  var preset: String?
  @Option(name: .shortAndLong, help: "Vocabulary to write: .tvoc or .npz.", completion: .file())
  var output: String
  @Option(
    help: """
      Photos, without labels: each class gets those four of the 80 templates that are surest of it there, \
      by the model's own method.
      """, completion: .directory)
  var chooseTemplates: String?
  @Option(
    help: """
      A vocabulary of the same model: words that it has are taken from it, the others are encoded, those \
      that are not named any more are left out.
      """, completion: .file(extensions: ["tvoc", "npz"]))
  var extend: String?
  @Option(help: "Arithmetic (int8); float32 is the reference and needs OpenBLAS.")
  var precision: PrecisionChoice = .int8
  @Flag(help: "One JSON object on standard output.") var json = false
  @Flag(name: .shortAndLong, help: "No progress, no summary.") var quiet = false

  func run() throws {
    if let photos = chooseTemplates {
      try choose(photos)
      return
    }
    let job = try TextJob(
      classFlags.source(try preset.map { try PresetChoice($0) }?.published), output: output,
      model: modelPath(runtimeFlags.model), extending: extend)
    let report = try job.run(runtimeFlags.open(), precision, measures: json, listener: Console(quiet: quiet))
    if json {
      print(report.json.text())
    } else if !quiet {
      print(report.summary)
    }
  }

  private func choose(_ photos: String) throws {
    guard extend == nil else {
      throw SegmentationError(.usage("give either --extend or --choose-templates, not both"))
    }
    let choice = try preset.map { try PresetChoice($0) }
    let job = try TemplateJob(
      classFlags.source(choice?.published), photos: photos, output: output,
      model: modelPath(runtimeFlags.model))
    let session = try runtimeFlags.open()
    var options = try choice.options(session.method, depth: session.clipDepth)
    (options.precision, options.refinement) = (precision, .none)
    let report = try job.run(session, options, listener: Console(quiet: quiet))
    if json {
      print(report.json.text())
    } else if !quiet {
      print(report.summary)
    }
  }
}
