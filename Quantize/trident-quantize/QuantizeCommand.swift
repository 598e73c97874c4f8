// Arguments, messages and exit codes of `trident-quantize`.

import ArgumentParser
import Glibc
import Quantization
import Raster
import Segmentation

extension CLIPActivation: ExpressibleByArgument {}

/// Exit codes: 0 ok, 2 usage, 3 photo to calibrate with, 4 checkpoint or vocabulary, 6 output.
struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trident-quantize",
    abstract: "Turns published CLIP, DINO and SAM checkpoints into one INT8 model file.",
    discussion: """
      Checkpoints are read as downloaded: PyTorch (.pt, .pth, .bin) or .safetensors. \
      Nothing in them is executed, and Python is not needed. Every size is taken from the \
      tensors.

      EXAMPLE
        trident-quantize --clip ViT-B-16.pt \\
          --dino dino_vitbase16_pretrain.pth --sam sam_vit_b_01ec64.pth \\
          --vocab bpe_simple_vocab_16e6.txt.gz --output models/trident-b.gguf

      WHICH ACTIVATION?
      OpenAI's own archives and Hugging Face folders say so themselves. For other files \
      name it:
        --activation quickgelu   OpenAI weights saved again, MetaCLIP, DFN
        --activation gelu        LAION and most others trained with open_clip

      The vocabulary may be bpe_simple_vocab_16e6.txt.gz, tokenizer.json or merges.txt. \
      Addresses and checksums of all published checkpoints are in models/README.md; \
      `make models` downloads them.

      CALIBRATION
      --calibrate photos/ runs the finished networks on up to 16 photos of the folder (by \
      name; JPEG, PNG or PPM) and then quantizes again, outlier channels shared between \
      norms and the weights behind them. It takes the time and memory of segmenting them, \
      and the disk space of a second model file.

      EXIT CODES
        0 done   2 wrong usage   3 a photo is unusable
        4 a checkpoint or vocabulary is unusable   6 the output cannot be written
      """,
    version: "trident \(Trident.version)")

  @Option(help: ArgumentHelp("CLIP checkpoint: OpenAI, open_clip or Hugging Face names.", valueName: "file"), completion: .file())
  var clip: String
  @Option(help: ArgumentHelp("DINO checkpoint: a backbone, a whole training state, or Hugging Face names.", valueName: "file"), completion: .file())
  var dino: String
  @Option(help: ArgumentHelp("SAM checkpoint: the original or Hugging Face names.", valueName: "file"), completion: .file())
  var sam: String
  @Option(
    help: ArgumentHelp("Byte-pair vocabulary. Default: found beside the CLIP checkpoint.", valueName: "file"), completion: .file())
  var vocab: String?
  @Option(name: [.short, .long], help: ArgumentHelp("Model file to write.", valueName: "file"), completion: .file())
  var output: String
  @Option(help: "CLIP's activation, where the checkpoint does not tell: quickgelu or gelu.")
  var activation: CLIPActivation?
  @Option(
    help: ArgumentHelp("Width of CLIP's image heads, where 64 (80 for H/14) is wrong.", valueName: "channels")
  )
  var clipHeadWidth: Int?
  @Option(help: ArgumentHelp("Folder of a few photos: balance outlier channels.", valueName: "folder"), completion: .directory)
  var calibrate: String?
  @Option(help: ArgumentHelp("Name stored in the model. Default: from the files' names.", valueName: "text"))
  var name: String?
  @Option(help: ArgumentHelp("Also write the error table as JSON.", valueName: "file"), completion: .file())
  var report: String?
  @Flag(help: "Replace an existing output file.")
  var overwrite = false
  @Flag(name: [.short, .long], help: "No progress and no table.")
  var quiet = false

  func validate() throws {
    if let clipHeadWidth, !(1...1024).contains(clipHeadWidth) {
      throw ValidationError("--clip-head-width must lie between 1 and 1024.")
    }
    if output.isEmpty { throw ValidationError("--output needs a file name.") }
    let inputs = [clip, dino, sam] + [vocab].compactMap { $0 }
    if inputs.contains(where: { Self.isSame($0, output) }) {
      throw ValidationError("--output names one of the inputs.")
    }
    if let report, (inputs + [output]).contains(where: { Self.isSame($0, report) }) {
      throw ValidationError("--report names one of the other files.")
    }
  }

  /// Two names of one file.
  private static func isSame(_ a: String, _ b: String) -> Bool {
    var (first, second) = (stat(), stat())
    guard stat(a, &first) == 0, stat(b, &second) == 0 else { return a == b }
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino
  }

  func run() throws {
    if !overwrite {
      for path in [output] + [report].compactMap({ $0 }) where access(path, F_OK) == 0 {
        Self.say("trident-quantize: error: \(path): file exists already; --overwrite replaces it\n")
        throw ExitCode(6)
      }
    }
    var request = QuantizationRequest(clip: clip, dino: dino, sam: sam, output: output)
    request.vocabulary = vocab
    request.activation = activation
    request.clipHeadWidth = clipHeadWidth
    request.name = name
    request.calibration = calibrate
    request.overwrite = overwrite
    Interruption.prepare()
    let table = try report.map { path throws(ExitCode) in try written { () throws(RasterError) in try AtomicFile(path: path) } }
    let meter = ProgressMeter(isQuiet: quiet)
    let result: QuantizationReport
    do throws(QuantizationFailure) {
      let quantizer = try ModelQuantizer(request) { meter.show($0) }
      result = try quantizer.run { Interruption.writes($0) }
      Interruption.writes(nil)
      meter.end()
    } catch {
      meter.end()
      Self.say("trident-quantize: error: \(error)\n")
      switch error {
      case .output: throw ExitCode(6)
      case .photo: throw ExitCode(3)
      case .source, .run: throw ExitCode(4)
      }
    }
    if let table {
      try written { () throws(RasterError) in
        try table.write(result.json)
        try table.finish()
      }
    }
    if !quiet {
      print(result.table, terminator: "")
      print("\(output): \(result.outputByteCount) bytes")
    }
  }

  /// - Errors: exit code 6, after the reason was said.
  private func written<Result>(_ body: () throws(RasterError) -> Result) throws(ExitCode) -> Result {
    do throws(RasterError) { return try body() } catch {
      Self.say("trident-quantize: error: \(error)\n")
      throw ExitCode(6)
    }
  }

  /// Writes to the standard error stream.
  static func say(_ text: String) {
    let bytes = Array(text.utf8)
    _ = Glibc.write(2, bytes, bytes.count)
  }
}

extension QuantizeCommand {
  /// Usage errors end with 2, as in every program of this package; ArgumentParser's own code is 64.
  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      let code = exitCode(for: error)
      guard code == .validationFailure else { exit(withError: error) }
      let text = fullMessage(for: error)
      let named = text.hasPrefix("Error: ") ? "trident-quantize: error: " + String(text.dropFirst(7)) : text
      say(named + "\n")
      Glibc.exit(2)
    }
  }
}
