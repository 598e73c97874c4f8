// Model files of random sizes that contradict themselves nowhere.
import Compute
import Container
import Segmentation

/// Draws a configuration within the limits of what is accepted, and weights for it.
struct RandomModel {
  let made: (editor: ModelEditor, config: ModelConfig)

  init(_ attack: inout Attack, _ method: MethodName) {
    var config = ModelConfig()
    switch method {
    case .radseg: config.radio = Self.radio(&attack)
    case .scCLIP: Self.addCLIP(&config, &attack)
    case .pnpOVSS: Self.addBLIP(&config, &attack)
    case .trident:
      Self.addCLIP(&config, &attack)
      var blocks = Self.blocks(.dino, &attack)
      blocks.isGated = attack.below(4) == 0
      config.dino = .dino(
        blocks, patch: attack.pick([1, 2, 4, 8, 16, config.clip?.patch ?? 3]), grid: 1 + attack.below(8),
        positions: attack.pick([.bicubicWithFactor, .bicubicWithFactor, .bicubic, .bicubicAntialias]),
        registers: attack.pick([0, 0, 1, 4]))
      config.sam = Self.sam(&attack)
    }
    var values: [(key: String, value: GGUFValue)] = [
      ("general.architecture", .string(MappedModel.architecture)),
      ("trident.format_version", .uint32(UInt32(MappedModel.formatVersion))),
      ("trident.packing", .string(MappedModel.packing)),
    ]
    values += config.keys
    if config.text != nil { values.append(("tokenizer.ggml.merges", .strings([]))) }
    if config.bert != nil { values.append(("tokenizer.ggml.tokens", .strings(Self.pieces))) }
    let tensors = Self.schemas(config).flatMap(\.parts).flatMap(\.tensors).map { declaration in
      (declaration: declaration, bytes: Self.bytes(declaration, &attack))
    }
    made = (ModelEditor(values: values, tensors: tensors), config)
  }

  /// What made it, for messages.
  static func sizes(_ config: ModelConfig) -> String {
    config.keys.map { "\($0.key.dropFirst(8))=\($0.value)" }.joined(separator: " ")
  }

  private static func schemas(_ config: ModelConfig) -> [any NetworkSchema] {
    let all: [(any NetworkSchema)?] = [
      config.text.map { TextSchema($0) }, config.dino.map { VisionSchema($0) },
      config.clip.map { CLIPSchema($0) }, config.sam.map { SAMSchema($0) },
      config.radio.map { RADIOSchema($0) }, config.blip.map { VisionSchema($0) },
      config.bert.flatMap { text in config.blip.map { BERTSchema(text, imageWidth: $0.width) } },
    ]
    return all.compactMap { $0 }
  }

  private static func blocks(_ role: NetworkRole, _ attack: inout Attack) -> TransformerConfig {
    let head = attack.pick([1, 3, 8, 16, 17, 24])
    var config = TransformerConfig(
      role: role, width: attack.pick([1, 5, 16, 31, 48, 64]),
      depth: (role == .clip ? 2 : 1) + attack.below(3), headWidth: head,
      mlpWidth: 1 + attack.below(70), normEpsilon: 1e-5, activation: .gelu)
    config.heads = 1 + attack.below(3)
    return config
  }

  private static func addCLIP(_ config: inout ModelConfig, _ attack: inout Attack) {
    let embedWidth = 1 + attack.below(40)
    config.clip = CLIPConfig(
      vision: .clip(blocks(.clip, &attack), patch: attack.pick([1, 3, 8, 16]), grid: 1 + attack.below(8)),
      embedWidth: embedWidth)
    config.clip?.hasLastMLP = attack.below(3) == 0
    config.text = TextConfig(
      blocks: blocks(.text, &attack), context: 2 + attack.below(20), vocabularySize: 514,
      embedWidth: embedWidth)
  }

  /// A word list in which every word of small letters can be spelled.
  private static let pieces: [String] = {
    let marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", "[ENC]"]
    let letters = "abcdefghijklmnopqrstuvwxyz".map(String.init)
    return marks + letters + letters.map { "##" + $0 }
  }()

  private static func addBLIP(_ config: inout ModelConfig, _ attack: inout Attack) {
    config.blip = .blip(
      blocks(.blip, &attack), patch: attack.pick([4, 8, 16]), grid: 1 + attack.below(8))
    var text = blocks(.bert, &attack)
    // Other widths are refused; one in eight is left to see that.
    if attack.below(8) > 0 { text.width = text.heads * text.headWidth }
    config.bert = TextConfig(
      blocks: text, context: 24 + attack.below(40), vocabularySize: pieces.count,
      embedWidth: 1 + attack.below(40))
  }

  private static func sam(_ attack: inout Attack) -> SAMConfig {
    let blocks = blocks(.sam, &attack)
    let heads = attack.pick([1, 2, 4])
    let neck = 8 * attack.pick([1, 2, 4])
    let decoder = DecoderConfig(
      depth: 1 + attack.below(3), heads: heads, mlpWidth: 1 + attack.below(70),
      maskTokens: 1 + attack.below(5), hyperDepth: 1 + attack.below(4), iouDepth: 1 + attack.below(4),
      attentionWidth: heads * (1 + attack.below(12)), iouWidth: attack.pick([neck, 1, 7, 64, 1024]))
    let others = (0..<blocks.depth - 1).filter { _ in attack.below(2) == 0 }
    return SAMConfig(
      vision: .sam(blocks, patch: attack.pick([1, 4, 8, 16]), grid: 1 + attack.below(9)),
      window: 1 + attack.below(9), globalBlocks: others + [blocks.depth - 1], neckWidth: neck,
      decoder: decoder)
  }

  private static func radio(_ attack: inout Attack) -> RADIOConfig {
    var blocks = blocks(.radio, &attack)
    // Other widths are refused; one in eight is left to see that.
    if attack.below(8) > 0 { blocks.width = blocks.heads * blocks.headWidth }
    let vision = VisionConfig.radio(
      blocks, patch: attack.pick([4, 8, 16]), grid: 1 + attack.below(9),
      prefixTokens: 1 + attack.below(8), hasPostNorm: attack.below(2) == 0,
      positions: attack.pick([.bilinearCropped, .bilinearCropped, .ofWindow]))
    let version = attack.pick([AdaptorConfig.Version.v1, .v2])
    let head = AdaptorConfig(
      version: version, hidden: 1 + attack.below(60), blocks: version == .v1 ? 0 : attack.below(3),
      outputs: 1 + attack.below(40))
    return RADIOConfig(vision: vision, hasNormalizer: attack.below(2) == 0, head: head, textModel: "toy")
  }

  /// Weights of the size that networks have, and scales to match.
  private static func bytes(_ tensor: TensorDeclaration, _ attack: inout Attack) -> [UInt8] {
    let count = tensor.dimensions.reduce(1, *)
    switch tensor.type {
    case .i8: return (0..<count).map { _ in UInt8(bitPattern: Int8(attack.below(255) - 127)) }
    case .f16: return (0..<count).flatMap { _ in [UInt8(attack.below(256)), UInt8(0x28 + attack.below(8))] }
    case .i32: return [UInt8](repeating: 0, count: 4 * count)
    default:
      let isScale = tensor.name.hasSuffix(".scale")
      return (0..<count).flatMap { _ in
        let unit = Float(attack.below(2001) - 1000) / 1000
        let value: Float = isScale ? 0.001 + 0.001 * abs(unit) : unit
        return withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
      }
    }
  }
}
