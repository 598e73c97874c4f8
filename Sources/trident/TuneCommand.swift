// `trident tune`: photos and which classes they show in, a preset file out.
import Application
import ArgumentParser
import Segmentation
import System

extension RewardRule: ExpressibleByArgument {}

struct TuneCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tune", abstract: "Finds options for your photos without labels: CLIP judges the masks.",
    discussion: """
      Examples:
        trident tune -m b16.gguf --classes words.txt --photos photos/ \\
          --present present.txt --trials 34 --seed 0 -o mine.json
        trident segment -m b16.gguf --classes words.txt --preset mine.json photo.jpg -o labels.png

      present.txt says which classes a photo shows: lines 'photo.jpg: name, name'. A \
      setting earns a point for each of them that CLIP knows better behind the setting's \
      mask of it than in the dark; ties go to the larger difference between the mask and \
      the rest of the photo. Settings are drawn by chance from a grid, the one that the \
      options give first; the same seed gives the same. A search that was ended goes on \
      where it stopped, by the journal beside the output (mine.json.journal).

      CLIP is the model file's own where it has one. Then the judge is the network that \
      made the masks, and likes what it knows: look at the result before you trust it. \
      BLIP and C-RADIO files need --clip.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Search") var searchFlags: SearchFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags

  func run() throws {
    guard classFlags.presenceModel == nil else {
      throw SegmentationError(
        .usage("--presence-model: tuning asks no other model; list the classes with --present"))
    }
    try methodFlags.check(classFlags, tells: false)
    var request = try searchFlags.request(present: classFlags.present)
    let choice = try methodFlags.choice()
    let clip = try searchFlags.clip.map { try modelPath($0) }
    request.inputs = try classFlags.inputs(runtimeFlags, methodFlags) + [clip].compactMap { $0 }
    let console = Console(quiet: searchFlags.quiet)
    let session = try runtimeFlags.open()
    let judge = try clip.map { try runtimeFlags.open($0) }
    if let file = choice?.file { console.note(file.remark) }
    var source = classFlags.source(choice?.published)
    source.present = nil
    let job = try TuneJob(
      session, judge: judge, source, methodFlags.options(session, choice), base: choice?.published, request,
      listener: console)
    let report = try job.run()
    if searchFlags.json {
      print(report.json.text())
    } else if !searchFlags.quiet {
      print(report.table)
    }
  }
}

/// What is searched, and where.
struct SearchFlags: ParsableArguments {
  @Option(help: "Folder of photos.", completion: .directory) var photos: String
  @Option(name: .shortAndLong, help: "Preset file to write (.json); --preset takes it.", completion: .file())
  var output: String
  @Option(help: "Settings to try, the start among them.") var trials: Int = 34
  @Option(help: "Of the numbers by chance.") var seed: UInt64 = 0
  @Option(
    help: """
      Over which classes CLIP chooses: repaired: all; published: the photo's own, as PnP-OVSS's public code \
      does, which never counts photos of one class.
      """)
  var reward: RewardRule = .repaired
  @Option(
    help: """
      Options to vary, separated by commas, such as logit_scale,coarse_threshold (all that the method's grid \
      has; cos_factor costs a run of the networks for each of its values).
      """)
  var vary: String?
  @Option(help: "Model file with the CLIP that judges (the model's own).", completion: .file())
  var clip: String?
  @Option(help: "Only the first photos, by name.") var limit: Int?
  @Flag(help: "Replace a preset of another search, and its journal.") var overwrite = false
  @Flag(help: "One JSON object with all settings on standard output.") var json = false
  @Flag(name: .shortAndLong, help: "No progress, no table.") var quiet = false

  func request(present: String?) throws(SegmentationError) -> TuneRequest {
    guard let present else {
      throw SegmentationError(
        .usage("which classes do the photos show? --present FILE with lines 'photo.jpg: name, name'"))
    }
    var request = TuneRequest(photos: photos, present: present, output: output)
    (request.trials, request.seed, request.reward) = (trials, seed, reward)
    request.keys = vary.map { $0.split(separator: ",").map(String.init) }
    (request.limit, request.overwrites) = (limit, overwrite)
    return request
  }
}
