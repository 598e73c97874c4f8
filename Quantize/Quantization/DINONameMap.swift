// DINO checkpoints. Source: facebookresearch/dino `vision_transformer.py`, `main_dino.py`.

import Segmentation

/// Plans the DINO part of a model from a backbone file or a full training checkpoint.
enum DINONameMap {
  static let patchName = "patch_embed.proj.weight"
  static let huggingFacePatchName = "embeddings.patch_embeddings.projection.weight"

  struct Options {
    /// Of the copy to take, where there are several.
    var prefix: String?
    var headWidth: Int?
  }

  /// The backbone's part of the checkpoint; of several copies the one that `NetworkCopies` chooses.
  ///
  /// - Errors: `unsupportedModel` for checkpoints without a vision transformer, and for relatives by name.
  static func view(_ directory: TensorDirectory, prefix: String?) throws(QuantizationError) -> CheckpointView
  {
    let original = directory.prefixes(before: patchName).filter { !$0.hasSuffix("image_encoder.") }
    let other = directory.prefixes(before: huggingFacePatchName)
    let copies = try NetworkCopies(
      original.isEmpty ? other : original, of: directory, option: "--dino-prefix", asked: prefix)
    try ForeignCheckpoint.refuse(directory, expected)
    guard let copies else {
      let isResNet = directory.names.contains { $0.hasSuffix("layer1.0.conv1.weight") }
      let what = isResNet ? "this is a convolutional network" : "no tensor is named \(patchName)"
      throw QuantizationError(
        .unsupportedModel(what + "; " + expected + directory.shardHint), path: directory.path)
    }
    var view = try CheckpointView(
      directory, prefix: copies.chosen, spelling: original.isEmpty ? .huggingFaceDINO : NameSpelling())
    view.modules = ["patch_embed", "blocks", "norm", "cls_token", "pos_embed", "embeddings", "encoder"]
    directory.networkPrefix = copies.chosen
    if let note = copies.note { directory.notes.append(note) }
    return view
  }

  /// Of the vision transformers with heads of 64: tiny, small, base, large.
  private static let publishedWidths: Set<Int> = [192, 384, 768, 1024]

  private static let expected =
    "a DINO vision transformer is expected, for example dino_vitbase16_pretrain.pth"

  /// - Shapes: patch [width, 3, patch, patch], positions [1, 1 + grid * grid, width].
  static func plan(
    _ directory: TensorDirectory, _ options: Options = Options()
  ) throws(QuantizationError) -> (VisionConfig, NetworkPlan) {
    var view = try view(directory, prefix: options.prefix)
    let patchShape = try view.patchShape(patchName)
    let (width, patch) = (patchShape[0], patchShape[3])
    let positions = try view.shape("pos_embed", axes: 3)[1]
    let depth = try view.depth("blocks.")
    let beside = try SidecarFiles.vision(directory, width: width, depth: depth)
    let headWidth = options.headWidth ?? beside.headWidth ?? 64
    if options.headWidth == nil, beside.headWidth == nil, width != 64, !publishedWidths.contains(width) {
      directory.assumeHeads("heads", 64, flag: "--dino-head-width")
    }
    let blocks = try view.tower(
      .dino, width: width, depth: depth, headWidth: headWidth,
      mlpWidth: try view.shape("blocks.0.mlp.fc1.weight", axes: 2)[0])
    var config = VisionConfig.dino(blocks, patch: patch, grid: try view.side(of: positions - 1, "pos_embed"))
    if let pixels = beside.pixels { config.pixels = pixels }
    let schema = VisionSchema(config)
    var plan = NetworkPlan(schema)
    try view.patch(schema.patch, weight: patchName, bias: "patch_embed.proj.bias", config, &plan)
    if let token = schema.classToken {
      try view.floats(token, from: ["cls_token"], shape: [1, 1, width], &plan)
    }
    try view.positions(schema.position, from: "pos_embed", shape: [1, positions, width], &plan)
    for (index, block) in schema.blocks.enumerated() {
      let from = "blocks.\(index)."
      let attention = from + "attn."
      let parts = view.has(attention + "query.weight") ? ["query", "key", "value"] : ["qkv"]
      let names = BlockNames(
        norm1: from + "norm1", norm2: from + "norm2", qkvWeights: parts.map { attention + $0 + ".weight" },
        qkvBiases: parts.map { attention + $0 + ".bias" }, out: attention + "proj", mlpIn: from + "mlp.fc1",
        mlpOut: from + "mlp.fc2")
      try view.block(block, names, blocks, &plan)
    }
    if let norm = schema.normPost { try view.norm(norm, from: "norm", &plan) }
    // Projection and classification heads and pooling are for training and evaluation.
    view.ignore { $0.hasPrefix("head.") || $0.hasPrefix("pooler.") }
    try view.finish("DINO vision transformer")
    return (config, plan)
  }
}
