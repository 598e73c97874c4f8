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

  private static let names: [(name: String, kind: PromptKinds)] = [
    ("point", .point), ("box", .box), ("mask", .mask),
  ]

  /// Names separated by commas, such as `point,box`; nil for any other word.
  public init?(names: String) {
    self = []
    for part in names.split(separator: ",", omittingEmptySubsequences: false) {
      guard let known = Self.names.first(where: { $0.name == part }) else { return nil }
      insert(known.kind)
    }
  }

  public var description: String {
    Self.names.filter { contains($0.kind) }.map(\.name).joined(separator: ",")
  }
}

/// A published way from photo and words to labels.
public enum MethodName: String, Sendable, CaseIterable {
  /// CLIP's windows spliced, related by SAM's attention, borders mended by SAM's masks.
  case trident
  /// C-RADIO alone, its features related to themselves.
  case radseg
  /// CLIP alone, its last block calibrated by its own earlier ones.
  case scCLIP = "sc-clip"
  /// BLIP's image-text matching, asked where its words looked.
  case pnpOVSS = "pnp-ovss"
}

/// Some neighbouring blocks of a network, counted from one, the last included; 0-0: as published for its
/// depth.
public struct BlockRange: Equatable, Sendable, CustomStringConvertible {
  public var first = 0
  public var last = 0

  public init() {}

  public init(_ first: Int, _ last: Int) { (self.first, self.last) = (first, last) }

  /// Two numbers, such as `4-10`; nil for anything else.
  public init?(_ text: String) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 2, let first = parts[0], let last = parts[1], (0...256).contains(first),
      (0...256).contains(last)
    else { return nil }
    self.init(first, last)
  }

  public var description: String { "\(first)-\(last)" }
}

/// Options of one segmentation; the defaults are the paper's.
///
/// - Source: Trident (arXiv 2411.09219), SC-CLIP (arXiv 2411.15869), PnP-OVSS (arXiv 2311.17095) and the
///   public implementations' configurations.
public struct SegmentOptions: Equatable, Sendable {
  /// How labels are found.
  public var method = MethodName.trident
  /// Short side of the CLIP copy, pixels; PnP-OVSS: side of the square that the photo is squeezed to.
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
  /// RADSeg: long side of the copy at most, pixels.
  public var longSide = 2048
  /// RADSeg: how the network sees the copy.
  public var windows = WindowChoice.slide
  /// RADSeg: what the copy's sides are multiples of.
  public var sideRounding = SideRounding.stride
  /// RADSeg: sharpness of the last block's attention.
  public var scraScale: Float = 10
  /// RADSeg: sharpness of the aggregation over the whole photo.
  public var scgaScale: Float = 10
  /// RADSeg: a class whose largest probability is below this is not in the photo.
  public var classGate: Float = 0.5
  /// Arithmetic of activations.
  public var precision = PrecisionChoice.int8
  /// What becomes of classes that are not in the photo.
  public var absent = AbsentRule.auto
  /// `purify`: a class whose ratio is not above this in any window is not in the photo; 0.5 drops them all.
  public var redundancy: Float = 0.1
  /// Pixels whose best probability is below this get the label behind the last class; 0: none does.
  public var unknownThreshold: Float = 0
  /// What confidences say of a pixel.
  public var confidenceKind = ConfidenceKind.probability
  /// Classes with no more than this share of the pixels that classes 1... have are dropped; below 0: none is.
  public var areaThreshold: Float = -1
  /// SC-CLIP: the block whose cosines smooth the result, counted from one; 0: as published for the network's
  /// depth.
  public var lowBlock = 0
  /// SC-CLIP: the block whose cosines say what resembles what; 0: as published.
  public var midBlock = 0
  /// SC-CLIP: blocks whose sum goes through the last one, too.
  public var levels = BlockRange()
  /// SC-CLIP: weight of the class tokens that are added to every patch; below 0: as published.
  public var classWeight: Float = -1
  /// Whom a patch looks at in CLIP's last block.
  public var clipAttention = CLIPAttention.published
  /// `global` attention: middle blocks whose attention counts; 0-0: as known for 12 blocks.
  public var globalBlocks = BlockRange()
  /// Weight of the class token's scores in those of patches.
  public var classMix: Float = 0
  /// SC-CLIP: whose class token is mixed in.
  public var classMixOf = ClassMixScope.photo
  /// PnP-OVSS: the text layer whose attention to the photo counts, and its head, both counted from one.
  public var attentionLayer = 8
  public var attentionHead = 10
  /// PnP-OVSS: how often the network is asked.
  public var rounds = 4
  /// PnP-OVSS: patches that are blanked after each round.
  public var blankedPatches = 10
  /// PnP-OVSS: what is below this share of a class map's range is not the class.
  public var mapThreshold: Float = 0.15
  /// PnP-OVSS: standard deviation of the blur, as a share of the photo's long side.
  public var blur: Float = 0.05
  /// PnP-OVSS: which classes go into captions, where nobody says what the photo shows.
  public var presence = PresenceChoice.match
  /// Side of the tiles that a raster is cut into, each a photo of its own, pixels; 0: it is not cut.
  public var tile = 0
  /// What two neighbouring tiles share at least, pixels; their scores fade into each other there.
  public var overlap = 128

  /// The published defaults of Trident.
  public init() {}

  /// A method's own published defaults.
  public init(method: MethodName) {
    self.init()
    self.method = method
    switch method {
    case .trident: break
    case .radseg: (logitScale, coarseThreshold, iouThreshold, refinement) = (100, 0.1, 0.9, .none)
    case .scCLIP: (shortSide, window, stride, refinement) = (336, 224, 112, .none)
    case .pnpOVSS: (shortSide, logitScale, refinement) = (336, 1, .crf)
    }
  }

  /// Name of a published configuration.
  public enum Preset: String, Sendable, CaseIterable {
    case voc21, voc20, context59, context60, object, stuff, ade, city
  }

  /// The published configuration of a benchmark, as a method has it; `depth`: CLIP's blocks, which SC-CLIP's
  /// depend on.
  public init(preset: Preset, method: MethodName = .trident, depth: Int = 12) {
    self.init(method: method)
    if [.trident, .scCLIP].contains(method) { redundancy = preset.redundancy }
    switch method {
    case .trident: applyTrident(preset)
    case .radseg: applyRADSeg(preset)
    case .scCLIP: applySCCLIP(preset, isLarge: depth == 24)
    // Its numbers are the same for all benchmarks.
    case .pnpOVSS: break
    }
  }

  /// Benchmarks with a background have no published setting and take the nearest one.
  private mutating func applyRADSeg(_ preset: Preset) {
    switch preset {
    case .voc21, .object, .stuff: (shortSide, coarseThreshold) = (448, preset == .stuff ? 0.05 : 0.2)
    case .voc20: (shortSide, stride, coarseThreshold) = (336, 112, 0.2)
    case .context60, .context59: (shortSide, longSide, coarseThreshold) = (576, 4096, 0.15)
    case .ade: (shortSide, coarseThreshold) = (576, 0.05)
    case .city: (shortSide, coarseThreshold) = (688, 0.1)
    }
  }

  /// SC-CLIP's configurations for B/16, and those of its first commit for L/14.
  private mutating func applySCCLIP(_ preset: Preset, isLarge: Bool) {
    absent = .keep
    switch preset {
    case .voc21:
      (logitScale, probabilityThreshold) = isLarge ? (40, 0.2) : (50, 0.15)
      areaThreshold = 0.1
    case .context60: probabilityThreshold = 0.15
    case .object: (logitScale, probabilityThreshold) = isLarge ? (40, 0.25) : (55, 0.35)
    case .city: shortSide = 560
    case .voc20, .context59, .stuff, .ade: break
    }
  }

  private mutating func applyTrident(_ preset: Preset) {
    absent = .keep
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
  /// The rule of absence that words are prepared for: where the user says what becomes of pixels that no
  /// class is sure of, or the method has no such rule, `auto` adds nothing.
  package var absentForWords: AbsentRule {
    let isOpen = [.trident, .scCLIP].contains(method) && max(unknownThreshold, probabilityThreshold) <= 0
    return absent == .auto && !isOpen ? .keep : absent
  }

  /// Whether a run compares text vectors with anything.
  ///
  /// - Parameters:
  ///   - classes: that may be looked for.
  ///   - isPresenceGiven: somebody says which of them the photo shows.
  package func readsVectors(of classes: Int, isPresenceGiven: Bool) -> Bool {
    guard method == .pnpOVSS else { return true }
    return presence == .match && !isPresenceGiven && classes > ClassMatching.shortList
  }
}

extension SegmentOptions {
  /// How much of the method runs.
  public enum Profile: String, Sendable, CaseIterable {
    /// CLIP alone, by SC-CLIP: about a twelfth of the arithmetic; no other network is needed.
    case tiny
    /// CLIP with DINO as its attention; SAM is not run at all. About a third of the time; coarse borders.
    case fast
    /// And SAM's affinity, which draws the windows together; regions are not refined.
    case balanced
    /// And SAM's refinement of every region: the published method.
    case full

    /// The one method that has this profile; nil: any.
    package var method: MethodName? { self == .tiny ? .scCLIP : nil }
  }

  /// Leaves out what `profile` leaves out; every other option stays, but windows where the method changes.
  public mutating func limit(to profile: Profile) {
    if let own = profile.method, method != own {
      let usual = SegmentOptions(method: own)
      (method, shortSide, window, stride) = (own, usual.shortSide, usual.window, usual.stride)
    }
    if profile != .full { refinement = .none }
    if profile == .fast { affinity = .none }
  }
}
