// The numbers of the networks, as plain values that the model file's keys hold.
import Compute
import Container

/// A network that a model file may hold.
package enum NetworkRole: String, Sendable, CaseIterable {
  case text, dino, clip, sam, radio, siglip, blip, bert
}

/// Sizes of a transformer's blocks.
package struct TransformerConfig: Equatable, Sendable {
  /// Prefix of its keys and tensors.
  package var role: NetworkRole
  package var width: Int
  package var depth: Int
  package var heads: Int
  package var headWidth: Int
  package var mlpWidth: Int
  package var normEpsilon: Float
  package var activation: Activation
  /// The MLP is gated: `mlp_in` makes two halves of `mlpWidth` each, silu(first) * second goes on. DINOv2-g.
  package var isGated = false

  package init(
    role: NetworkRole, width: Int, depth: Int, headWidth: Int, mlpWidth: Int, normEpsilon: Float,
    activation: Activation
  ) {
    self.role = role
    self.width = width
    self.depth = depth
    heads = width / headWidth
    self.headWidth = headWidth
    self.mlpWidth = mlpWidth
    self.normEpsilon = normEpsilon
    self.activation = activation
  }

  /// No blocks: other networks' features of some width.
  package static func absent(_ role: NetworkRole, width: Int, normEpsilon: Float) -> TransformerConfig {
    TransformerConfig(
      role: role, width: width, depth: 0, headWidth: width, mlpWidth: 1, normEpsilon: normEpsilon,
      activation: .gelu)
  }

  /// Width of a head as stored: padded to whole panels.
  package var paddedHead: Int { roundUp(headWidth, to: 16) }
  /// Width of all heads as stored.
  package var inner: Int { heads * paddedHead }
  /// Outputs of the MLP's first layer.
  package var mlpOutputs: Int { isGated ? 2 * mlpWidth : mlpWidth }
  /// Factor on scores before the softmax.
  package var attentionScale: Float { 1 / Float(headWidth).squareRoot() }
}

/// Mean and deviation of the pixels a network was trained on.
///
/// - Units: of pixels from 0 to 1; SAM's of bytes.
package struct PixelStatistics: Equatable, Sendable {
  package var mean: SIMD3<Float>
  package var deviation: SIMD3<Float>

  package init(mean: SIMD3<Float>, deviation: SIMD3<Float>) {
    (self.mean, self.deviation) = (mean, deviation)
  }

  /// Whether three means and deviations can be those of pixels from 0 to 1.
  package static func isPlausible(_ mean: SIMD3<Float>, _ deviation: SIMD3<Float>) -> Bool {
    (0..<3).allSatisfy { index in
      let (center, width) = (mean[index], deviation[index])
      return center.isFinite && abs(center) <= 10 && width >= 0.001 && width <= 10
    }
  }

  package static let clip = PixelStatistics(
    mean: [0.48145466, 0.4578275, 0.40821073], deviation: [0.26862954, 0.26130258, 0.27577711])
  package static let imageNet = PixelStatistics(
    mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225])
  /// CLIP's constants times 255, rounded, as several published configurations have them.
  package static let roundedCLIP = PixelStatistics(
    mean: SIMD3(122.771, 116.746, 104.094) / 255, deviation: SIMD3(68.501, 66.632, 70.323) / 255)
  package static let sam = PixelStatistics(
    mean: [123.675, 116.28, 103.53], deviation: [58.395, 57.12, 57.375])
}

/// How a stored position table is brought to the grid of a window.
package enum PositionRule: Equatable, Sendable {
  /// Bicubic with a step of stored / (grid + 0.1); rows for the prefix tokens come first. CLIP, DINO, the
  /// torch hub's DINOv2 without registers.
  case bicubicWithFactor
  /// Bicubic with a step of stored / grid; rows for the prefix tokens come first. BLIP, Hugging Face's DINOv2
  /// without registers.
  case bicubic
  /// Bicubic with a step of stored / grid, the kernel as wide as the step; rows for the prefix tokens come
  /// first. DINOv2 with registers.
  case bicubicAntialias
  /// Bilinear to a square of the longer side, then cut; prefix tokens have none. C-RADIO.
  case bilinearCropped
  /// The same, done beforehand for windows of as many patches as the table has; no other grid has positions.
  /// C-RADIO.
  case ofWindow
  /// As stored, a cell each; prefix tokens have none. SAM.
  case stored
}

/// A vision transformer: what sets CLIP's, DINO's and SAM's apart are these numbers.
package struct VisionConfig: Equatable, Sendable {
  package var blocks: TransformerConfig
  /// Side of a patch, pixels.
  package var patch: Int
  /// Side of the stored position grid.
  package var grid: Int
  package var pixels: PixelStatistics
  package var positions: PositionRule
  /// Tokens in front of the patches: a class token; class tokens and registers; or none.
  package var prefixTokens: Int
  /// The last of the prefix tokens, where they are stored apart and have no position. DINOv2.
  package var registers = 0
  package var patchHasBias: Bool
  package var hasPreNorm: Bool
  package var hasPostNorm: Bool

  package var width: Int { blocks.width }
  package var depth: Int { blocks.depth }
  /// Numbers of a patch's pixels.
  package var patchLength: Int { 3 * patch * patch }
  /// Prefix tokens that the position table has rows for.
  package var positionedPrefix: Int {
    switch positions {
    case .bicubicWithFactor, .bicubic, .bicubicAntialias: prefixTokens - registers
    case .bilinearCropped, .ofWindow, .stored: 0
    }
  }
  package var positionCount: Int { positionedPrefix + grid * grid }

  /// CLIP's image tower. Source: openai/CLIP `model.py`.
  package static func clip(_ blocks: TransformerConfig, patch: Int, grid: Int) -> VisionConfig {
    VisionConfig(
      blocks: blocks, patch: patch, grid: grid, pixels: .clip, positions: .bicubicWithFactor, prefixTokens: 1,
      patchHasBias: false, hasPreNorm: true,
      hasPostNorm: true)
  }

  /// DINO and DINOv2. Source: `vision_transformer.py` of facebookresearch/dino and facebookresearch/dinov2.
  package static func dino(
    _ blocks: TransformerConfig, patch: Int, grid: Int, positions: PositionRule = .bicubicWithFactor,
    registers: Int = 0
  ) -> VisionConfig {
    VisionConfig(
      blocks: blocks, patch: patch, grid: grid, pixels: .imageNet, positions: positions,
      prefixTokens: 1 + registers, registers: registers, patchHasBias: true,
      hasPreNorm: false, hasPostNorm: true)
  }

  /// SAM's image encoder. Source: segment-anything `image_encoder.py`.
  package static func sam(_ blocks: TransformerConfig, patch: Int, grid: Int) -> VisionConfig {
    VisionConfig(
      blocks: blocks, patch: patch, grid: grid, pixels: .sam, positions: .stored, prefixTokens: 0,
      patchHasBias: true, hasPreNorm: false,
      hasPostNorm: false)
  }
}

/// A small MLP that leads features of one network to another's space.
package struct AdaptorConfig: Equatable, Sendable {
  /// v1: out(relu(norm(in))); v2: residual blocks of norm, GELU, linear between `in` and a last one.
  package enum Version: String, Sendable { case v1, v2 }
  package var version: Version
  package var hidden: Int
  /// Inner blocks (v2).
  package var blocks: Int
  package var outputs: Int

  package init(version: Version, hidden: Int, blocks: Int, outputs: Int) {
    (self.version, self.hidden, self.blocks, self.outputs) = (version, hidden, blocks, outputs)
  }
}

/// C-RADIO: a backbone and the head that leads to a text space.
package struct RADIOConfig: Equatable, Sendable {
  package var vision: VisionConfig
  package var hasNormalizer: Bool
  package var head: AdaptorConfig
  /// Of the `sam` teacher: from features to what SAM's neck takes.
  package var samHead: AdaptorConfig?
  /// The text tower that the head belongs to, as the checkpoint names it: `siglip2-so400m`.
  package var textModel: String

  package init(vision: VisionConfig, hasNormalizer: Bool, head: AdaptorConfig, textModel: String) {
    (self.vision, self.hasNormalizer, self.head, self.textModel) = (vision, hasNormalizer, head, textModel)
  }

  package var width: Int { vision.width }
  package var embedWidth: Int { head.outputs }
}

extension VisionConfig {
  /// C-RADIO's backbone. Source: NVlabs/RADIO, `vit_base_patch16_v2_224`.
  package static func radio(
    _ blocks: TransformerConfig, patch: Int, grid: Int, prefixTokens: Int, hasPostNorm: Bool,
    positions: PositionRule = .bilinearCropped
  ) -> VisionConfig {
    VisionConfig(
      blocks: blocks, patch: patch, grid: grid, pixels: .roundedCLIP, positions: positions,
      prefixTokens: prefixTokens, patchHasBias: false, hasPreNorm: false, hasPostNorm: hasPostNorm)
  }
}

extension VisionConfig {
  /// BLIP's image tower. Source: salesforce/BLIP `models/vit.py`.
  package static func blip(_ blocks: TransformerConfig, patch: Int, grid: Int) -> VisionConfig {
    VisionConfig(
      blocks: blocks, patch: patch, grid: grid, pixels: .clip, positions: .bicubic, prefixTokens: 1,
      patchHasBias: true, hasPreNorm: false, hasPostNorm: true)
  }
}

/// CLIP: the image tower and the space it shares with text.
package struct CLIPConfig: Equatable, Sendable {
  package var vision: VisionConfig
  /// Width of the space that images and text share.
  package var embedWidth: Int
  /// The last image block has its MLP. Only an image's own embedding takes it, no method for patches.
  package var hasLastMLP = true

  package init(vision: VisionConfig, embedWidth: Int) {
    (self.vision, self.embedWidth) = (vision, embedWidth)
  }

  package var width: Int { vision.width }
  package var patch: Int { vision.patch }
}

/// Numbers of the tokens that open and close a text.
package struct TextMarks: Equatable, Sendable {
  package var begin: Int
  package var end: Int

  package init(begin: Int, end: Int) { (self.begin, self.end) = (begin, end) }
}

/// A text tower: CLIP's, SigLIP's, BLIP's.
package struct TextConfig: Equatable, Sendable {
  package var blocks: TransformerConfig
  /// Most tokens of a prompt.
  package var context: Int
  package var vocabularySize: Int
  package var embedWidth: Int
  /// CLIP's marks; nil: the last two entries of the vocabulary.
  package var marks: TextMarks?

  package init(blocks: TransformerConfig, context: Int, vocabularySize: Int, embedWidth: Int) {
    (self.blocks, self.context) = (blocks, context)
    (self.vocabularySize, self.embedWidth) = (vocabularySize, embedWidth)
  }

  package var width: Int { blocks.width }
}

/// SigLIP 2's text tower, whose words C-RADIO's head understands.
package struct SigLIPConfig: Equatable, Sendable {
  package var tower: TextConfig
  /// The tower as RADIO's checkpoints name it: `siglip2-so400m`.
  package var textModel: String

  package init(tower: TextConfig, textModel: String) { (self.tower, self.textModel) = (tower, textModel) }
}

/// SAM: the image encoder and what the mask decoder adds.
package struct SAMConfig: Equatable, Sendable {
  package var vision: VisionConfig
  package var window: Int
  package var globalBlocks: [Int]
  package var neckWidth: Int
  package var decoder: DecoderConfig

  package var blocks: TransformerConfig { vision.blocks }
  /// False where another network makes what the neck takes; then `blocks` has a width and nothing else.
  package var hasEncoder: Bool { blocks.depth > 0 }
  package var grid: Int { vision.grid }
  package var imageSide: Int { vision.grid * vision.patch }
  package var tokenCount: Int { grid * grid }

  package init(vision: VisionConfig, window: Int, globalBlocks: [Int], neckWidth: Int, decoder: DecoderConfig)
  {
    self.vision = vision
    self.window = window
    self.globalBlocks = globalBlocks
    self.neckWidth = neckWidth
    self.decoder = decoder
  }

  /// Side of the square that a block attends within.
  package func attentionSide(_ block: Int) -> Int { globalBlocks.contains(block) ? grid : window }
}

/// SAM's mask decoder.
package struct DecoderConfig: Equatable, Sendable {
  package var depth: Int
  package var heads: Int
  package var mlpWidth: Int
  package var maskTokens: Int
  package var hyperDepth: Int
  package var iouDepth: Int
  /// Channels inside the cross attentions.
  package var attentionWidth: Int
  /// Hidden width of the IoU head; the hypernetworks' is the neck's.
  package var iouWidth: Int

  package init(
    depth: Int, heads: Int, mlpWidth: Int, maskTokens: Int, hyperDepth: Int, iouDepth: Int,
    attentionWidth: Int,
    iouWidth: Int
  ) {
    self.depth = depth
    self.heads = heads
    self.mlpWidth = mlpWidth
    self.maskTokens = maskTokens
    self.hyperDepth = hyperDepth
    self.iouDepth = iouDepth
    self.attentionWidth = attentionWidth
    self.iouWidth = iouWidth
  }
}

/// Everything the model file says about sizes; a network that is not in the file is nil.
package struct ModelConfig: Equatable, Sendable {
  package var text: TextConfig?
  package var dino: VisionConfig?
  package var clip: CLIPConfig?
  package var sam: SAMConfig?
  package var radio: RADIOConfig?
  package var siglip: SigLIPConfig?
  /// BLIP's image tower; it comes with `bert`.
  package var blip: VisionConfig?
  /// BLIP's text tower, which looks at the image tower's tokens.
  package var bert: TextConfig?
  /// CLIP's text tower by name, in files that hold either it or CLIP's image tower: what lets a vocabulary
  /// of the one be used with the other.
  package var clipText: String?

  package init() {}

  /// The networks of the file, in the order of use.
  package var roles: [NetworkRole] {
    NetworkRole.allCases.filter { role in
      switch role {
      case .text: text != nil
      case .dino: dino != nil
      case .clip: clip != nil
      case .sam: sam != nil
      case .radio: radio != nil
      case .siglip: siglip != nil
      case .blip: blip != nil
      case .bert: bert != nil
      }
    }
  }
}

extension PositionRule {
  /// As the model file and `--dino-positions` spell it; nil: rules that a network's kind implies.
  package var name: String? {
    switch self {
    case .bicubicWithFactor: "step"
    case .bicubic: "size"
    case .bicubicAntialias: "antialias"
    case .ofWindow: "window"
    case .bilinearCropped, .stored: nil
    }
  }

  /// Rules that a checkpoint may leave open.
  static let named: [PositionRule] = [.bicubicWithFactor, .bicubic, .bicubicAntialias]

  package init?(name: String) {
    guard let rule = Self.named.first(where: { $0.name == name }) else { return nil }
    self = rule
  }
}

extension Activation {
  /// As the model file spells it.
  package var name: String {
    switch self {
    case .gelu: "gelu"
    case .quickGELU: "quickgelu"
    case .tanhGELU: "gelu_tanh"
    case .relu: "relu"
    case .none: "none"
    }
  }

  package init?(name: String) {
    guard let known = [Activation.gelu, .quickGELU].first(where: { $0.name == name }) else { return nil }
    self = known
  }
}
