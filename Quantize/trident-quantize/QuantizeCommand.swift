// Arguments, messages and exit codes of `trident-quantize`.

import ArgumentParser
import Glibc
import Quantization
import Segmentation
import System

/// Exit codes: 0 ok, 2 usage, 3 photo to calibrate with, 4 checkpoint or vocabulary, 6 output.
struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trident-quantize",
    abstract: "Turns published CLIP, DINO and SAM checkpoints into one INT8 model file.",
    discussion: """
      Checkpoints are read as downloaded: PyTorch (.pt, .pth, .bin) or .safetensors, or \
      Hugging Face's folder. \
      Nothing in them is executed, and Python is not needed. Every size is taken from the \
      tensors.

      EXAMPLE
        trident-quantize --clip ViT-B-16.pt \\
          --dino dino_vitbase16_pretrain.pth --sam sam_vit_b_01ec64.pth \\
          --vocab bpe_simple_vocab_16e6.txt.gz --output models/trident-b.gguf
        trident-quantize --clip ViT-B-16.pt --output models/clip-b.gguf
        trident-quantize --clip ViT-B-16.pt --without-text --output models/board.gguf
        trident-quantize --clip ViT-B-16.pt --text-only --output models/text.gguf
        trident-quantize --radio c-radio_v3-b_half.pth.tar --output models/radseg-b.gguf
        trident-quantize --radio c-radio_v3-b_half.pth.tar \\
          --sam sam_vit_h_4b8939.pth --output models/radseg-plus-b.gguf
        trident-quantize --siglip-text model.safetensors \\
          --tokenizer tokenizer.model --output models/siglip2-text.gguf
        trident-quantize --blip model_base_retrieval_coco.pth \\
          --vocab vocab.txt --output models/blip-base.gguf

      CLIP alone is what --method sc-clip needs; Trident needs all three. C-RADIO is for \
      --method radseg, whose words SigLIP 2's text tower turns into a vocabulary. BLIP is \
      for --method pnp-ovss and for trident match.

      WHICH ACTIVATION?
      OpenAI's own archives and Hugging Face folders say so themselves. For other files \
      name it:
        --activation quickgelu
            OpenAI weights saved again, MetaCLIP but for H/14, DFN but for
            L/14-39B, LAION-400M B/32
        --activation gelu
            LAION-2B, DataComp, LAION-400M B/16 and L/14, MetaCLIP H/14,
            DFN L/14-39B
      For a ViT-L/14 with gelu and nothing beside it, name mean and deviation of its pixels too: \
      LAION-2B's is the one published CLIP of this kind that has others than OpenAI's.
        --clip-mean 0.5,0.5,0.5 --clip-std 0.5,0.5,0.5    LAION-2B L/14

      CHANNEL SUPPRESSION
      --suppress-channels scales, in the MLPs of CLIP's image blocks 8 to 12 of 12, the one output \
      channel of the largest norm down to the mean norm of the others: GCLIP (arXiv 2502.06818), \
      known second-hand only. The report and `trident inspect` say which channels.

      WHAT LIES BESIDE A CHECKPOINT
      open_clip_config.json, config.json, preprocessor_config.json, tokenizer.json and \
      special_tokens_map.json in its folder tell activation, heads, mean and deviation of \
      pixels, and the ids of tokens; flags say otherwise. Of several copies of a network \
      in one file the teacher's, EMA's or momentum network's is taken, and said.

      The vocabulary may be bpe_simple_vocab_16e6.txt.gz, tokenizer.json or merges.txt; for \
      BLIP it is vocab.txt or tokenizer.json of bert-base-uncased. \
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

  @Flag(help: "Leave CLIP's text tower out: the board gets words as a vocabulary, and a smaller file.")
  var withoutText = false
  @Flag(help: "CLIP's text tower alone: it makes the vocabularies for files made --without-text.")
  var textOnly = false
  @Option(
    help: ArgumentHelp(
      "CLIP checkpoint: OpenAI, open_clip or Hugging Face names; or its folder.", valueName: "file"),
    completion: .file())
  var clip: String?
  @Option(
    help: ArgumentHelp(
      "DINO or DINOv2 checkpoint: a backbone, a whole training state, or Hugging Face names. "
        + "Without it: for methods that need none.",
      valueName: "file"), completion: .file())
  var dino: String?
  @Option(
    help: ArgumentHelp(
      "SAM checkpoint: the original or Hugging Face names. Without it: for methods that need none.",
      valueName: "file"), completion: .file())
  var sam: String?
  @Option(
    help: ArgumentHelp(
      "C-RADIO checkpoint with its heads (.pth.tar): for --method radseg. With --sam: for RADSeg+.",
      valueName: "file"),
    completion: .file())
  var radio: String?
  @Option(
    help: ArgumentHelp(
      "Keep C-RADIO's positions for windows of this side alone; RADSeg's is 336, and the file is 24 MB "
        + "smaller. Default: positions for every window.", valueName: "pixels"))
  var radioWindow: Int?
  @Option(
    help: ArgumentHelp(
      "SigLIP 2's model.safetensors, its index or folder: the text tower of C-RADIO's words, alone.",
      valueName: "file"), completion: .file())
  var siglipText: String?
  @Option(
    help: ArgumentHelp(
      "BLIP for image-text matching, base or large: Salesforce's .pth or Hugging Face's folder, alone.",
      valueName: "file"), completion: .file())
  var blip: String?
  @Option(
    help: ArgumentHelp(
      "SigLIP's tokenizer.model or tokenizer.json. Default: found beside the checkpoint.", valueName: "file"),
    completion: .file())
  var tokenizer: String?
  @Option(
    help: ArgumentHelp(
      "Byte-pair vocabulary; with --blip the word list. Default: found beside the checkpoint.",
      valueName: "file"),
    completion: .file())
  var vocab: String?
  @Option(
    name: [.short, .long], help: ArgumentHelp("Model file to write.", valueName: "file"), completion: .file())
  var output: String
  @Option(help: "CLIP's activation, where the checkpoint does not tell: quickgelu or gelu.")
  var activation: CLIPActivation?
  @Flag(
    help: ArgumentHelp(
      "Keep the last image block's MLP in a file of CLIP alone: patches never pass it, the class token's own "
        + "embedding does (the judge of `trident tune`)."))
  var keepLastMlp = false
  @Flag(
    help: "Suppress the loudest MLP channel of CLIP's image blocks 8-12 of 12, as GCLIP does (second-hand).")
  var suppressChannels = false
  @Option(
    help: ArgumentHelp(
      "Other blocks to suppress channels in, counted from 1; needed where CLIP has not 12.", valueName: "a-b")
  )
  var suppressBlocks: NamedBlocks?
  @Option(
    help: ArgumentHelp("Width of CLIP's image heads, where 64 (80 for H/14) is wrong.", valueName: "channels")
  )
  var clipHeadWidth: Int?
  @Option(
    help: ArgumentHelp(
      "Mean of CLIP's pixels from 0 to 1: three numbers. LAION-2B's L/14: 0.5,0.5,0.5.", valueName: "r,g,b"))
  var clipMean: ThreeNumbers?
  @Option(help: ArgumentHelp("Deviation of CLIP's pixels, with --clip-mean.", valueName: "r,g,b"))
  var clipStd: ThreeNumbers?
  @Option(help: ArgumentHelp("Width of CLIP's text heads, where 64 is wrong.", valueName: "channels"))
  var textHeadWidth: Int?
  @Option(help: ArgumentHelp("Width of DINO's heads, where 64 is wrong.", valueName: "channels"))
  var dinoHeadWidth: Int?
  @Option(
    help: ArgumentHelp(
      "How DINOv2's position table is resampled, where the checkpoint does not tell: step (torch hub "
        + "without registers), size (Hugging Face without), antialias (with registers; timm).",
      valueName: "rule"))
  var dinoPositions: PositionRule?
  @Option(help: ArgumentHelp("Of several copies of CLIP, the one whose names begin so.", valueName: "prefix"))
  var clipPrefix: String?
  @Option(help: ArgumentHelp("The same for DINO: student, teacher, state_dict_ema, ...", valueName: "prefix"))
  var dinoPrefix: String?
  @Option(help: ArgumentHelp("The same for SAM.", valueName: "prefix"))
  var samPrefix: String?
  @Option(
    help: ArgumentHelp("Folder of a few photos: balance outlier channels.", valueName: "folder"),
    completion: .directory)
  var calibrate: String?
  @Option(
    help: ArgumentHelp(
      "Class file of the words that training saw: of other words `segment` warns.", valueName: "file"),
    completion: .file())
  var words: String?
  @Option(help: ArgumentHelp("Name stored in the model. Default: from the files' names.", valueName: "text"))
  var name: String?
  @Option(help: ArgumentHelp("Also write the error table as JSON.", valueName: "file"), completion: .file())
  var report: String?
  @Flag(help: "Replace an existing output file.")
  var overwrite = false
  @Flag(name: [.short, .long], help: "No progress and no table.")
  var quiet = false

  func validate() throws {
    let heads = [
      ("--clip-head-width", clipHeadWidth), ("--text-head-width", textHeadWidth),
      ("--dino-head-width", dinoHeadWidth),
    ]
    for (flag, width) in heads {
      if let width, !(1...1024).contains(width) {
        throw ValidationError("\(flag) must lie between 1 and 1024.")
      }
    }
    guard (clipMean == nil) == (clipStd == nil) else {
      throw ValidationError("--clip-mean and --clip-std belong together.")
    }
    if let clipMean, let clipStd, !PixelStatistics.isPlausible(clipMean.value, clipStd.value) {
      throw ValidationError("--clip-mean and --clip-std are of pixels from 0 to 1, not 0 to 255.")
    }
    try checkTowers()
    if output.isEmpty { throw ValidationError("--output needs a file name.") }
    if radioWindow != nil && (radio == nil || sam != nil) {
      throw ValidationError(
        "--radio-window belongs to --radio, without --sam: RADSeg+ takes the photo in one pass of any side.")
    }
    if dinoPositions != nil && dino == nil { throw ValidationError("--dino-positions belongs to --dino.") }
    if tokenizer != nil && siglipText == nil {
      throw ValidationError("--tokenizer belongs to --siglip-text; CLIP's vocabulary is --vocab.")
    }
    if [radio, siglipText, blip].count(where: { $0 != nil }) > 1 {
      throw ValidationError("--radio, --siglip-text and --blip make a model file each.")
    }
    if blip != nil {
      if [clip, dino, sam, calibrate].contains(where: { $0 != nil }) {
        throw ValidationError(
          "--blip makes a model of its own: leave out --clip, --dino, --sam and --calibrate.")
      }
    } else if radio == nil && siglipText == nil {
      if clip == nil {
        throw ValidationError(
          "Missing expected argument '--clip <file>' (or --radio, --siglip-text or --blip alone).")
      }
      if calibrate != nil && (dino == nil || sam == nil) {
        throw ValidationError(
          "--calibrate takes photos through CLIP, DINO and SAM: give all three checkpoints.")
      }
    } else if [clip, dino, vocab, radio == nil ? sam : nil].contains(where: { $0 != nil })
      || calibrate != nil
    {
      let rest = "leave out --clip, --dino, --vocab and --calibrate"
      throw ValidationError(
        radio != nil
          ? "--radio makes a model of its own, with --sam at most: \(rest)."
          : "--siglip-text makes a model of its own: \(rest), and --sam.")
    }
    try checkFiles()
  }

  /// One tower of CLIP goes with some of the other flags only.
  private func checkTowers() throws {
    if withoutText || textOnly {
      let flag = withoutText ? "--without-text" : "--text-only"
      guard clip != nil, withoutText != textOnly else {
        throw ValidationError(
          "\(flag) belongs to --clip, without the other of --without-text and --text-only.")
      }
      if calibrate != nil {
        throw ValidationError("--calibrate takes words and photos through all networks: not with \(flag).")
      }
      if textOnly && (dino != nil || sam != nil) {
        throw ValidationError("--text-only makes a file of CLIP's text tower: leave out --dino and --sam.")
      }
    }
    if keepLastMlp && (clip == nil || textOnly) {
      throw ValidationError("--keep-last-mlp is for CLIP's image tower: give --clip, without --text-only.")
    }
    if suppressBlocks != nil && !suppressChannels {
      throw ValidationError("--suppress-blocks says where --suppress-channels works: give both.")
    }
    if suppressChannels && (clip == nil || textOnly) {
      throw ValidationError(
        "--suppress-channels is for CLIP's image tower: give --clip, without --text-only.")
    }
  }

  /// Outputs replace nothing that is read: checkpoints, the vocabulary beside one, photos.
  private func checkFiles() throws {
    /// Of a folder the checkpoint in it.
    func file(_ path: String) -> String { (try? CheckpointFolder.file(path)) ?? path }
    var inputs = [clip, dino, sam, radio, siglipText, blip].compactMap { $0.map(file) }
    inputs += [tokenizer, vocab].compactMap { $0 }
    if vocab == nil, !withoutText, let clip, let found = BytePairSource.find(besideCheckpoint: file(clip)) {
      inputs.append(found)
    }
    if let calibrate, let names = try? Folder.names(in: calibrate, endings: PhotoFile.endings) {
      inputs += names.map { "\(calibrate)/\($0)" }
    }
    var files = RunFiles()
    for path in inputs { files.read(path) }
    do throws(RunFiles.Conflict) { try files.write(output) } catch {
      throw ValidationError("--output names one of the inputs.")
    }
    guard let report else { return }
    do throws(RunFiles.Conflict) { try files.write(report) } catch {
      throw ValidationError("--report names one of the other files.")
    }
  }

  func run() throws {
    if !overwrite {
      for path in [output] + [report].compactMap({ $0 }) where fileExists(path) {
        standardError("trident-quantize: error: \(path): file exists already; --overwrite replaces it\n")
        throw ExitCode(6)
      }
    }
    var request = QuantizationRequest(clip: clip ?? "", dino: dino, sam: sam, output: output)
    request.towers = textOnly ? .text : withoutText ? .image : .both
    request.radio = radio
    request.siglipText = siglipText
    request.blip = blip
    request.vocabulary = siglipText == nil ? vocab : tokenizer
    request.activation = activation
    request.clipHeadWidth = clipHeadWidth
    (request.textHeadWidth, request.dinoHeadWidth) = (textHeadWidth, dinoHeadWidth)
    request.dinoPositions = dinoPositions
    request.radioWindow = radioWindow
    (request.clipMean, request.clipDeviation) = (clipMean?.value, clipStd?.value)
    (request.clipPrefix, request.dinoPrefix, request.samPrefix) = (clipPrefix, dinoPrefix, samPrefix)
    request.keepsLastMLP = keepLastMlp
    if suppressChannels { request.suppressed = suppressBlocks.map { .named($0.value) } ?? .published }
    (request.name, request.words) = (name, words)
    request.calibration = calibrate
    request.overwrite = overwrite
    Signals.prepare()
    let table = try report.map { path throws(ExitCode) in
      try written { () throws(SystemError) in try AtomicFile(path: path) }
    }
    let meter = ProgressMeter(quiet: quiet, isPerStage: true)
    let result: QuantizationReport
    do throws(QuantizationFailure) {
      defer { meter.finish() }
      let quantizer = try ModelQuantizer(request) { meter.show($0) }
      for note in quantizer.notes { standardError("trident-quantize: \(printable(note, limit: 1000))\n") }
      result = try quantizer.run()
    } catch {
      standardError("trident-quantize: error: \(error)\n")
      switch error {
      case .output: throw ExitCode(6)
      case .photo: throw ExitCode(3)
      case .source, .run: throw ExitCode(4)
      }
    }
    if let table {
      try written { () throws(SystemError) in
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
  private func written<Result>(_ body: () throws(SystemError) -> Result) throws(ExitCode) -> Result {
    do throws(SystemError) { return try body() } catch {
      standardError("trident-quantize: error: \(error)\n")
      throw ExitCode(6)
    }
  }
}

extension ProgressMeter {
  fileprivate func show(_ progress: QuantizationProgress) {
    let word =
      switch progress.stage {
      case .hashing: "hashing"
      case .writing: "quantizing"
      case .calibrating: "calibrating"
      }
    let share = progress.total > 0 ? Double(progress.done) / Double(progress.total) : 1
    show(word, share, detail: " " + printable(progress.name, limit: 60))
  }
}

extension QuantizeCommand {
  /// Usage errors end with 2, as in every program of this package; ArgumentParser's own code is 64.
  static func main() {
    do {
      var command = try parseAsRoot(programArguments)
      try command.run()
    } catch {
      let code = exitCode(for: error)
      guard code == .validationFailure else { exit(withError: error) }
      let text = fullMessage(for: error)
      let named = text.hasPrefix("Error: ") ? "trident-quantize: error: " + String(text.dropFirst(7)) : text
      standardError(named + "\n")
      Glibc.exit(2)
    }
  }
}
