// SigLIP 2's text tower with Hugging Face's names. Source: transformers `Siglip2TextModel`.

import Segmentation

/// Plans the text tower of a SigLIP 2 checkpoint, whose image tower is left alone.
enum SigLIPNameMap {
  private static let prefix = "text_model."
  private static let layers = "encoder.layers."
  /// As RADIO's checkpoints name them.
  static let towers = ["siglip2-so400m", "siglip2-g-384"]

  static func plan(_ directory: TensorDirectory) throws(QuantizationError) -> (SigLIPConfig, NetworkPlan) {
    let anchor = prefix + "embeddings.token_embedding.weight"
    guard directory.record(anchor) != nil, directory.record(prefix + "head.weight") != nil else {
      let what =
        directory.record(anchor) == nil
        ? "no tensor is named \(anchor); SigLIP 2's model.safetensors is expected"
        : "this text tower has no head, so it is not SigLIP's; google/siglip2-so400m-patch16-naflex is meant"
      throw QuantizationError(.unsupportedModel(what + directory.gapHint), path: directory.path)
    }
    var view = try CheckpointView(directory, prefix: prefix)
    let config = try config(view)
    let schema = SigLIPSchema(config)
    let (tower, width) = (config.tower, config.tower.width)
    var plan = NetworkPlan(schema)
    let tokens = try view.require("embeddings.token_embedding.weight", [tower.vocabularySize, width])
    plan.fill(schema.tokens, .table(tokens, rows: tower.vocabularySize, columns: width), from: view)
    try view.positions(
      schema.position, from: "embeddings.position_embedding.weight", shape: [tower.context, width], &plan)
    for (index, block) in schema.blocks.enumerated() {
      try view.block(block, names(layers + "\(index)."), tower.blocks, &plan)
    }
    try view.norm(schema.normPost, from: "final_layer_norm", &plan)
    try view.linear(schema.projection, from: "head", &plan)
    view.ignore { $0 == "embeddings.position_ids" }
    try view.finish("SigLIP 2 text tower")
    return (config, plan)
  }

  private static func config(_ view: CheckpointView) throws(QuantizationError) -> SigLIPConfig {
    let tokens = try view.shape("embeddings.token_embedding.weight", axes: 2)
    let head = try view.shape("head.weight", axes: 2)
    let width = tokens[1]
    // So400m has 16 heads of 72; the smaller towers have heads of 64.
    let blocks = try view.tower(
      .siglip, width: width, depth: try view.depth(layers), headWidth: width % 72 == 0 ? 72 : 64,
      mlpWidth: try view.shape(layers + "0.mlp.fc1.weight", axes: 2)[0], activation: .tanhGELU)
    let tower = TextConfig(
      blocks: blocks, context: try view.shape("embeddings.position_embedding.weight", axes: 2)[0],
      vocabularySize: tokens[0], embedWidth: head[0])
    // RADIO's checkpoints name two towers, which differ in the width of the space.
    return SigLIPConfig(tower: tower, textModel: head[0] == 1536 ? towers[1] : towers[0])
  }

  private static func names(_ stem: String) -> BlockNames {
    let attention = stem + "self_attn."
    func parts(_ leaf: String) -> [String] { ["q", "k", "v"].map { attention + $0 + "_proj." + leaf } }
    return BlockNames(
      norm1: stem + "layer_norm1", norm2: stem + "layer_norm2", qkvWeights: parts("weight"),
      qkvBiases: parts("bias"), out: attention + "out_proj", mlpIn: stem + "mlp.fc1", mlpOut: stem + "mlp.fc2"
    )
  }
}
