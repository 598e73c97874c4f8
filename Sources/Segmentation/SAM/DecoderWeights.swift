// The weights of SAM's prompt encoder and mask decoder, as they lie in the model file.
import Compute

/// A small float layer.
///
/// - Shapes: weight [outputs, inputs]; bias [outputs].
package struct DenseWeights {
  package let weight: UnsafePointer<Float>
  package let bias: UnsafePointer<Float>
  package let inputs: Int
  package let outputs: Int

  package init(weight: UnsafePointer<Float>, bias: UnsafePointer<Float>, inputs: Int, outputs: Int) {
    self.weight = weight
    self.bias = bias
    self.inputs = inputs
    self.outputs = outputs
  }
}

/// Sizes of the mask decoder.
package struct DecoderShape: Equatable, Sendable {
  /// Side of the image embedding.
  package var grid: Int
  /// Side of SAM's input in pixels.
  package var imageSide: Int
  /// Channels of tokens and embedding.
  package var width: Int
  package var depth: Int
  package var heads: Int
  package var mlpWidth: Int
  package var maskTokens: Int
  /// Channels inside the cross attentions.
  package var attentionWidth: Int
  /// What every prompt says.
  package var prompts: PromptKinds

  package init(
    grid: Int, imageSide: Int, width: Int, depth: Int, heads: Int, mlpWidth: Int, maskTokens: Int,
    attentionWidth: Int, prompts: PromptKinds = .all
  ) {
    self.grid = grid
    self.imageSide = imageSide
    self.width = width
    self.depth = depth
    self.heads = heads
    self.mlpWidth = mlpWidth
    self.maskTokens = maskTokens
    self.attentionWidth = attentionWidth
    self.prompts = prompts
  }

  /// One point and two box corners; a point without a box is followed by a padding point.
  var promptTokens: Int { prompts.contains(.box) ? (prompts.contains(.point) ? 3 : 2) : prompts.contains(.point) ? 2 : 0 }
  /// IoU token, mask tokens, prompt tokens.
  package var tokens: Int { 1 + maskTokens + promptTokens }
  /// Image tokens.
  package var cells: Int { grid * grid }
  /// Side of mask prompts and of mask logits.
  package var maskSide: Int { 4 * grid }
}

/// Prompt encoder. Channel counts of the mask convolutions are those of every published SAM.
///
/// - Shapes: gaussian [2, width / 2]; points [4, width]; notAPoint, noMask [width]; convolutions [out, in, 2, 2], the
///   last [width, 16].
package struct PromptWeights {
  package static let firstChannels = 4
  package static let secondChannels = 16

  package let gaussian: UnsafePointer<Float>
  package let points: UnsafePointer<Float>
  /// The padding point behind a point without a box.
  package let notAPoint: UnsafePointer<Float>
  /// Stands in every cell where there is no mask prompt.
  package let noMask: UnsafePointer<Float>
  package let conv0: DenseWeights
  package let norm1: NormWeights
  package let conv3: DenseWeights
  package let norm4: NormWeights
  package let conv6: DenseWeights

  package init(
    gaussian: UnsafePointer<Float>, points: UnsafePointer<Float>, notAPoint: UnsafePointer<Float>,
    noMask: UnsafePointer<Float>, conv0: DenseWeights, norm1: NormWeights, conv3: DenseWeights, norm4: NormWeights,
    conv6: DenseWeights
  ) {
    self.gaussian = gaussian
    self.points = points
    self.notAPoint = notAPoint
    self.noMask = noMask
    self.conv0 = conv0
    self.norm1 = norm1
    self.conv3 = conv3
    self.norm4 = norm4
    self.conv6 = conv6
  }
}

/// The four projections of one attention.
package struct AttentionWeights {
  package let q: PackedLinear
  package let k: PackedLinear
  package let v: PackedLinear
  package let out: PackedLinear

  package init(q: PackedLinear, k: PackedLinear, v: PackedLinear, out: PackedLinear) {
    self.q = q
    self.k = k
    self.v = v
    self.out = out
  }
}

/// One layer of the two-way transformer.
package struct DecoderLayerWeights {
  /// Tokens among themselves.
  package let selfAttention: AttentionWeights
  /// Tokens look at the image.
  package let crossToken: AttentionWeights
  /// The image looks at tokens.
  package let crossImage: AttentionWeights
  package let mlpIn: PackedLinear
  package let mlpOut: PackedLinear
  /// norm1 ... norm4.
  package let norms: [NormWeights]

  package init(
    selfAttention: AttentionWeights, crossToken: AttentionWeights, crossImage: AttentionWeights,
    mlpIn: PackedLinear, mlpOut: PackedLinear, norms: [NormWeights]
  ) {
    self.selfAttention = selfAttention
    self.crossToken = crossToken
    self.crossImage = crossImage
    self.mlpIn = mlpIn
    self.mlpOut = mlpOut
    self.norms = norms
  }
}

/// Mask decoder.
///
/// - Shapes: iouToken [width]; maskTokens [count, width]; upscale0 [4 * width / 4, width] and
///   upscale3 [4 * width / 8, width / 4], outputs in order (ky, kx, channel).
package struct DecoderWeights {
  package let prompt: PromptWeights
  package let layers: [DecoderLayerWeights]
  package let final: AttentionWeights
  package let finalNorm: NormWeights
  package let iouToken: UnsafePointer<Float>
  package let maskTokens: UnsafePointer<Float>
  package let upscale0: PackedLinear
  package let upscaleNorm: NormWeights
  package let upscale3: PackedLinear
  /// Network of mask token 0.
  package let hyper: [DenseWeights]
  package let iou: [DenseWeights]

  package init(
    prompt: PromptWeights, layers: [DecoderLayerWeights], final: AttentionWeights, finalNorm: NormWeights,
    iouToken: UnsafePointer<Float>, maskTokens: UnsafePointer<Float>, upscale0: PackedLinear,
    upscaleNorm: NormWeights, upscale3: PackedLinear, hyper: [DenseWeights], iou: [DenseWeights]
  ) {
    self.prompt = prompt
    self.layers = layers
    self.final = final
    self.finalNorm = finalNorm
    self.iouToken = iouToken
    self.maskTokens = maskTokens
    self.upscale0 = upscale0
    self.upscaleNorm = upscaleNorm
    self.upscale3 = upscale3
    self.hyper = hyper
    self.iou = iou
  }
}
