// Flags that several subcommands share.
import Application
import ArgumentParser
import Segmentation
import System

extension SegmentOptions.Profile: ExpressibleByArgument {}
extension AbsentRule: ExpressibleByArgument {}
extension ConfidenceKind: ExpressibleByArgument {}
extension CLIPAttention: ExpressibleByArgument {}
extension ClassMixScope: ExpressibleByArgument {}
extension BlockRange: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}
extension MethodName: ExpressibleByArgument {}
extension RefinementChoice: ExpressibleByArgument {}
extension AffinityChoice: ExpressibleByArgument {}
extension Paradigm: ExpressibleByArgument {}
extension PromptKinds: ExpressibleByArgument {
  public init?(argument: String) { self.init(names: argument) }
}
extension PrecisionChoice: ExpressibleByArgument {}
extension WindowChoice: ExpressibleByArgument {}
extension SideRounding: ExpressibleByArgument {}
extension PresenceChoice: ExpressibleByArgument {}
extension ByteCount: ExpressibleByArgument {
  package init?(argument: String) { self.init(argument) }
  package var defaultValueDescription: String { text }
}

/// A time that people write: `10s`, `500ms`, `2m`, `1h`, or seconds.
struct Interval: ExpressibleByArgument {
  let seconds: Double
  private static let units = [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)]

  init(seconds: Double) { self.seconds = seconds }

  init?(argument: String) {
    let unit = Self.units.first { argument.hasSuffix($0.0) }
    guard let number = Double(argument.dropLast(unit?.0.count ?? 0)), number >= 0, number <= 1e7 else {
      return nil
    }
    seconds = number * (unit?.1 ?? 1)
  }

  var defaultValueDescription: String {
    let whole = Int(seconds)
    if Double(whole) != seconds { return "\(seconds)s" }
    return whole > 0 && whole % 60 == 0 ? "\(whole / 60)m" : "\(whole)s"
  }
}

/// Where the model is and how to run it.
struct RuntimeFlags: ParsableArguments {
  @Option(
    name: .shortAndLong,
    help: "Model file, or the name of a pulled one (also TRIDENT_MODEL; else the usual pulled one).",
    completion: .file())
  var model: String?
  @Option(help: "Worker threads (default: the cores this process may use).") var threads: Int?
  @Option(
    help: """
      Largest private memory, e.g. 48M (also TRIDENT_MEMORY_LIMIT). The plan trades time to fit; labels stay \
      the same.
      """)
  var memoryLimit: ByteCount?
  @Flag(help: "Keep weights resident between blocks: faster again and again, for machines with room.")
  var keepWeights = false
  @Flag(
    help:
      "Let files ask for over three quarters of the memory, 2 h a photo, 50 scans or 512 MiB of it at once."
  )
  var liftCeilings = false
  @Flag(help: "Check every tensor's checksum before use.") var verifyWeights = false

  func open() throws -> Session { try open(try modelPath(model)) }

  /// Another model file, to be run alike.
  func open(_ path: String) throws -> Session {
    var options = try RuntimeOptions(threads: threads, memoryLimit: memoryLimit)
    (options.keepsWeights, options.verifiesWeights) = (keepWeights, verifyWeights)
    options.liftsCeilings = liftCeilings
    // What comes through a pipe is kept in memory.
    if let limit = options.memoryLimit { StandardInput.byteLimit = min(StandardInput.byteLimit, limit) }
    return try Session(modelPath: path, runtime: options)
  }
}

/// Words that are encoded here.
struct WordFlags: ParsableArguments {
  @Option(
    name: .customLong("class"),
    help: "A class: a phrase, or synonyms separated by '; '. Repeat for more classes; the first is class 0.")
  var phrases: [String] = []

  @Option(
    name: .customLong("classes"),
    help: """
      Class file: one class a line, synonyms separated by '; ', then ' := ' and a description if you like; \
      '-' is standard input.
      """,
    completion: .file())
  var file: String?

  @Flag(
    help: """
      A class for what nothing else is, as class 0, without tint in the overlay: the first class where \
      that is called 'background', else a new one.
      """)
  var background = false
  @Option(help: "The same, and the first class is it, whatever it is called: one of its phrases.")
  var backgroundClass: String?
  @Flag(help: "Refuse lists of classes that look wrong, instead of a warning.") var strict = false

  @Option(
    help: """
      Sentences that words are placed in; a word's vector is its mean over them: all (80, the default), \
      seven, one ('a photo of a {}.'), or a file of lines with one '{}' each.
      """, completion: .file())
  var templates: String?

  @Option(
    help: """
      Phrases, separated by '; ', whose pixels are of no class: what the words must not be mistaken for; \
      repeatable.
      """)
  var negative: [String] = []

  @Flag(help: "Neither read nor write the cache of text vectors.") var noCache = false

  /// `preset`: brings its own classes where these flags name none.
  func source(_ preset: SegmentOptions.Preset?) -> ClassSource {
    var source = ClassSource()
    (source.phrases, source.file, source.templates) = (phrases, file, templates)
    (source.preset, source.background, source.usesCache) = (preset, background, !noCache)
    (source.backgroundClass, source.isStrict) = (backgroundClass, strict)
    // An empty one stays, and is refused by its place in the list.
    source.negatives = negative.flatMap {
      $0.split(separator: ";", omittingEmptySubsequences: false).map(String.init)
    }
    return source
  }
}

/// The words of photos.
struct ClassFlags: ParsableArguments {
  @OptionGroup var words: WordFlags
  @Option(
    help: "Text vectors made by 'trident text' (.tvoc or .npz), instead of classes.", completion: .file())
  var vocabulary: String?
  @Option(
    help: """
      pnp-ovss: the classes that photos show: names separated by commas, or a file of lines \
      'photo.jpg: name, name'. Without it the model looks for them.
      """, completion: .file())
  var present: String?
  @Option(
    help: """
      pnp-ovss: a model file of another method that says it: its fast profile labels the photo first, and \
      what has 0.5 % of the pixels is there.
      """, completion: .file(extensions: ["gguf"]))
  var presenceModel: String?

  /// What `--present` names, where that is a file.
  var presentFile: String? { present.flatMap { fileExists($0) ? $0 : nil } }

  /// `preset`: brings its own classes where these flags name none; `options`: may bring negative phrases.
  func source(_ preset: SegmentOptions.Preset?, _ options: SegmentOptions? = nil) -> ClassSource {
    var source = words.source(preset)
    source.absent = options?.absentForWords ?? .keep
    (source.vocabulary, source.present, source.presenceModel) = (vocabulary, present, presenceModel)
    return source
  }
}

/// The method's numbers: a flag a row of `OptionTable`, whose help is the row's. The method's defaults and a
/// preset come first, then a profile, single flags after them.
package struct MethodFlags: ParsableArguments {
  @Option(help: .preset, completion: .file(extensions: ["json"])) package var preset: String?
  @Option(
    help: "How much runs (full): tiny is --method sc-clip; fast leaves out SAM, balanced its refinement only."
  )
  var profile: SegmentOptions.Profile?
  @Option(help: .row("method")) var method: MethodName?
  @Option(help: .row("short_side")) var shortSide: Int?
  @Option(help: .row("window")) var window: Int?
  @Option(help: .row("stride")) var stride: Int?
  @Option(help: .row("logit_scale")) var logitScale: Float?
  @Option(help: .row("beta")) var beta: Float?
  @Option(help: .row("gamma")) var gamma: Float?
  @Option(help: .row("cos_factor")) var cosFactor: Float?
  @Option(help: .row("probability_threshold")) var probabilityThreshold: Float?
  @Option(help: .row("coarse_threshold")) var coarseThreshold: Float?
  @Option(help: .row("minimal_area")) var minimalArea: Int?
  @Option(help: .row("iou_threshold")) var iouThreshold: Float?
  @Option(help: .row("mask_alpha")) var maskAlpha: Float?
  @Option(help: .row("prompts")) var prompts: PromptKinds?
  @Option(name: .customLong("refine"), help: .row("refine")) var refinement: RefinementChoice?
  @Flag(help: "The same as --refine none.") var noRefine = false
  @Option(help: .row("affinity")) var affinity: AffinityChoice?
  @Option(help: .row("paradigm")) var paradigm: Paradigm?
  @Flag(name: .customLong("no-dino"), help: .row("dino")) var noDINO = false
  @Option(help: .row("long_side")) var longSide: Int?
  @Option(help: .row("windows")) var windows: WindowChoice?
  @Option(help: .row("round_sides")) var roundSides: SideRounding?
  @Option(help: .row("scra_scale")) var scraScale: Float?
  @Option(help: .row("scga_scale")) var scgaScale: Float?
  @Option(help: .row("class_gate")) var classGate: Float?
  @Option(help: .row("absent")) var absent: AbsentRule?
  @Option(help: .row("redundancy")) var redundancy: Float?
  @Option(help: .row("unknown_threshold")) var unknownThreshold: Float?
  @Option(help: .row("area_threshold")) var areaThreshold: Float?
  @Option(help: .row("confidence_kind")) var confidenceKind: ConfidenceKind?
  @Option(help: .row("low_block")) var lowBlock: Int?
  @Option(help: .row("mid_block")) var midBlock: Int?
  @Option(help: .row("levels")) var levels: BlockRange?
  @Option(help: .row("class_weight")) var classWeight: Float?
  @Option(help: .row("clip_attention")) var clipAttention: CLIPAttention?
  @Option(help: .row("global_blocks")) var globalBlocks: BlockRange?
  @Option(help: .row("class_mix")) var classMix: Float?
  @Option(help: .row("class_mix_of")) var classMixOf: ClassMixScope?
  @Option(help: .row("attention_layer")) var attentionLayer: Int?
  @Option(help: .row("attention_head")) var attentionHead: Int?
  @Option(help: .row("rounds")) var rounds: Int?
  @Option(help: .row("blanked_patches")) var blankedPatches: Int?
  @Option(help: .row("map_threshold")) var mapThreshold: Float?
  @Option(help: .row("blur")) var blur: Float?
  @Option(help: .row("presence")) var presence: PresenceChoice?
  @Option(help: .row("tile")) var tile: Int?
  @Option(help: .row("overlap")) var overlap: Int?
  @Option(help: .row("precision")) var precision: PrecisionChoice?

  package init() {}

  /// What `--preset` names.
  ///
  /// - Errors: those of `PresetChoice`.
  func choice() throws -> PresetChoice? { try preset.map { try PresetChoice($0) } }

  /// What was asked for; without --method, of the method that the model file is for.
  func options(_ session: Session, _ choice: PresetChoice?) throws -> SegmentOptions {
    let options = try options(session.method, depth: session.clipDepth, choice)
    try options.check(given: given)
    return options
  }

  /// Keys of the given flags that may mean nothing beside others.
  package var given: Set<String> {
    let all = [
      "redundancy": redundancy != nil, "class_mix_of": classMixOf != nil,
      "global_blocks": globalBlocks != nil,
      "low_block": lowBlock != nil, "mid_block": midBlock != nil, "levels": levels != nil,
      "class_weight": classWeight != nil, "beta": beta != nil, "gamma": gamma != nil,
    ]
    return Set(all.filter(\.value).keys)
  }

  package func options(_ usual: MethodName, depth: Int = 12) throws -> SegmentOptions {
    try options(usual, depth: depth, try choice())
  }

  /// What options start from.
  private func start(
    _ usual: MethodName, depth: Int, _ choice: PresetChoice?
  ) throws(SegmentationError) -> SegmentOptions {
    if let method, let file = choice?.file, let own = file.method, own != method {
      throw SegmentationError(
        .usage("is for method \(own.rawValue); leave out --method \(method.rawValue)"), path: file.path)
    }
    return try choice.options(method ?? profile?.method ?? usual, depth: depth)
  }

  /// - Errors: `.usage` for a profile that the method does not have.
  private func check(_ profile: SegmentOptions.Profile, _ chosen: MethodName) throws(SegmentationError) {
    let name = "--profile \(profile.rawValue)"
    if let own = profile.method, own != chosen {
      throw SegmentationError(
        .usage("\(name) is --method \(own.rawValue); leave out --method \(chosen.rawValue)"))
    }
    if [.fast, .balanced].contains(profile) && chosen != .trident {
      throw SegmentationError(
        .usage("\(name) is Trident's; \(chosen.rawValue) has one network: leave the profile out"))
    }
  }

  private func options(_ usual: MethodName, depth: Int, _ choice: PresetChoice?) throws -> SegmentOptions {
    var options = try start(usual, depth: depth, choice)
    if let profile {
      try check(profile, options.method)
      options.limit(to: profile)
    }
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
    take(\.tile, tile)
    take(\.overlap, overlap)
    take(\.precision, precision)
    take(\.absent, absent)
    take(\.redundancy, redundancy)
    take(\.unknownThreshold, unknownThreshold)
    take(\.areaThreshold, areaThreshold)
    take(\.confidenceKind, confidenceKind)
    take(\.lowBlock, lowBlock)
    take(\.midBlock, midBlock)
    take(\.levels, levels)
    take(\.classWeight, classWeight)
    take(\.clipAttention, clipAttention)
    take(\.globalBlocks, globalBlocks)
    take(\.classMix, classMix)
    take(\.classMixOf, classMixOf)
    take(\.longSide, longSide)
    take(\.scraScale, scraScale)
    take(\.scgaScale, scgaScale)
    take(\.classGate, classGate)
    take(\.windows, windows)
    take(\.sideRounding, roundSides)
    take(\.attentionLayer, attentionLayer)
    take(\.attentionHead, attentionHead)
    take(\.rounds, rounds)
    take(\.blankedPatches, blankedPatches)
    take(\.mapThreshold, mapThreshold)
    take(\.blur, blur)
    take(\.presence, presence)
    if noRefine { options.refinement = .none }
    if noDINO { options.usesDINO = false }
    return options
  }

  /// - Errors: `.usage` for a kind of confidence where nothing tells any, and for a rule of presence where
  ///   flags say what is there.
  func check(_ classes: ClassFlags, tells confidence: Bool) throws(SegmentationError) {
    if confidenceKind != nil && !confidence {
      throw SegmentationError(
        .usage(
          "--confidence-kind says what confidences are, and nothing here tells any: --confidence, --csv and "
            + "--parts of 'segment' do"))
    }
    if presence != nil, classes.present != nil || classes.presenceModel != nil {
      throw SegmentationError(
        .usage("--presence is for photos of which nobody says what is there: leave it out, or the other flag")
      )
    }
  }
}

extension Sequence<ResultFormat> {
  /// Whether any of them has confidences.
  var tellConfidence: Bool { SinkNeeds(flatMap { OutputTarget($0, "").sinks }).confidence }
}

extension ArgumentHelp {
  /// The help of `--preset`.
  static let preset = ArgumentHelp(
    stringLiteral: "A published configuration ("
      + SegmentOptions.Preset.allCases.map(\.rawValue).joined(separator: ", ")
      + "), with its classes unless others are named; or a preset file, as 'trident tune' writes.")

  /// The help of an option's flag.
  static func row(_ key: String) -> ArgumentHelp {
    guard let row = OptionTable[key] else { preconditionFailure("no option '\(key)'") }
    return ArgumentHelp(row.help, visibility: daily.contains(key) ? .default : .hidden)
  }

  /// Options that `--help` shows; `--help-all` shows the papers' as well.
  private static let daily: Set = ["method", "refine", "absent"]
}

extension PhotoJob {
  /// Opens the model and the words that flags name.
  convenience init(
    _ runtime: RuntimeFlags, _ classes: ClassFlags, _ method: MethodFlags,
    _ style: PictureStyle = PictureStyle(), quiet: Bool
  ) throws {
    let choice = try method.choice()
    let session = try runtime.open()
    let options = try method.options(session, choice)
    try self.init(
      session, try Words(classes.source(choice?.published, options), session), options, style,
      listener: Console(quiet: quiet))
    preset = choice?.file
    if let preset { listener.note(preset.remark) }
  }
}
