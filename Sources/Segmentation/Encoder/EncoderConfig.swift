// The numbers of the four encoders, as plain values read from the model file.
import Compute

/// A pre-norm vision or text transformer.
package struct EncoderConfig: Equatable, Sendable {
  /// Prefix of its tensors: `clip`, `text`, `dino` or `sam`.
  package var name: String
  package var width: Int
  package var depth: Int
  package var heads: Int
  package var headWidth: Int
  package var mlpWidth: Int
  /// Side of a patch in pixels (0 for text).
  package var patch: Int
  /// Side of the stored position grid (for text: the context length).
  package var grid: Int
  package var normEpsilon: Float
  package var activation: Activation

  /// Width of a head as stored: padded to whole panels.
  package var paddedHead: Int { roundUp(headWidth, to: 16) }
  /// Width of all heads as stored.
  package var inner: Int { heads * paddedHead }
}

/// SAM: the image encoder and what the mask decoder adds.
package struct SAMConfig: Equatable, Sendable {
  package var encoder: EncoderConfig
  package var window: Int
  package var globalBlocks: [Int]
  package var imageSide: Int
  package var neckWidth: Int
  package var decoderDepth: Int
  package var decoderHeads: Int
  package var decoderMLPWidth: Int
  package var maskTokens: Int
  package var hyperDepth: Int
  package var iouDepth: Int
  package var attentionWidth: Int

  package var grid: Int { encoder.grid }
  package var tokenCount: Int { grid * grid }
}

/// Everything the model file says about sizes.
package struct ModelConfig: Equatable, Sendable {
  package var clip: EncoderConfig
  package var text: EncoderConfig
  package var dino: EncoderConfig
  package var sam: SAMConfig
  package var embedWidth: Int
  package var vocabularySize: Int
}
