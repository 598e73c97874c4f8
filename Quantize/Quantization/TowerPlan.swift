// What all transformers have in common: sizes and blocks.

import Compute
import Container
import Segmentation

/// The names of one block's parts below a view's prefix.
struct BlockNames {
  let norm1: String
  let norm2: String
  /// One fused tensor [3 width, width], or q, k and v of [width, width] each.
  let qkvWeights: [String]
  let qkvBiases: [String]
  let out: String
  let mlpIn: String
  let mlpOut: String
  /// Layer scales, which are multiplied into `out` and `mlpOut`.
  var outScale: String?
  var mlpOutScale: String?
  /// The loudest channel of `mlpOut` is suppressed.
  var isSuppressed = false
}

extension CheckpointView {
  /// Sizes of one tower.
  ///
  /// - Errors: widths that heads do not divide.
  func tower(
    _ role: NetworkRole, width: Int, depth: Int, headWidth: Int, mlpWidth: Int, normEpsilon: Float = 1e-6,
    activation: Activation = .gelu
  ) throws(QuantizationError) -> TransformerConfig {
    guard headWidth > 0, width > 0, width % headWidth == 0 else {
      throw refuse("width \(width) is not a multiple of the head width \(headWidth)")
    }
    return TransformerConfig(
      role: role, width: width, depth: depth, headWidth: headWidth, mlpWidth: mlpWidth,
      normEpsilon: normEpsilon, activation: activation)
  }

  /// One block: norm1, qkv and out with padded heads, norm2, the two MLP layers. An MLP that the file leaves
  /// out is not looked at.
  mutating func block(
    _ part: BlockSchema, _ names: BlockNames, _ config: TransformerConfig, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let width = config.width
    try norm(part.norm1, from: names.norm1, &plan)
    let partRows = 3 * width / names.qkvWeights.count
    var weights: [String] = []
    for name in names.qkvWeights { weights.append(try require(name, [partRows, width])) }
    var biases: [String] = []
    for name in names.qkvBiases { biases.append(try require(name, [partRows])) }
    var qkv = LinearRecipe(
      weight: .rows(weights), bias: BiasSource(names: biases), rows: 3 * width, columns: width)
    qkv.rowHeads = HeadSpread(parts: 3, heads: config.heads, width: config.headWidth)
    plan.fill(part.qkv, .linear(qkv), from: self)
    var out = LinearRecipe(
      weight: .rows([try require(names.out + ".weight", [width, width])]),
      bias: BiasSource(names: [try require(names.out + ".bias", [width])]), rows: width, columns: width)
    out.columnHeads = HeadSpread(parts: 1, heads: config.heads, width: config.headWidth)
    out.rowFactors = try layerScale(names.outScale, width)
    plan.fill(part.out, .linear(out), from: self)
    guard let mlp = part.mlp else {
      return ignore { name in [names.norm2, names.mlpIn, names.mlpOut].contains { name.hasPrefix($0 + ".") } }
    }
    try norm(mlp.norm, from: names.norm2, &plan)
    try linear(mlp.first, from: names.mlpIn, &plan)
    try linear(
      mlp.second, from: names.mlpOut, scale: names.mlpOutScale, isSuppressed: names.isSuppressed, &plan)
  }

  /// The patch embedding.
  mutating func patch(
    _ part: LinearSpec, weight: String, bias: String?, _ config: VisionConfig, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let name = try require(weight, [config.width, 3, config.patch, config.patch])
    let biases = try bias.map { name throws(QuantizationError) in [try require(name, [config.width])] } ?? []
    let recipe = LinearRecipe(
      weight: .rows([name]), bias: BiasSource(names: biases), rows: config.width, columns: config.patchLength)
    plan.fill(part, .linear(recipe), from: self)
  }
}
