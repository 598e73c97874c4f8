// `trident evaluate`: photos with known labels in, mIoU out.
import Application
import ArgumentParser
import Segmentation
import System

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
        trident evaluate --compare before.txt after.txt

      Label maps are PNGs of class numbers (grey or indexed, 8 or 16 bits); 255 is \
      ignored. --root is the folder that mmsegmentation prepares: VOC2012 (voc21, voc20), \
      VOC2010 (context60, context59), or the folder of COCO, ADE or Cityscapes. Numbers \
      are those of mmsegmentation: areas summed over all photos, means over classes that \
      occur. With --results a run that was ended goes on where it stopped; --shard 2/4 \
      does every fourth photo, from the second, --shard auto those of this process of a \
      Kubernetes Job, AWS Batch array or Slurm array.
      """)

  @OptionGroup(title: "Data") var dataFlags: DataFlags
  @OptionGroup(title: "Results") var resultFlags: ResultFlags
  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags

  func run() throws {
    if !resultFlags.compare.isEmpty {
      try compare()
    } else if resultFlags.merge.isEmpty {
      try evaluate()
    } else if resultFlags.report != nil {
      throw SegmentationError(
        .usage(
          "--report needs the photos: merge with --results, "
            + "then evaluate again with these results and --report"))
    } else {
      show(try EvaluateJob.merge(resultFlags.merge, results: resultFlags.results))
    }
  }

  private func compare() throws {
    guard resultFlags.compare.count == 2 else {
      throw SegmentationError(
        .usage("--compare takes two results files, as --results makes them: --compare before.txt after.txt"))
    }
    guard resultFlags.merge.isEmpty, resultFlags.results == nil, resultFlags.report == nil else {
      throw SegmentationError(.usage("--compare only reads; leave out --merge, --results and --report"))
    }
    let comparison = try ResultsComparison(resultFlags.compare[0], resultFlags.compare[1])
    print(resultFlags.json ? comparison.json.text() : comparison.table)
  }

  private func evaluate() throws {
    try EvaluateJob.checkOutputs(
      reading: classFlags.inputs(runtimeFlags, methodFlags), results: resultFlags.results,
      report: resultFlags.report)
    try methodFlags.check(classFlags, tells: false)
    let choice = try methodFlags.choice()
    let session = try runtimeFlags.open()
    let console = Console(quiet: resultFlags.quiet)
    if let file = choice?.file { console.note(file.remark) }
    let job = try EvaluateJob(
      session, classFlags.source(choice?.published),
      methodFlags.options(session, choice), dataFlags.data(), listener: console)
    let text = try job.run(results: resultFlags.results)
    show(text)
    if let path = resultFlags.report { try writeText(job.page(text), to: path) }
  }

  private func show(_ text: EvaluationText) { print(resultFlags.json ? text.json.text() : text.table) }
}

/// Photos and their labels.
struct DataFlags: ParsableArguments {
  @Option(help: "Folder of photos.", completion: .directory) var images: String?
  @Option(help: "Folder of label maps: a PNG of the same name for each photo.", completion: .directory)
  var labels: String?
  @Flag(help: "Label 0 is ignored and label 1 is the first class.") var reduceZeroLabel = false
  @Option(
    help: "Folder of the --preset's benchmark, instead of --images and --labels.", completion: .directory)
  var root: String?
  @Option(
    help: """
      Photos that EXIF turns: 'exif' turns them, 'stored' leaves them as they are stored, for label \
      maps that lie so. Default: exif, with a warning.
      """)
  var orientation: PhotoOrientation?
  @Option(help: "Only the first photos, by name.") var limit: Int?
  @Option(help: "I/N: only every N-th photo, from the I-th; auto: as the scheduler's environment says.")
  var shard: ShardFlag?

  func data() throws(SegmentationError) -> EvaluationData {
    var data = EvaluationData()
    (data.images, data.labels, data.root) = (images, labels, root)
    (data.reducesZeroLabel, data.limit) = (reduceZeroLabel, limit)
    data.turnsPhotos = orientation.map { $0 == .exif }
    if let shard { data.shard = try shard.shard() }
    return data
  }
}

/// Which way up photos are seen.
enum PhotoOrientation: String, ExpressibleByArgument, CaseIterable { case exif, stored }

/// Where results go.
struct ResultFlags: ParsableArguments {
  @Option(
    help: "Results photo by photo; a run with the same file and settings goes on where it stopped.",
    completion: .file())
  var results: String?
  @Option(
    parsing: .upToNextOption, help: "Results files of the parts of one run, to be counted together.",
    completion: .file())
  var merge: [String] = []
  @Option(
    parsing: .upToNextOption,
    help: "Two results files of the same photos: differences by class, and what of them is chance.",
    completion: .file())
  var compare: [String] = []
  @Option(
    help: "A page (.html) with all classes and the photos that went worst; these are segmented once more.",
    completion: .file())
  var report: String?
  @Flag(help: "One JSON object on standard output.") var json = false
  @Flag(name: .shortAndLong, help: "No progress.") var quiet = false
}
