// Configurations to keys of the model file.
import Compute
import Container

/// Keys with their values, in the order of the file.
package typealias KeyValues = [(key: String, value: GGUFValue)]

private func values<Config>(_ prefix: String, _ config: Config, _ numbers: [NumberKey<Config>]) -> KeyValues {
  numbers.map { ("\(prefix).\($0.key)", .uint32(UInt32(clamping: config[keyPath: $0.path]))) }
}

extension VisionConfig {
  private var prefix: String { "trident.\(blocks.role.rawValue)" }
  fileprivate var sizes: KeyValues {
    values(prefix, blocks, TransformerConfig.numbers) + values(prefix, self, Self.numbers)
  }
  fileprivate var epsilon: KeyValues { [("\(prefix).norm_epsilon", .float32(blocks.normEpsilon))] }
}

extension VisionConfig {
  fileprivate var statistics: KeyValues {
    func array(_ numbers: SIMD3<Float>) -> GGUFValue {
      .array(of: .float32, (0..<3).map { .float32(numbers[$0]) })
    }
    return [("\(prefix).mean", array(pixels.mean)), ("\(prefix).std", array(pixels.deviation))]
  }
}

extension VisionConfig {
  /// What DINOv2 has beside DINO's keys; each is missing where the network is as DINO is.
  static let secondKeys = (
    registers: "trident.dino.registers", positions: "trident.dino.position_rule", mlp: "trident.dino.mlp"
  )

  fileprivate var second: KeyValues {
    var keys: KeyValues = []
    if registers > 0 { keys.append((Self.secondKeys.registers, .uint32(UInt32(clamping: registers)))) }
    if positions != .bicubicWithFactor, let rule = positions.name {
      keys.append((Self.secondKeys.positions, .string(rule)))
    }
    if blocks.isGated { keys.append((Self.secondKeys.mlp, .string("swiglu"))) }
    return keys
  }
}

extension CLIPConfig {
  static let noLastMLPKey = "trident.clip.no_last_mlp"
}

extension TextMarks {
  static let keys = (begin: "trident.text.begin_token", end: "trident.text.end_token")
}

extension AdaptorConfig {
  fileprivate func keys(_ prefix: String) -> KeyValues {
    let counts = [("hidden", hidden), ("blocks", blocks), ("outputs", outputs)]
    let values: KeyValues = counts.map { ("\(prefix).\($0.0)", .uint32(UInt32(clamping: $0.1))) }
    return values + [("\(prefix).version", .string(version.rawValue))]
  }
}

extension ModelConfig {
  static let clipTextKey = "trident.clip.text_model"

  /// The oldest version whose readers understand a file: 6 where CLIP's last MLP is left out, 5 where
  /// C-RADIO's positions are of one window, 4 where DINOv2 has keys of its own, 3 where a position table is
  /// in half floats, else 2.
  package func formatVersion(hasHalves: Bool) -> Int {
    if clip?.hasLastMLP == false { return 6 }
    if radio?.vision.positions == .ofWindow { return 5 }
    if let dino, !dino.second.isEmpty { return 4 }
    return hasHalves ? 3 : 2
  }

  /// What `init` reads, for the writer of a model file.
  package var keys: KeyValues {
    var keys: KeyValues = []
    if let clip {
      keys += clip.vision.sizes + [("trident.clip.embed_dim", .uint32(UInt32(clip.embedWidth)))]
      keys += [("trident.clip.activation", .string(clip.vision.blocks.activation.name))] + clip.vision.epsilon
      keys += clip.vision.statistics
      if !clip.hasLastMLP { keys.append((CLIPConfig.noLastMLPKey, .bool(true))) }
    }
    if let text {
      if clip == nil {
        keys.append(("trident.clip.embed_dim", .uint32(UInt32(clamping: text.embedWidth))))
        keys.append(("trident.clip.activation", .string(text.blocks.activation.name)))
        keys.append(("trident.clip.norm_epsilon", .float32(text.blocks.normEpsilon)))
      }
      keys += values("trident.text", text.blocks, TransformerConfig.numbers)
      keys += values("trident.text", text, TextConfig.numbers)
      if let marks = text.marks {
        keys.append((TextMarks.keys.begin, .uint32(UInt32(clamping: marks.begin))))
        keys.append((TextMarks.keys.end, .uint32(UInt32(clamping: marks.end))))
      }
    }
    if let dino { keys += dino.sizes + dino.epsilon + dino.statistics + dino.second }
    if let sam {
      var sizes = [("image_side", sam.imageSide), ("neck_width", sam.neckWidth)]
      if sam.hasEncoder {
        keys += sam.vision.sizes
        sizes.insert(("window", sam.window), at: 0)
      } else {
        sizes += [("width", sam.blocks.width), ("patch", sam.vision.patch), ("grid", sam.grid)]
      }
      keys += sizes.map { ("trident.sam.\($0.0)", .uint32(UInt32(clamping: $0.1))) }
      if sam.hasEncoder {
        keys.append(("trident.sam.global_blocks", .uint32s(sam.globalBlocks.map { UInt32($0) })))
      }
      keys += sam.vision.epsilon + values("trident.sam.decoder", sam.decoder, DecoderConfig.numbers)
    }
    if let radio {
      keys += radio.vision.sizes + radio.vision.epsilon
      keys.append(("trident.radio.prefix", .uint32(UInt32(clamping: radio.vision.prefixTokens))))
      if let rule = radio.vision.positions.name {
        keys.append(("trident.radio.position_rule", .string(rule)))
      }
      keys += radio.head.keys("trident.radio.head")
      if let head = radio.samHead { keys += head.keys("trident.radio.sam_head") }
      keys.append(("trident.radio.embed_dim", .uint32(UInt32(clamping: radio.embedWidth))))
      keys.append(("trident.radio.text_model", .string(radio.textModel)))
      keys.append(("trident.radio.norm_post", .bool(radio.vision.hasPostNorm)))
      keys.append(("trident.radio.normalizer", .bool(radio.hasNormalizer)))
    }
    if let siglip {
      let (prefix, tower) = ("trident.siglip", siglip.tower)
      keys += values(prefix, tower.blocks, TransformerConfig.numbers)
      keys += values(prefix, tower, TextConfig.numbers)
      keys.append(("\(prefix).embed_dim", .uint32(UInt32(clamping: tower.embedWidth))))
      keys.append(("\(prefix).norm_epsilon", .float32(tower.blocks.normEpsilon)))
      keys.append(("\(prefix).text_model", .string(siglip.textModel)))
    }
    if let clipText { keys.append((Self.clipTextKey, .string(clipText))) }
    if let blip { keys += blip.sizes + blip.epsilon }
    if let bert {
      keys += values("trident.bert", bert.blocks, TransformerConfig.numbers)
      keys += values("trident.bert", bert, TextConfig.numbers)
      keys.append(("trident.bert.embed_dim", .uint32(UInt32(clamping: bert.embedWidth))))
      keys.append(("trident.bert.norm_epsilon", .float32(bert.blocks.normEpsilon)))
    }
    return keys
  }
}
