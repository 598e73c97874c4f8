// Where the weights of one transformer block lie in the model file.
import Compute

/// The second half of a block.
///
/// - Shapes: `first` [mlpOutputs, width]; `second` [width, mlpWidth].
package struct MLPWeights {
  package let norm: NormWeights
  package let first: PackedLinear
  package let second: PackedLinear
  /// Of what `first` makes, silu(first half) * second half goes on.
  package let isGated: Bool

  init(_ model: Model, _ mlp: MLPSchema) {
    (norm, first, second) = (model[mlp.norm], model[mlp.first], model[mlp.second])
    isGated = mlp.isGated
  }
}

/// One pre-norm block.
///
/// - Shapes: `qkv` [3 * inner, width]; `out` [width, inner]; `relativeHeight`, `relativeWidth` [2 * side - 1,
///   headWidth] (SAM only).
package struct BlockWeights {
  package let norm1: NormWeights
  package let qkv: PackedLinear
  package let out: PackedLinear
  /// Nil where the file leaves it out.
  package let mlp: MLPWeights?
  package let relativeHeight: UnsafePointer<Float>?
  package let relativeWidth: UnsafePointer<Float>?

  package init(_ model: Model, _ block: BlockSchema) {
    norm1 = model[block.norm1]
    qkv = model[block.qkv]
    out = model[block.out]
    mlp = block.mlp.map { MLPWeights(model, $0) }
    relativeHeight = block.relativeHeight.map { model[$0] }
    relativeWidth = block.relativeWidth.map { model[$0] }
  }
}
