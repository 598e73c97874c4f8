// The tensors of SAM: image encoder, neck, prompt encoder, mask decoder.
import Compute

/// All of SAM; or neck, prompt encoder and decoder, where another network stands for its encoder.
package struct SAMSchema: NetworkSchema {
  package let vision: VisionSchema
  private let hasEncoder: Bool
  package let neck: NeckSchema
  package let prompt: PromptSchema
  package let decoder: DecoderSchema

  package init(_ config: SAMConfig) {
    vision = VisionSchema(config.vision) { config.attentionSide($0) }
    hasEncoder = config.hasEncoder
    neck = NeckSchema(config)
    prompt = PromptSchema(width: config.neckWidth)
    decoder = DecoderSchema(config.decoder, width: config.neckWidth)
  }

  package var role: NetworkRole { .sam }
  package var head: [any WeightSpec] { hasEncoder ? vision.head : [] }
  package var blocks: [BlockSchema] { vision.blocks }
  package var tail: [any WeightSpec] { neck.parts + prompt.parts + decoder.parts }
  /// The decoder is read by another stage, region by region.
  package var streamed: [any WeightSpec] { blocks.flatMap(\.parts) }
}

/// From tokens to the image embedding.
package struct NeckSchema: Sendable {
  package let conv1: LinearSpec
  package let norm1: NormSpec
  /// Inputs in order (ky, kx, channel).
  package let conv2: LinearSpec
  package let norm2: NormSpec

  init(_ config: SAMConfig) {
    let (width, epsilon) = (config.neckWidth, config.blocks.normEpsilon)
    conv1 = LinearSpec("sam.neck.conv1", inputs: config.blocks.width, outputs: width, hasBias: false)
    norm1 = NormSpec("sam.neck.norm1", width: width, epsilon: epsilon)
    conv2 = LinearSpec("sam.neck.conv2", inputs: 9 * width, outputs: width, hasBias: false)
    norm2 = NormSpec("sam.neck.norm2", width: width, epsilon: epsilon)
  }

  var parts: [any WeightSpec] { [conv1, norm1, conv2, norm2] }
}

/// Points, boxes and mask prompts. Channels of the mask convolutions are those of every published SAM.
package struct PromptSchema: Sendable {
  package static let firstChannels = 4
  package static let secondChannels = 16

  package let gaussian: FloatsSpec
  package let points: FloatsSpec
  package let notAPoint: FloatsSpec
  package let noMask: FloatsSpec
  package let conv0: DenseSpec
  package let norm1: NormSpec
  package let conv3: DenseSpec
  package let norm4: NormSpec
  package let conv6: DenseSpec

  init(width: Int) {
    let (first, second) = (Self.firstChannels, Self.secondChannels)
    gaussian = FloatsSpec("sam.prompt.gaussian", [width / 2, 2])
    points = FloatsSpec("sam.prompt.points", [width, 4])
    notAPoint = FloatsSpec("sam.prompt.not_a_point", [width])
    noMask = FloatsSpec("sam.prompt.no_mask", [width])
    conv0 = DenseSpec("sam.prompt.mask.0", [2, 2, 1, first])
    norm1 = NormSpec("sam.prompt.mask.1", width: first, epsilon: 1e-6)
    conv3 = DenseSpec("sam.prompt.mask.3", [2, 2, first, second])
    norm4 = NormSpec("sam.prompt.mask.4", width: second, epsilon: 1e-6)
    conv6 = DenseSpec("sam.prompt.mask.6", [1, 1, second, width])
  }

  var parts: [any WeightSpec] { [gaussian, points, notAPoint, noMask, conv0, norm1, conv3, norm4, conv6] }
}

/// The four projections of one attention.
package struct AttentionSchema: Sendable {
  package let q: LinearSpec
  package let k: LinearSpec
  package let v: LinearSpec
  package let out: LinearSpec

  init(_ name: String, width: Int, inner: Int) {
    q = LinearSpec(name + ".q", inputs: width, outputs: inner)
    k = LinearSpec(name + ".k", inputs: width, outputs: inner)
    v = LinearSpec(name + ".v", inputs: width, outputs: inner)
    out = LinearSpec(name + ".out", inputs: inner, outputs: width)
  }

  var parts: [any WeightSpec] { [q, k, v, out] }
}

/// One layer of the two-way transformer.
package struct DecoderLayerSchema: Sendable {
  package let selfAttention: AttentionSchema
  package let crossToken: AttentionSchema
  package let crossImage: AttentionSchema
  package let mlpIn: LinearSpec
  package let mlpOut: LinearSpec
  /// norm1 ... norm4.
  package let norms: [NormSpec]

  init(_ config: DecoderConfig, width: Int, layer: Int) {
    let name = "sam.decoder.layers.\(layer)"
    selfAttention = AttentionSchema(name + ".self_attn", width: width, inner: width)
    crossToken = AttentionSchema(name + ".cross_token", width: width, inner: config.attentionWidth)
    crossImage = AttentionSchema(name + ".cross_image", width: width, inner: config.attentionWidth)
    mlpIn = LinearSpec(name + ".mlp_in", inputs: width, outputs: config.mlpWidth)
    mlpOut = LinearSpec(name + ".mlp_out", inputs: config.mlpWidth, outputs: width)
    norms = (1...4).map { NormSpec("\(name).norm\($0)", width: width, epsilon: 1e-5) }
  }

  var parts: [any WeightSpec] {
    selfAttention.parts + [norms[0]] + crossToken.parts + [norms[1], mlpIn, mlpOut, norms[2]]
      + crossImage.parts
      + [norms[3]]
  }
}

/// The mask decoder with mask token 0's hypernetwork and the IoU head.
package struct DecoderSchema: Sendable {
  package let iouToken: FloatsSpec
  package let maskTokens: FloatsSpec
  package let layers: [DecoderLayerSchema]
  package let final: AttentionSchema
  package let finalNorm: NormSpec
  /// Transposed convolutions: four times the outputs in order (ky, kx, output).
  package let upscale0: LinearSpec
  package let upscaleNorm: NormSpec
  package let upscale3: LinearSpec
  package let hyper: [DenseSpec]
  package let iou: [DenseSpec]

  init(_ config: DecoderConfig, width: Int) {
    iouToken = FloatsSpec("sam.decoder.iou_token", [width, 1])
    maskTokens = FloatsSpec("sam.decoder.mask_tokens", [width, config.maskTokens])
    layers = (0..<config.depth).map { DecoderLayerSchema(config, width: width, layer: $0) }
    final = AttentionSchema("sam.decoder.final", width: width, inner: config.attentionWidth)
    finalNorm = NormSpec("sam.decoder.final.norm", width: width, epsilon: 1e-5)
    upscale0 = LinearSpec("sam.decoder.upscale.0", inputs: width, outputs: width)
    upscaleNorm = NormSpec("sam.decoder.upscale.1", width: width / 4, epsilon: 1e-6)
    upscale3 = LinearSpec("sam.decoder.upscale.3", inputs: width / 4, outputs: width / 2)
    func perceptron(_ name: String, depth: Int, hidden: Int, outputs: Int) -> [DenseSpec] {
      (0..<depth).map { layer in
        DenseSpec(
          "sam.decoder.\(name).\(layer)",
          [layer == 0 ? width : hidden, layer == depth - 1 ? outputs : hidden])
      }
    }
    hyper = perceptron("hyper", depth: config.hyperDepth, hidden: width, outputs: width / 8)
    iou = perceptron("iou", depth: config.iouDepth, hidden: config.iouWidth, outputs: config.maskTokens)
  }

  var parts: [any WeightSpec] {
    var parts: [any WeightSpec] = [iouToken, maskTokens]
    parts += layers.flatMap(\.parts)
    parts += final.parts
    parts += [finalNorm, upscale0, upscaleNorm, upscale3]
    parts += hyper
    parts += iou
    return parts
  }
}
