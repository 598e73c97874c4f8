// `trident match`: a photo and texts in, how well they fit out.
import Application
import ArgumentParser
import Segmentation
import System

struct MatchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "match", abstract: "Tells how well texts fit a photo, with a BLIP model.",
    discussion: """
      Example:
        trident match -m blip-base.gguf photo.jpg "a cat on a sofa" "a dog"

      match is the probability that text and photo belong together, seen side by side \
      (ITM); cosine compares both seen alone (ITC). trident-quantize --blip makes the model.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @Option(help: "Side of the square that the photo is squeezed to, pixels (the model's own).") var side: Int?
  @Option(help: "Arithmetic (int8); float32 is the reference and needs OpenBLAS.")
  var precision: PrecisionChoice = .int8
  @Flag(help: "One JSON object on standard output.") var json = false
  @Flag(name: .shortAndLong, help: "No progress.") var quiet = false
  @Argument(help: "Photo (JPEG, PNG, PPM).", completion: .file()) var photo: String
  @Argument(help: "Texts to compare it with.") var texts: [String]

  func run() throws {
    if let side, side < 1 { throw SegmentationError(.usage("--side \(side) is below 1")) }
    let report = try MatchJob(try runtimeFlags.open(), texts, side: side ?? 0, precision).run(
      photo, measures: json, listener: Console(quiet: quiet))
    print(json ? report.json.text() : report.table)
  }
}
