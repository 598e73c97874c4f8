// The tensors of transformers: blocks, image towers, text towers. docs/model-file.md says the same in
// words.
import Compute

/// The second half of a block: x += second(activation(first(norm(x)))).
package struct MLPSchema: Sendable {
  package let norm: NormSpec
  package let first: LinearSpec
  package let second: LinearSpec
  /// Of what `first` makes, silu(first half) * second half goes on.
  package let isGated: Bool

  /// - Parameter name: of the block.
  init(_ config: TransformerConfig, _ name: String) {
    norm = NormSpec(name + ".norm2", width: config.width, epsilon: config.normEpsilon)
    first = LinearSpec(name + ".mlp_in", inputs: config.width, outputs: config.mlpOutputs)
    second = LinearSpec(name + ".mlp_out", inputs: config.mlpWidth, outputs: config.width)
    isGated = config.isGated
  }

  var parts: [any WeightSpec] { [norm, first, second] }
}

/// One pre-norm block.
package struct BlockSchema: Sendable {
  /// `E.blocks.N`: what all its tensors' names begin with.
  package let name: String
  package let norm1: NormSpec
  package let qkv: LinearSpec
  /// Decomposed relative positions, where the block attends within a square of known side.
  package let relativeHeight: FloatsSpec?
  package let relativeWidth: FloatsSpec?
  package let out: LinearSpec
  /// Nil: the block ends with its attention, of which methods take parts.
  package let mlp: MLPSchema?

  init(_ config: TransformerConfig, _ block: Int, relativeSide side: Int? = nil, hasMLP: Bool = true) {
    let name = "\(config.role.rawValue).blocks.\(block)"
    let width = config.width
    self.name = name
    norm1 = NormSpec(name + ".norm1", width: width, epsilon: config.normEpsilon)
    qkv = LinearSpec(name + ".qkv", inputs: width, outputs: 3 * config.inner)
    relativeHeight = side.map { FloatsSpec(name + ".rel_h", [config.headWidth, 2 * $0 - 1]) }
    relativeWidth = side.map { FloatsSpec(name + ".rel_w", [config.headWidth, 2 * $0 - 1]) }
    out = LinearSpec(name + ".out", inputs: config.inner, outputs: width)
    mlp = hasMLP ? MLPSchema(config, name) : nil
  }

  package var parts: [any WeightSpec] {
    let positions: [any WeightSpec] = [relativeHeight, relativeWidth].compactMap { $0 }
    return [norm1, qkv] + positions + [out] + (mlp?.parts ?? [])
  }
}

/// An image tower: CLIP's, DINO's, SAM's.
package struct VisionSchema: NetworkSchema {
  package let role: NetworkRole
  /// Shapes: [width, 3 * patch * patch] in order (channel, y, x).
  package let patch: LinearSpec
  /// Shapes: [prefixTokens - registers, width].
  package let classToken: FloatsSpec?
  /// Shapes: [registers, width].
  package let registers: FloatsSpec?
  /// Shapes: [positionedPrefix + grid * grid, width].
  package let position: PositionSpec
  package let normPre: NormSpec?
  package let blocks: [BlockSchema]
  package let normPost: NormSpec?

  package init(
    _ config: VisionConfig, hasLastMLP: Bool = true, relativeSide: (Int) -> Int? = { _ in nil }
  ) {
    let name = config.blocks.role.rawValue
    let width = config.width
    func norm(_ part: String) -> NormSpec {
      NormSpec("\(name).\(part)", width: width, epsilon: config.blocks.normEpsilon)
    }
    role = config.blocks.role
    patch = LinearSpec(
      name + ".patch", inputs: config.patchLength, outputs: width, hasBias: config.patchHasBias)
    classToken =
      switch config.prefixTokens {
      case 0: nil
      case _ where config.blocks.role == .radio: FloatsSpec(name + ".prefix", [width, config.prefixTokens])
      default: FloatsSpec(name + ".class_embedding", [width])
      }
    registers =
      config.registers == 0 ? nil : FloatsSpec(name + ".registers", [width, config.registers])
    position = PositionSpec(name + ".position", width: width, rows: config.positionCount)
    normPre = config.hasPreNorm ? norm("norm_pre") : nil
    blocks = (0..<config.depth).map { block in
      BlockSchema(
        config.blocks, block, relativeSide: relativeSide(block),
        hasMLP: hasLastMLP || block < config.depth - 1)
    }
    normPost = config.hasPostNorm ? norm("norm_post") : nil
  }

  package var head: [any WeightSpec] {
    let token: [any WeightSpec] = [classToken, registers].compactMap { $0 }
    let norm: [any WeightSpec] = [normPre].compactMap { $0 }
    return [patch] + token + [position] + norm
  }
  package var tail: [any WeightSpec] { [normPost].compactMap { $0 } }
}

/// CLIP's image tower and its projection to the space that text shares.
package struct CLIPSchema: NetworkSchema {
  package let vision: VisionSchema
  package let projection: LinearSpec

  package init(_ config: CLIPConfig) {
    vision = VisionSchema(config.vision, hasLastMLP: config.hasLastMLP)
    projection = LinearSpec("clip.proj", inputs: config.width, outputs: config.embedWidth, hasBias: false)
  }

  package var role: NetworkRole { .clip }
  package var head: [any WeightSpec] { vision.head }
  package var blocks: [BlockSchema] { vision.blocks }
  package var tail: [any WeightSpec] { vision.tail + [projection] }
}

/// CLIP's text tower.
package struct TextSchema: NetworkSchema {
  /// Shapes: [vocabulary, width].
  package let tokens: TableSpec
  /// Shapes: [context, width].
  package let position: PositionSpec
  package let blocks: [BlockSchema]
  package let normPost: NormSpec
  package let projection: LinearSpec

  package init(_ config: TextConfig) {
    tokens = TableSpec("text.token", width: config.width, rows: config.vocabularySize)
    position = PositionSpec("text.position", width: config.width, rows: config.context)
    blocks = (0..<config.blocks.depth).map { BlockSchema(config.blocks, $0) }
    normPost = NormSpec("text.norm_post", width: config.width, epsilon: config.blocks.normEpsilon)
    projection = LinearSpec("text.proj", inputs: config.width, outputs: config.embedWidth, hasBias: false)
  }

  package var role: NetworkRole { .text }
  package var head: [any WeightSpec] { [tokens, position] }
  package var tail: [any WeightSpec] { [normPost, projection] }
}

/// SigLIP's text tower.
package struct SigLIPSchema: NetworkSchema {
  /// Shapes: [vocabulary, width].
  package let tokens: TableSpec
  /// Shapes: [context, width].
  package let position: PositionSpec
  package let blocks: [BlockSchema]
  package let normPost: NormSpec
  /// Shapes: [embedWidth, width].
  package let projection: LinearSpec

  package init(_ config: SigLIPConfig) {
    let tower = config.tower
    tokens = TableSpec("siglip.token", width: tower.width, rows: tower.vocabularySize)
    position = PositionSpec("siglip.position", width: tower.width, rows: tower.context)
    blocks = (0..<tower.blocks.depth).map { BlockSchema(tower.blocks, $0) }
    normPost = NormSpec("siglip.norm_post", width: tower.width, epsilon: tower.blocks.normEpsilon)
    projection = LinearSpec("siglip.head", inputs: tower.width, outputs: tower.embedWidth)
  }

  package var role: NetworkRole { .siglip }
  package var head: [any WeightSpec] { [tokens, position] }
  package var tail: [any WeightSpec] { [normPost, projection] }
  /// Of the embeddings a few rows are gathered; the table is not read.
  package var streamed: [any WeightSpec] { [position] + blocks.flatMap(\.parts) + tail }
}
