// Flags that several subcommands share.
import ArgumentParser
import Compute
import Segmentation

extension SegmentOptions.Preset: ExpressibleByArgument {}
extension SegmentOptions.Profile: ExpressibleByArgument {}
extension RefinementChoice: ExpressibleByArgument {}
extension AffinityChoice: ExpressibleByArgument {}
extension Paradigm: ExpressibleByArgument {}
extension PromptKinds: ExpressibleByArgument {
  public init?(argument: String) { self.init(names: argument) }
}
extension PrecisionChoice: ExpressibleByArgument {}

/// A byte count such as `48M`, `1.5G`, `65536K` or plain bytes.
struct ByteCount: ExpressibleByArgument, Equatable {
  var value: Int

  init?(argument: String) {
    var text = Substring(argument)
    if text.hasSuffix("iB") { text = text.dropLast(2) } else if text.hasSuffix("B") { text = text.dropLast() }
    let units: [Character: Double] = ["K": 1024, "M": 1_048_576, "G": 1_073_741_824]
    var unit = 1.0
    if let last = text.last, let factor = units[Character(last.uppercased())] {
      unit = factor
      text = text.dropLast()
    }
    guard let number = Double(text), number > 0, number * unit < 9e15 else { return nil }
    value = Int(number * unit)
  }
}

/// Where the model is.
struct ModelFlags: ParsableArguments {
  @Option(name: .shortAndLong, help: "Model file made by trident-quantize (also TRIDENT_MODEL).", completion: .file())
  var model: String?

  /// - Errors: `.usage` where no model is named, with where to get one.
  func path() throws -> String {
    if let path = model ?? environment("TRIDENT_MODEL"), !path.isEmpty { return path }
    throw SegmentationError(
      .usage(
        "no model: give --model FILE or set TRIDENT_MODEL. For a first try on drawings take models/demo/demo.gguf "
          + "(in packages /usr/share/trident/demo.gguf); for photos make one of published checkpoints with "
          + "trident-quantize (models/README.md)"))
  }
}

/// Where the model is and how to run it.
struct RuntimeFlags: ParsableArguments {
  @OptionGroup var model: ModelFlags
  @OptionGroup var machine: MachineFlags

  func open() throws -> Session { try Session(modelPath: model.path(), runtime: machine.runtime()) }
}

/// How to run a model.
struct MachineFlags: ParsableArguments {
  @Option(help: "Worker threads (default: the cores this process may use).")
  var threads: Int?

  @Option(help: "Largest private memory, e.g. 48M (also TRIDENT_MEMORY_LIMIT). The plan trades time to fit; labels stay the same.")
  var memoryLimit: ByteCount?

  @Flag(help: "Keep weights resident between blocks: faster again and again, for machines with room.")
  var keepWeights = false

  @Flag(help: "Check every tensor's checksum before use.")
  var verifyWeights = false

  func runtime() throws -> RuntimeOptions {
    var options = RuntimeOptions()
    if let threads {
      guard (1...256).contains(threads) else {
        throw SegmentationError(.usage("--threads \(threads) is outside 1...256"))
      }
      options.threads = threads
    }
    options.memoryLimit = memoryLimit?.value
    if options.memoryLimit == nil, let text = environment("TRIDENT_MEMORY_LIMIT"), !text.isEmpty {
      guard let count = ByteCount(argument: text) else {
        throw SegmentationError(.usage("TRIDENT_MEMORY_LIMIT is '\(text)', not a size such as 48M"))
      }
      options.memoryLimit = count.value
    }
    options.keepsWeights = keepWeights
    options.verifiesWeights = verifyWeights
    options.cpuPath = environment("TRIDENT_CPU")
    return options
  }
}

/// The words.
struct ClassFlags: ParsableArguments {
  @Option(
    name: .customLong("class"),
    help: "A class: a phrase, or synonyms separated by '; '. Repeat for more classes; the first is class 0.")
  var phrases: [String] = []

  @Option(name: .customLong("classes"), help: "Class file: one class a line, synonyms separated by '; '.", completion: .file())
  var file: String?

  @Option(help: "Text vectors made by 'trident text' (.tvoc or .npz), instead of classes.", completion: .file())
  var vocabulary: String?

  @Flag(help: "Class 0 is the background: without tint in the overlay.")
  var background = false

  @Flag(help: "Neither read nor write the cache of text vectors.")
  var noCache = false

  /// No class was named.
  var isEmpty: Bool { phrases.isEmpty && file == nil && vocabulary == nil }
}

/// The method's numbers. A preset is applied first, then a profile, single flags after them.
struct MethodFlags: ParsableArguments {
  @Option(help: "A published configuration, with its classes unless others are named.")
  var preset: SegmentOptions.Preset?
  @Option(
    help: "How much runs (full): fast leaves out SAM, balanced its refinement only.")
  var profile: SegmentOptions.Profile?
  @Option(help: "Short side of CLIP's copy, pixels (448).")
  var shortSide: Int?
  @Option(help: "Window side, pixels (336).")
  var window: Int?
  @Option(help: "Window step, pixels (224).")
  var stride: Int?
  @Option(help: "Scale of cosine scores before the softmax (40).")
  var logitScale: Float?
  @Option(help: "Proxy attention: multiple of the mean similarity taken off (1.2).")
  var beta: Float?
  @Option(help: "Proxy attention: sharpness (3).")
  var gamma: Float?
  @Option(help: "Affinity: threshold as a multiple of the row's mean similarity (1.2).")
  var cosFactor: Float?
  @Option(help: "Pixels less certain than this get class 0 (0).")
  var probabilityThreshold: Float?
  @Option(help: "Pixels less certain than this take no part in refinement (0.2).")
  var coarseThreshold: Float?
  @Option(help: "Smallest region to refine, half-size pixels (225).")
  var minimalArea: Int?
  @Option(help: "Refined regions need a predicted IoU above this (0.8).")
  var iouThreshold: Float?
  @Option(help: "Weight of the mask prompt (0.005).")
  var maskAlpha: Float?
  @Option(help: "What a region tells SAM: some of point,box,mask (all three).")
  var prompts: PromptKinds?
  @Option(name: .customLong("refine"), help: "What mends borders (sam).")
  var refinement: RefinementChoice?
  @Flag(help: "The same as --refine none.")
  var noRefine = false
  @Option(help: "What relates parts of the whole photo (trident).")
  var affinity: AffinityChoice?
  @Option(help: "splice: one map from all windows; window: scores per window, averaged (splice).")
  var paradigm: Paradigm?
  @Flag(name: .customLong("no-dino"), help: "Use CLIP's own values instead of DINO's features.")
  var noDINO = false
  @Option(help: "Arithmetic (int8); float32 is the reference and needs OpenBLAS.")
  var precision: PrecisionChoice?

  func options() -> SegmentOptions {
    var options = preset.map { SegmentOptions(preset: $0) } ?? SegmentOptions()
    if let profile { options.limit(to: profile) }
    func take<Value>(_ path: WritableKeyPath<SegmentOptions, Value>, _ value: Value?) {
      if let value { options[keyPath: path] = value }
    }
    take(\.shortSide, shortSide)
    take(\.window, window)
    take(\.stride, stride)
    take(\.logitScale, logitScale)
    take(\.beta, beta)
    take(\.gamma, gamma)
    take(\.cosFactor, cosFactor)
    take(\.probabilityThreshold, probabilityThreshold)
    take(\.coarseThreshold, coarseThreshold)
    take(\.minimalArea, minimalArea)
    take(\.iouThreshold, iouThreshold)
    take(\.maskAlpha, maskAlpha)
    take(\.prompts, prompts)
    take(\.refinement, refinement)
    take(\.affinity, affinity)
    take(\.paradigm, paradigm)
    take(\.precision, precision)
    if noRefine { options.refinement = .none }
    if noDINO { options.usesDINO = false }
    return options
  }
}
