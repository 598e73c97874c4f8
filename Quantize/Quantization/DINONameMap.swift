// DINO checkpoints. Source: facebookresearch/dino `vision_transformer.py`, `main_dino.py`.

import Container

/// Plans the DINO part of a model from a backbone file or a full training checkpoint.
enum DINONameMap {
  static let patchName = "patch_embed.proj.weight"
  static let huggingFacePatchName = "embeddings.patch_embeddings.projection.weight"

  /// The backbone's part of the checkpoint; the teacher's where there are both.
  ///
  /// - Errors: `unsupportedModel` for checkpoints without a vision transformer.
  static func view(_ directory: TensorDirectory) throws(QuantizationError) -> CheckpointView {
    func prefixes(_ anchor: String) -> [String] {
      directory.names.filter { $0 == anchor || $0.hasSuffix("." + anchor) }
        .map { String($0.dropLast(anchor.count)) }
    }
    let found = prefixes(patchName).filter { !$0.hasSuffix("image_encoder.") }
    if let teacher = found.first(where: { $0.hasPrefix("teacher.") }) {
      return try CheckpointView(directory, prefix: teacher)
    }
    if let first = found.first(where: { !$0.hasPrefix("student.") }) ?? found.first {
      return try CheckpointView(directory, prefix: first)
    }
    if let first = prefixes(huggingFacePatchName).first {
      return try CheckpointView(directory, prefix: first, spelling: .huggingFaceDINO)
    }
    let isResNet = directory.names.contains { $0.hasSuffix("layer1.0.conv1.weight") }
    let what = isResNet ? "this is a convolutional network" : "no tensor is named \(patchName)"
    throw QuantizationError(
      .unsupportedModel(what + "; " + expected + directory.shardHint), path: directory.path)
  }

  private static let expected =
    "a DINO vision transformer is expected, for example dino_vitbase16_pretrain.pth"

  /// - Shapes: patch [width, 3, patch, patch], positions [1, 1 + grid * grid, width].
  static func plan(_ directory: TensorDirectory) throws(QuantizationError) -> NetworkPlan {
    var view = try view(directory)
    if let scale = view.names.first(where: { $0.holds(".ls1.") || $0.holds("layer_scale1.") }) {
      throw view.refuse("layer scale, as in DINOv2 and DINOv3, is not supported; " + expected, scale)
    }
    let patchShape = try view.shape(patchName, axes: 4)
    let (width, patch) = (patchShape[0], patchShape[3])
    let positions = try view.shape("pos_embed", axes: 3)[1]
    let grid = try view.side(of: positions - 1, "pos_embed")
    let shape = try TowerShape(
      width: width, depth: try view.depth("blocks."), headWidth: 64,
      mlpWidth: try view.shape("blocks.0.mlp.fc1.weight", axes: 2)[0], in: view)

    var plan = NetworkPlan()
    plan.values = shape.values("dino")
    plan.values += [count("dino", "patch", patch), count("dino", "grid", grid)]
    plan.values.append(("trident.dino.norm_epsilon", .float32(1e-6)))

    let weight = try view.require(patchName, [width, 3, patch, patch])
    let bias = try view.require("patch_embed.proj.bias", [width])
    let embedding = LinearRecipe(
      weight: .rows([weight]), bias: BiasSource(names: [bias]), rows: width, columns: 3 * patch * patch)
    plan.items.append(view.item("dino.patch", .linear(embedding)))
    let token = try view.require("cls_token", [1, 1, width])
    plan.items.append(view.item("dino.class_embedding", .floats([token], dimensions: [width])))
    let table = try view.require("pos_embed", [1, positions, width])
    plan.items.append(view.item("dino.position", .halves(table, dimensions: [width, positions])))
    for index in 0..<shape.depth {
      let from = "blocks.\(index)."
      let attention = from + "attn."
      let parts = view.has(attention + "query.weight") ? ["query", "key", "value"] : ["qkv"]
      let names = BlockNames(
        norm1: from + "norm1", norm2: from + "norm2", qkvWeights: parts.map { attention + $0 + ".weight" },
        qkvBiases: parts.map { attention + $0 + ".bias" }, out: attention + "proj", mlpIn: from + "mlp.fc1",
        mlpOut: from + "mlp.fc2")
      plan.items += try view.block("dino.blocks.\(index)", names: names, shape: shape)
    }
    plan.items += try view.norm("dino.norm_post", from: "norm", width: width)
    // Projection and classification heads and pooling are for training and evaluation.
    view.ignore { $0.hasPrefix("head.") || $0.hasPrefix("pooler.") }
    try view.finish("DINO vision transformer")
    return plan
  }
}
