// Where the weights of one transformer block lie in the model file.
import Compute

/// One pre-norm block.
///
/// - Shapes: `qkv` [3 * inner, width]; `out` [width, inner]; `mlpIn` [mlpOutputs, width]; `mlpOut` [width,
///   mlpWidth];
///   `relativeHeight`, `relativeWidth` [2 * side - 1, headWidth] (SAM only).
package struct BlockWeights {
  package let norm1: NormWeights
  package let qkv: PackedLinear
  package let out: PackedLinear
  package let norm2: NormWeights
  package let mlpIn: PackedLinear
  package let mlpOut: PackedLinear
  /// Of what `mlpIn` makes, silu(first half) * second half goes on.
  package let isGated: Bool
  package let relativeHeight: UnsafePointer<Float>?
  package let relativeWidth: UnsafePointer<Float>?

  package init(_ model: Model, _ block: BlockSchema) {
    norm1 = model[block.norm1]
    qkv = model[block.qkv]
    out = model[block.out]
    norm2 = model[block.norm2]
    mlpIn = model[block.mlpIn]
    mlpOut = model[block.mlpOut]
    isGated = block.isGated
    relativeHeight = block.relativeHeight.map { model[$0] }
    relativeWidth = block.relativeWidth.map { model[$0] }
  }
}
