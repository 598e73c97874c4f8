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

      A name ending in .npz writes NumPy arrays. The file works with the model that made it and no other.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @Option(
    help: "The classes of a published configuration, or of the one that a preset file starts from.",
    completion: .file(extensions: ["json"]))
  var preset: String?
  @Option(name: .shortAndLong, help: "Vocabulary to write: .tvoc or .npz.", completion: .file())
  var output: String
  @Option(help: "Arithmetic (int8); float32 is the reference and needs OpenBLAS.")
  var precision: PrecisionChoice = .int8
  @Flag(help: "One JSON object on standard output.") var json = false
  @Flag(name: .shortAndLong, help: "No progress, no summary.") var quiet = false

  func run() throws {
    let job = try TextJob(
      classFlags.source(try preset.map { try PresetChoice($0) }?.published), output: output,
      model: modelPath(runtimeFlags.model))
    let report = try job.run(runtimeFlags.open(), precision, measures: json, listener: Console(quiet: quiet))
    if json {
      print(report.json.text())
    } else if !quiet {
      print(report.summary)
    }
  }
}
