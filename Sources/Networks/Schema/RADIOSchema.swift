// The tensors of C-RADIO: backbone, feature normalizer, language head.
import Compute

/// C-RADIO with the head of one teacher.
package struct RADIOSchema: NetworkSchema {
  package let vision: VisionSchema
  /// Layer scale of the last block's attention, which uses its projection unscaled.
  package let lastScale: FloatsSpec
  package let normalizerMean: FloatsSpec?
  package let normalizer: LinearSpec?
  package let headParts: AdaptorSchema
  /// The `sam` teacher's feature projection, where the file holds SAM's decoder.
  package let samHead: AdaptorSchema?

  package init(_ config: RADIOConfig) {
    vision = VisionSchema(config.vision)
    lastScale = FloatsSpec("radio.scale.last", [config.width])
    normalizerMean = config.hasNormalizer ? FloatsSpec("radio.normalizer.mean", [config.width]) : nil
    normalizer =
      config.hasNormalizer
      ? LinearSpec("radio.normalizer.tx", inputs: config.width, outputs: config.width, hasBias: false) : nil
    headParts = AdaptorSchema("radio.head", config.head, inputs: config.width)
    samHead = config.samHead.map { AdaptorSchema("radio.sam_head", $0, inputs: config.width) }
  }

  package var role: NetworkRole { .radio }
  package var head: [any WeightSpec] { vision.head }
  package var blocks: [BlockSchema] { vision.blocks }
  package var tail: [any WeightSpec] {
    let optional: [(any WeightSpec)?] = [normalizerMean, normalizer]
    let heads = headParts.parts + (samHead?.parts ?? [])
    return [lastScale] + vision.tail + optional.compactMap { $0 } + heads
  }
}

/// A small MLP between two spaces.
package struct AdaptorSchema: Sendable {
  package let first: LinearSpec
  /// Norm and linear layer of each inner block.
  package let blocks: [(norm: NormSpec, out: LinearSpec)]
  package let norm: NormSpec
  package let last: LinearSpec

  init(_ name: String, _ config: AdaptorConfig, inputs: Int) {
    let hidden = config.hidden
    first = LinearSpec(name + ".in", inputs: inputs, outputs: hidden)
    blocks = (0..<config.blocks).map {
      (
        NormSpec("\(name).blocks.\($0).norm", width: hidden, epsilon: 1e-5),
        LinearSpec("\(name).blocks.\($0).out", inputs: hidden, outputs: hidden)
      )
    }
    norm = NormSpec(name + ".norm", width: hidden, epsilon: 1e-5)
    last = LinearSpec(name + ".out", inputs: hidden, outputs: config.outputs)
  }

  var parts: [any WeightSpec] {
    [first] + blocks.flatMap { [$0.norm, $0.out] as [any WeightSpec] } + [norm, last]
  }
}
