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

  /// Shapes: [outputs, inputs].
  var rows: Rows { Rows(reading: weight, count: outputs, width: inputs) }

  package init(weight: UnsafePointer<Float>, bias: UnsafePointer<Float>, inputs: Int, outputs: Int) {
    (self.weight, self.bias) = (weight, bias)
    (self.inputs, self.outputs) = (inputs, outputs)
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
  package var decoder: DecoderConfig
  /// What every prompt says.
  package var prompts: PromptKinds

  package init(
    grid: Int, imageSide: Int, width: Int, decoder: DecoderConfig, prompts: PromptKinds = .all
  ) {
    (self.grid, self.imageSide, self.width) = (grid, imageSide, width)
    (self.decoder, self.prompts) = (decoder, prompts)
  }

  package var depth: Int { decoder.depth }
  package var heads: Int { decoder.heads }
  package var mlpWidth: Int { decoder.mlpWidth }
  package var maskTokens: Int { decoder.maskTokens }
  package var attentionWidth: Int { decoder.attentionWidth }
  package var iouWidth: Int { decoder.iouWidth }

  /// One point and two box corners; a point without a box is followed by a padding point.
  var promptTokens: Int {
    prompts.contains(.box) ? (prompts.contains(.point) ? 3 : 2) : prompts.contains(.point) ? 2 : 0
  }
  /// IoU token, mask tokens, prompt tokens.
  package var tokens: Int { 1 + maskTokens + promptTokens }
  /// Image tokens.
  package var cells: Int { grid * grid }
  /// Side of mask prompts and of mask logits.
  package var maskSide: Int { 4 * grid }
}

/// Prompt encoder.
///
/// - Shapes: gaussian [2, width / 2]; points [4, width]; notAPoint, noMask [width]; convolutions [out, in, 2,
///   2], the last [width, 16].
package struct PromptWeights {
  package let gaussian: UnsafePointer<Float>
  package let points: UnsafePointer<Float>
  /// The padding point behind a point without a box.
  package let notAPoint: UnsafePointer<Float>
  /// Stands in every cell where there is no mask prompt.
  package let noMask: UnsafePointer<Float>
  /// Of the mask prompt: two that halve its sides, one cell by cell.
  package let convolutions: [DenseWeights]
  /// Behind the first and the second convolution.
  package let norms: [NormWeights]

  package init(
    gaussian: UnsafePointer<Float>, points: UnsafePointer<Float>, notAPoint: UnsafePointer<Float>,
    noMask: UnsafePointer<Float>, convolutions: [DenseWeights], norms: [NormWeights]
  ) {
    (self.gaussian, self.points) = (gaussian, points)
    (self.notAPoint, self.noMask) = (notAPoint, noMask)
    (self.convolutions, self.norms) = (convolutions, norms)
  }
}

/// The four projections of one attention.
package struct AttentionWeights {
  package let q: PackedLinear
  package let k: PackedLinear
  package let v: PackedLinear
  package let out: PackedLinear

  package init(q: PackedLinear, k: PackedLinear, v: PackedLinear, out: PackedLinear) {
    (self.q, self.k, self.v, self.out) = (q, k, v, out)
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
    (self.selfAttention, self.crossToken, self.crossImage) = (selfAttention, crossToken, crossImage)
    (self.mlpIn, self.mlpOut, self.norms) = (mlpIn, mlpOut, norms)
  }
}

/// What the decoder starts from, ahead of the prompt's tokens.
///
/// - Shapes: iou [width]; masks [count, width].
package struct OutputTokens {
  package let iou: UnsafePointer<Float>
  package let masks: UnsafePointer<Float>

  package init(iou: UnsafePointer<Float>, masks: UnsafePointer<Float>) {
    (self.iou, self.masks) = (iou, masks)
  }
}

/// Two transposed convolutions with a norm between.
///
/// - Shapes: first [4 * width / 4, width], second [4 * width / 8, width / 4], outputs in order (ky, kx,
///   channel).
package struct UpscaleWeights {
  package let first: PackedLinear
  package let norm: NormWeights
  package let second: PackedLinear

  package init(first: PackedLinear, norm: NormWeights, second: PackedLinear) {
    (self.first, self.norm, self.second) = (first, norm, second)
  }
}

/// Mask decoder.
package struct DecoderWeights {
  package let prompt: PromptWeights
  package let tokens: OutputTokens
  package let layers: [DecoderLayerWeights]
  package let final: AttentionWeights
  package let finalNorm: NormWeights
  package let upscale: UpscaleWeights
  /// Network of mask token 0.
  package let hyper: [DenseWeights]
  package let iou: [DenseWeights]

  package init(
    prompt: PromptWeights, tokens: OutputTokens, layers: [DecoderLayerWeights], final: AttentionWeights,
    finalNorm: NormWeights, upscale: UpscaleWeights, hyper: [DenseWeights], iou: [DenseWeights]
  ) {
    (self.prompt, self.tokens, self.layers) = (prompt, tokens, layers)
    (self.final, self.finalNorm, self.upscale) = (final, finalNorm, upscale)
    (self.hyper, self.iou) = (hyper, iou)
  }
}
