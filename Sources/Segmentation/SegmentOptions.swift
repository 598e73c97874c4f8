// Every number a run can be asked for, with the published defaults and presets.
import Compute

/// How windows become one map.
public enum Paradigm: String, Sendable, CaseIterable {
  /// Features of all windows on one canvas, then one aggregation (the method).
  case splice
  /// Scores window by window, averaged where windows overlap (the baseline).
  case window
}

/// Arithmetic of activations.
public enum PrecisionChoice: String, Sendable, CaseIterable {
  /// Rows of bytes with a scale each: what boards run.
  case int8
  /// The reference: the same stored weights, activations in float; needs OpenBLAS and more memory.
  case float32
}

/// What a region of the coarse labels tells SAM.
public struct PromptKinds: OptionSet, Sendable, CustomStringConvertible {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// The place of the region's largest probability.
  public static let point = PromptKinds(rawValue: 1)
  /// The region's tight box.
  public static let box = PromptKinds(rawValue: 2)
  /// The class's probabilities.
  public static let mask = PromptKinds(rawValue: 4)
  public static let all: PromptKinds = [.point, .box, .mask]

  private static let names: [(name: String, kind: PromptKinds)] = [("point", .point), ("box", .box), ("mask", .mask)]

  /// Names separated by commas, such as `point,box`; nil for any other word.
  public init?(names: String) {
    self = []
    for part in names.split(separator: ",", omittingEmptySubsequences: false) {
      guard let known = Self.names.first(where: { $0.name == part }) else { return nil }
      insert(known.kind)
    }
  }

  public var description: String { Self.names.filter { contains($0.kind) }.map(\.name).joined(separator: ",") }
}

/// Options of one segmentation; the defaults are the paper's.
///
/// - Source: Trident (arXiv 2411.09219) and the public implementation's configurations.
public struct SegmentOptions: Equatable, Sendable {
  /// Short side of the CLIP copy, pixels.
  public var shortSide = 448
  /// Window side, pixels; a multiple of CLIP's and DINO's patch.
  public var window = 336
  /// Window step, pixels; a multiple of CLIP's patch.
  public var stride = 224
  /// Cosines are multiplied by this before the softmax over classes.
  public var logitScale: Float = 40
  /// Proxy attention: similarities less than this multiple of their mean count nothing.
  public var beta: Float = 1.2
  /// Proxy attention: sharpness.
  public var gamma: Float = 3
  /// Affinity: a token takes part whose cosine reaches this multiple of the row's mean.
  public var cosFactor: Float = 1.2
  /// Negative affinity thresholds stay; otherwise they become 0.6.
  public var keepsNegativeThresholds = true
  /// Pixels whose best probability is below this get label 0.
  public var probabilityThreshold: Float = 0
  /// Pixels whose best probability is below this belong to no region that is refined.
  public var coarseThreshold: Float = 0.2
  /// Smallest region to refine, pixels of the photo at half its size.
  public var minimalArea = 225
  /// SAM's masks replace a region where their predicted IoU is above this.
  public var iouThreshold: Float = 0.8
  /// Weight of the mask among a region's prompts.
  public var maskAlpha: Float = 0.005
  /// What SAM's refinement tells it; the method uses all three together.
  public var prompts = PromptKinds.all
  /// What mends the borders of the coarse labels.
  public var refinement = RefinementChoice.sam
  /// What relates parts of the whole photo to each other.
  public var affinity = AffinityChoice.trident
  /// How windows become one map.
  public var paradigm = Paradigm.splice
  /// DINO's features decide which patches share CLIP's values; otherwise CLIP's own do.
  public var usesDINO = true
  /// Left and right halves go through SAM on their own (Cityscapes).
  public var halves = false
  /// Arithmetic of activations.
  public var precision = PrecisionChoice.int8

  /// The published defaults.
  public init() {}

  /// Name of a published configuration.
  public enum Preset: String, Sendable, CaseIterable {
    case voc21, voc20, context59, context60, object, stuff, ade, city
  }

  /// The published configuration of a benchmark.
  public init(preset: Preset) {
    self.init()
    switch preset {
    case .voc21: (shortSide, probabilityThreshold, coarseThreshold) = (448, 0.2, 0.2)
    case .voc20: (shortSide, stride, cosFactor, coarseThreshold) = (336, 112, 0, 0.2)
    case .context60: (shortSide, probabilityThreshold, coarseThreshold) = (576, 0.15, 0.15)
    case .context59: (shortSide, coarseThreshold) = (576, 0.15)
    case .object: (shortSide, probabilityThreshold, coarseThreshold) = (448, 0.25, 0.25)
    case .stuff: (shortSide, coarseThreshold) = (448, 0.05)
    case .ade: (shortSide, coarseThreshold, keepsNegativeThresholds) = (576, 0.05, false)
    case .city:
      (shortSide, cosFactor, coarseThreshold, keepsNegativeThresholds, halves) = (688, 3, 0.1, false, true)
    }
  }
}

extension SegmentOptions {
  /// How much of the method runs.
  public enum Profile: String, Sendable, CaseIterable {
    /// CLIP with DINO as its attention; SAM is not run at all. About a third of the time; coarse borders.
    case fast
    /// And SAM's affinity, which draws the windows together; regions are not refined.
    case balanced
    /// And SAM's refinement of every region: the published method.
    case full
  }

  /// Leaves out what `profile` leaves out; every other option stays.
  public mutating func limit(to profile: Profile) {
    if profile != .full { refinement = .none }
    if profile == .fast { affinity = .none }
  }
}

/// What mends the borders of the coarse labels.
public enum RefinementChoice: String, Sendable, CaseIterable {
  /// Coarse labels stay.
  case none
  /// SAM's masks, asked for region by region: the method.
  case sam
  /// Class scores spread to neighbours of like colour; see `PixelAdaptation`.
  case pamr
  /// A fully connected random field over places and colours; see `DenseField`.
  case crf
}

/// What relates tokens of the whole photo to each other.
public enum AffinityChoice: String, Sendable, CaseIterable {
  /// SAM's attention where its values are similar: the method.
  case trident
  /// SAM's attention, averaged over heads.
  case attention
  /// Similarity of SAM's values only.
  case cosine
  /// Nothing: the spliced map as it is.
  case none
}

extension SegmentOptions {
  /// Checks options against each other and the model.
  ///
  /// - Errors: the first value that cannot work, named with the flag that sets it.
  package func check(against config: ModelConfig) throws(SegmentationError) {
    func refuse(_ text: String) throws(SegmentationError) { throw SegmentationError(.usage(text)) }
    if !(16...4096).contains(shortSide) { try refuse("--short-side \(shortSide) is outside 16...4096") }
    if !(16...2048).contains(window) { try refuse("--window \(window) is outside 16...2048") }
    if window % config.clip.patch != 0 || window % config.dino.patch != 0 {
      try refuse(
        "--window \(window) is not a multiple of the model's patches (clip \(config.clip.patch), dino \(config.dino.patch))")
    }
    if stride < config.clip.patch || stride % config.clip.patch != 0 || stride > window {
      try refuse(
        "--stride \(stride) must be a multiple of clip's patch \(config.clip.patch) and at most the window \(window)")
    }
    let numbers: [(String, Float, ClosedRange<Float>)] = [
      ("--logit-scale", logitScale, 0...10_000), ("--beta", beta, -100...100), ("--gamma", gamma, 0...1000),
      ("--cos-factor", cosFactor, -100...100), ("--probability-threshold", probabilityThreshold, 0...1),
      ("--coarse-threshold", coarseThreshold, 0...1), ("--iou-threshold", iouThreshold, -1...2),
      ("--mask-alpha", maskAlpha, -1000...1000),
    ]
    for (flag, value, range) in numbers where !range.contains(value) {
      try refuse("\(flag) \(value) is outside \(range.lowerBound)...\(range.upperBound)")
    }
    if !(0...1_000_000_000).contains(minimalArea) { try refuse("--minimal-area \(minimalArea) is negative or absurd") }
    if refinement == .sam && prompts.isEmpty { try refuse("--prompts needs point, box or mask; --refine none leaves refinement out") }
    if halves && paradigm == .window { try refuse("halves (city preset) need --paradigm splice") }
  }
}
