// What the four transformers have in common: their sizes as keys, and their blocks.

import Container

/// Sizes of one tower.
///
/// - Errors: `init` refuses widths that heads do not divide.
struct TowerShape {
  let width: Int
  let depth: Int
  let heads: Int
  let headWidth: Int
  let mlpWidth: Int

  init(
    width: Int, depth: Int, headWidth: Int, mlpWidth: Int, in view: CheckpointView
  ) throws(QuantizationError) {
    guard headWidth > 0, width > 0, width % headWidth == 0 else {
      throw view.refuse("width \(width) is not a multiple of the head width \(headWidth)")
    }
    self.width = width
    self.depth = depth
    self.headWidth = headWidth
    self.mlpWidth = mlpWidth
    heads = width / headWidth
  }

  /// The keys every tower has, in the order of `docs/model-file.md`.
  func values(_ network: String) -> [(key: String, value: GGUFValue)] {
    [
      count(network, "width", width), count(network, "depth", depth), count(network, "heads", heads),
      count(network, "head_width", headWidth), count(network, "mlp_width", mlpWidth),
    ]
  }
}

/// A `trident.` key holding a count.
func count(_ network: String, _ key: String, _ value: Int) -> (key: String, value: GGUFValue) {
  ("trident.\(network).\(key)", .uint32(UInt32(clamping: value)))
}

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
}

extension CheckpointView {
  /// The items of one block: norm1, qkv and out with padded heads, norm2, the two MLP layers.
  mutating func block(
    _ to: String, names: BlockNames, shape: TowerShape
  ) throws(QuantizationError) -> [PlanItem] {
    let width = shape.width
    var items = try norm(to + ".norm1", from: names.norm1, width: width)
    let partRows = 3 * width / names.qkvWeights.count
    var weights: [String] = []
    for name in names.qkvWeights { weights.append(try require(name, [partRows, width])) }
    var biases: [String] = []
    for name in names.qkvBiases { biases.append(try require(name, [partRows])) }
    var qkv = LinearRecipe(
      weight: .rows(weights), bias: BiasSource(names: biases), rows: 3 * width, columns: width)
    qkv.rowHeads = HeadSpread(parts: 3, heads: shape.heads, width: shape.headWidth)
    items.append(item(to + ".qkv", .linear(qkv)))
    var out = LinearRecipe(
      weight: .rows([try require(names.out + ".weight", [width, width])]),
      bias: BiasSource(names: [try require(names.out + ".bias", [width])]), rows: width, columns: width)
    out.columnHeads = HeadSpread(parts: 1, heads: shape.heads, width: shape.headWidth)
    items.append(item(to + ".out", .linear(out)))
    items += try norm(to + ".norm2", from: names.norm2, width: width)
    items.append(try linear(to + ".mlp_in", from: names.mlpIn, rows: shape.mlpWidth, columns: width))
    items.append(try linear(to + ".mlp_out", from: names.mlpOut, rows: width, columns: shape.mlpWidth))
    return items
  }
}
