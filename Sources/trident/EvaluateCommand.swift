// `trident evaluate`: photos with known labels in, mIoU out.
import ArgumentParser
import Compute
import Evaluation
import Raster
import Segmentation

struct EvaluateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate", abstract: "Segments labelled photos and measures mIoU.",
    discussion: """
      Examples:
        trident evaluate -m demo.gguf --images scenes/images \\
          --labels scenes/labels --classes words.txt
        trident evaluate -m b16.gguf --preset voc21 --root VOCdevkit/VOC2012 \\
          --results voc21.txt --report voc21.html
        trident evaluate --merge part1.txt part2.txt --results voc21.txt

      Label maps are PNGs of class numbers (grey or indexed, 8 or 16 bits); 255 is \
      ignored. --root is the folder that mmsegmentation prepares: VOC2012 (voc21, voc20), \
      VOC2010 (context60, context59), or the folder of COCO, ADE or Cityscapes. Numbers \
      are those of mmsegmentation: areas summed over all photos, means over classes that \
      occur. With --results a run that was ended goes on where it stopped; --shard 2/4 \
      does every fourth photo, from the second.
      """)

  @OptionGroup(title: "Data") var dataFlags: DataFlags
  @OptionGroup(title: "Results") var resultFlags: ResultFlags
  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags

  func run() throws {
    if resultFlags.merge.isEmpty {
      try evaluate()
    } else {
      try merge()
    }
  }

  private func evaluate() throws {
    let evaluator = try Evaluator(
      session: runtimeFlags.open(), data: dataFlags, results: resultFlags, classes: classFlags, method: methodFlags)
    try evaluator.run()
    let text = EvaluationText(header: evaluator.header, summary: evaluator.summary)
    print(resultFlags.json ? text.json.text() : text.table)
    guard let path = resultFlags.report else { return }
    var page = EvaluationPage(text: text)
    try evaluator.draw { page.add($0) }
    try writeText(page.html, to: path)
  }

  private func merge() throws {
    if resultFlags.report != nil {
      throw SegmentationError(
        .usage("--report needs the photos: merge with --results, then evaluate again with these results and --report"))
    }
    do {
      let output = try resultFlags.results.map { try AtomicFile(path: $0) }
      let merged = try ResultsMerge(paths: resultFlags.merge, output: output)
      try output?.finish()
      let text = EvaluationText(header: merged.header, summary: merged.summary)
      print(resultFlags.json ? text.json.text() : text.table)
    } catch let error as RasterError {
      throw SegmentationError(.output(error.description))
    }
  }
}

/// Photos and their labels.
struct DataFlags: ParsableArguments {
  @Option(help: "Folder of photos.", completion: .directory)
  var images: String?
  @Option(help: "Folder of label maps: a PNG of the same name for each photo.", completion: .directory)
  var labels: String?
  @Flag(help: "Label 0 is ignored and label 1 is the first class.")
  var reduceZeroLabel = false
  @Option(help: "Folder of the --preset's benchmark, instead of --images and --labels.", completion: .directory)
  var root: String?
  @Option(help: "Only the first photos, by name.")
  var limit: Int?
  @Option(help: "I/N: only every N-th photo, from the I-th.")
  var shard: Shard?

  /// - Errors: `.usage` for flags that are missing or contradict each other; those of `EvaluationSet`.
  func set(_ preset: SegmentOptions.Preset?) throws(SegmentationError) -> (name: String, set: EvaluationSet) {
    func refuse(_ text: String) -> SegmentationError { SegmentationError(.usage(text)) }
    if let limit, limit < 1 { throw refuse("--limit \(limit) is below 1") }
    if let root {
      guard let preset else { throw refuse("--root needs --preset: which benchmark is it?") }
      guard images == nil, labels == nil, !reduceZeroLabel else {
        throw refuse("--root stands for --images, --labels and --reduce-zero-label; leave them out")
      }
      return (preset.rawValue, try EvaluationSet(Benchmark(preset), root: root))
    }
    guard let images, let labels else { throw refuse("give --images and --labels, or --preset and --root") }
    let rule = reduceZeroLabel ? LabelRule.zeroDropped : .plain
    return ("folder", try EvaluationSet(images: images, labels: labels, rule: rule))
  }
}

/// A part of a split, such as 2/4.
struct Shard: ExpressibleByArgument {
  var index: Int
  var count: Int

  init?(argument: String) {
    let parts = argument.split(separator: "/", omittingEmptySubsequences: false).compactMap { Int($0) }
    guard parts.count == 2, (1...1_000_000).contains(parts[1]), (1...parts[1]).contains(parts[0]) else { return nil }
    (index, count) = (parts[0] - 1, parts[1])
  }
}

/// Where results go.
struct ResultFlags: ParsableArguments {
  @Option(help: "Results photo by photo; a run with the same file and settings goes on where it stopped.", completion: .file())
  var results: String?
  @Option(parsing: .upToNextOption, help: "Results files of the parts of one run, to be counted together.", completion: .file())
  var merge: [String] = []
  @Option(help: "A page (.html) with all classes and the photos that went worst; these are segmented once more.", completion: .file())
  var report: String?
  @Flag(help: "One JSON object on standard output.")
  var json = false
  @Flag(name: .shortAndLong, help: "No progress.")
  var quiet = false
}
