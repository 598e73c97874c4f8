// Where the weights of one transformer block lie in the model file.
import Compute

/// One pre-norm block.
///
/// - Shapes: `qkv` [3 * inner, width]; `out` [width, inner]; `mlpIn` [mlpWidth, width]; `mlpOut` [width, mlpWidth];
///   `relativeHeight`, `relativeWidth` [2 * side - 1, headWidth] (SAM only).
package struct BlockWeights {
  package let norm1: NormWeights
  package let qkv: PackedLinear
  package let out: PackedLinear
  package let norm2: NormWeights
  package let mlpIn: PackedLinear
  package let mlpOut: PackedLinear
  package let relativeHeight: UnsafePointer<Float>?
  package let relativeWidth: UnsafePointer<Float>?

  package init(_ reader: ModelReader, _ config: EncoderConfig, block: Int, relativeSide: Int? = nil)
    throws(SegmentationError)
  {
    let name = "\(config.name).blocks.\(block)"
    norm1 = try reader.norm(name + ".norm1", width: config.width, epsilon: config.normEpsilon)
    norm2 = try reader.norm(name + ".norm2", width: config.width, epsilon: config.normEpsilon)
    qkv = try reader.packed(name + ".qkv", inputs: config.width, outputs: 3 * config.inner)
    out = try reader.packed(name + ".out", inputs: config.inner, outputs: config.width)
    mlpIn = try reader.packed(name + ".mlp_in", inputs: config.width, outputs: config.mlpWidth)
    mlpOut = try reader.packed(name + ".mlp_out", inputs: config.mlpWidth, outputs: config.width)
    if let side = relativeSide {
      relativeHeight = try reader.floats(name + ".rel_h", [config.headWidth, 2 * side - 1])
      relativeWidth = try reader.floats(name + ".rel_w", [config.headWidth, 2 * side - 1])
    } else {
      relativeHeight = nil
      relativeWidth = nil
    }
  }
}
