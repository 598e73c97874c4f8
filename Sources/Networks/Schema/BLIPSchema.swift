// The tensors of BLIP's text tower and of the heads that compare it with an image. The image tower is a
// `VisionSchema`.
import Compute

/// One post-norm block: self-attention, cross-attention to an image's tokens, MLP.
package struct BERTBlockSchema: Sendable {
  /// `bert.blocks.N`.
  package let name: String
  package let selfQKV: LinearSpec
  package let selfOut: LinearSpec
  package let norm1: NormSpec
  package let crossQ: LinearSpec
  /// Keys and values of an image's tokens.
  package let crossKV: LinearSpec
  package let crossOut: LinearSpec
  package let norm2: NormSpec
  package let mlpIn: LinearSpec
  package let mlpOut: LinearSpec
  package let norm3: NormSpec

  init(_ config: TransformerConfig, _ block: Int, imageWidth: Int) {
    let name = "bert.blocks.\(block)"
    let (width, inner) = (config.width, config.inner)
    func norm(_ part: String) -> NormSpec {
      NormSpec("\(name).\(part)", width: width, epsilon: config.normEpsilon)
    }
    self.name = name
    selfQKV = LinearSpec(name + ".self_qkv", inputs: width, outputs: 3 * inner)
    selfOut = LinearSpec(name + ".self_out", inputs: inner, outputs: width)
    norm1 = norm("norm1")
    crossQ = LinearSpec(name + ".cross_q", inputs: width, outputs: inner)
    crossKV = LinearSpec(name + ".cross_kv", inputs: imageWidth, outputs: 2 * inner)
    crossOut = LinearSpec(name + ".cross_out", inputs: inner, outputs: width)
    norm2 = norm("norm2")
    mlpIn = LinearSpec(name + ".mlp_in", inputs: width, outputs: config.mlpWidth)
    mlpOut = LinearSpec(name + ".mlp_out", inputs: config.mlpWidth, outputs: width)
    norm3 = norm("norm3")
  }

  package var parts: [any WeightSpec] {
    let first: [any WeightSpec] = [selfQKV, selfOut, norm1, crossQ, crossKV]
    return first + [crossOut, norm2, mlpIn, mlpOut, norm3]
  }
}

/// BLIP's text tower with its two heads.
package struct BERTSchema: NetworkSchema {
  /// Shapes: [vocabulary, width].
  package let tokens: TableSpec
  /// Shapes: [context, width].
  package let position: PositionSpec
  package let normEmbed: NormSpec
  package let textBlocks: [BERTBlockSchema]
  /// Whether an image and a text belong together: no, yes. Shapes: [2, width].
  package let match: DenseSpec
  /// To the space that images and texts share. Shapes: [embedWidth, image width], [embedWidth, width].
  package let imageProjection: LinearSpec
  package let textProjection: LinearSpec

  package init(_ config: TextConfig, imageWidth: Int) {
    tokens = TableSpec("bert.token", width: config.width, rows: config.vocabularySize)
    position = PositionSpec("bert.position", width: config.width, rows: config.context)
    normEmbed = NormSpec("bert.norm_embed", width: config.width, epsilon: config.blocks.normEpsilon)
    textBlocks = (0..<config.blocks.depth).map {
      BERTBlockSchema(config.blocks, $0, imageWidth: imageWidth)
    }
    match = DenseSpec("itm", [config.width, 2])
    imageProjection = LinearSpec("itc.vision", inputs: imageWidth, outputs: config.embedWidth)
    textProjection = LinearSpec("itc.text", inputs: config.width, outputs: config.embedWidth)
  }

  package var role: NetworkRole { .bert }
  package var head: [any WeightSpec] { [tokens, position, normEmbed] }
  package var blocks: [BlockSchema] { [] }
  package var layers: [[any WeightSpec]] { textBlocks.map(\.parts) }
  package var tail: [any WeightSpec] { [match, imageProjection, textProjection] }
  /// Of the embeddings a few rows are gathered; the table is not read.
  package var streamed: [any WeightSpec] {
    let head: [any WeightSpec] = [position, normEmbed]
    return head + layers.flatMap { $0 } + tail
  }
}
