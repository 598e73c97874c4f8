// DINO and DINOv2 checkpoints. Source: facebookresearch/dino `vision_transformer.py`, `main_dino.py`;
// facebookresearch/dinov2 `models/vision_transformer.py`, `layers/`; transformers `Dinov2Model`.

import Segmentation

/// Plans the DINO part of a model from a backbone file or a full training checkpoint.
///
/// DINOv2 is told by its layer scale, which is multiplied into the matrices in front of it. It may have
/// registers, which have no position, and a gated MLP (the giant).
enum DINONameMap {
  static let patchName = "patch_embed.proj.weight"
  static let huggingFacePatchName = "embeddings.patch_embeddings.projection.weight"
  private static let layerScaleName = "blocks.0.ls1.gamma"
  private static let gateName = "blocks.0.mlp.w12.weight"

  struct Options {
    /// Of the copy to take, where there are several.
    var prefix: String?
    var headWidth: Int?
    /// How DINOv2's position table is resampled, where the checkpoint does not tell.
    var positions: PositionRule?
  }

  /// The backbone's part of the checkpoint, and whether its names are Hugging Face's; of several copies the
  /// one that `NetworkCopies` chooses.
  ///
  /// - Errors: `unsupportedModel` for checkpoints without a vision transformer, and for relatives by name.
  private static func view(
    _ directory: TensorDirectory, prefix: String?
  ) throws(QuantizationError) -> (view: CheckpointView, isHuggingFace: Bool) {
    let original = directory.prefixes(before: patchName).filter { !$0.hasSuffix("image_encoder.") }
    let other = directory.prefixes(before: huggingFacePatchName)
    let copies = try NetworkCopies(
      original.isEmpty ? other : original, of: directory, option: "--dino-prefix", asked: prefix)
    try ForeignCheckpoint.refuse(directory, expected)
    guard let copies else {
      let isResNet = directory.names.contains { $0.hasSuffix("layer1.0.conv1.weight") }
      let what = isResNet ? "this is a convolutional network" : "no tensor is named \(patchName)"
      throw QuantizationError(
        .unsupportedModel(what + "; " + expected + directory.gapHint), path: directory.path)
    }
    var view = try CheckpointView(
      directory, prefix: copies.chosen,
      spelling: original.isEmpty ? .huggingFaceDINO : NameSpelling(hasChunks: true))
    view.modules = [
      "patch_embed", "blocks", "norm", "cls_token", "pos_embed", "register_tokens", "embeddings", "encoder",
    ]
    directory.networkPrefix = copies.chosen
    if let note = copies.note { directory.notes.append(note) }
    return (view, original.isEmpty)
  }

  /// Of the vision transformers with heads of 64: tiny, small, base, large, giant.
  private static let publishedWidths: Set<Int> = [192, 384, 768, 1024, 1536]

  private static let expected =
    "a DINO or DINOv2 vision transformer is expected, for example dino_vitbase16_pretrain.pth or "
    + "dinov2_vitb14_pretrain.pth"

  /// - Shapes: patch [width, 3, patch, patch], positions [1, 1 + grid * grid, width].
  static func plan(
    _ directory: TensorDirectory, _ options: Options = Options()
  ) throws(QuantizationError) -> (VisionConfig, NetworkPlan) {
    var (view, isHuggingFace) = try view(directory, prefix: options.prefix)
    let config = try config(view, isHuggingFace: isHuggingFace, options)
    let (schema, width) = (VisionSchema(config), config.width)
    var plan = NetworkPlan(schema)
    try view.patch(schema.patch, weight: patchName, bias: "patch_embed.proj.bias", config, &plan)
    if let token = schema.classToken {
      try view.floats(token, from: ["cls_token"], shape: [1, 1, width], &plan)
    }
    if let registers = schema.registers {
      try view.floats(registers, from: ["register_tokens"], shape: [1, config.registers, width], &plan)
    }
    try view.positions(schema.position, from: "pos_embed", shape: [1, config.positionCount, width], &plan)
    for (index, block) in schema.blocks.enumerated() {
      try view.block(block, names(view, index, isGated: config.blocks.isGated), config.blocks, &plan)
    }
    if let norm = schema.normPost { try view.norm(norm, from: "norm", &plan) }
    // Projection and classification heads and pooling are for training and evaluation.
    view.ignore { $0.hasPrefix("head.") || $0.hasPrefix("pooler.") }
    try view.finish("DINO vision transformer")
    return (config, plan)
  }

  /// Sizes, and what sets DINOv2 apart.
  private static func config(
    _ view: CheckpointView, isHuggingFace: Bool, _ options: Options
  ) throws(QuantizationError) -> VisionConfig {
    let patchShape = try view.patchShape(patchName)
    let (width, patch) = (patchShape[0], patchShape[3])
    let isSecond = view.has(layerScaleName)
    if isSecond && view.has("reg_token") {
      throw view.refuse(
        "registers are named as timm does, whose position table lacks the class token; "
          + "take the torch hub's or Hugging Face's file of this network", "reg_token")
    }
    let positions = try view.shape("pos_embed", axes: 3)[1]
    let depth = try view.depth("blocks.")
    let beside = try SidecarFiles.vision(view.directory, width: width, depth: depth)
    let headWidth = options.headWidth ?? beside.headWidth ?? 64
    if options.headWidth == nil, beside.headWidth == nil, width != 64, !publishedWidths.contains(width) {
      view.directory.assumeHeads("heads", 64, flag: "--dino-head-width")
    }
    let isGated = isSecond && view.has(gateName)
    let outputs = try view.shape(isGated ? gateName : "blocks.0.mlp.fc1.weight", axes: 2)[0]
    guard !isGated || outputs % 2 == 0 else {
      throw view.refuse("\(outputs) outputs are not two halves", gateName)
    }
    var blocks = try view.tower(
      .dino, width: width, depth: depth, headWidth: headWidth, mlpWidth: isGated ? outputs / 2 : outputs)
    blocks.isGated = isGated
    let registers =
      isSecond && view.has("register_tokens") ? try view.shape("register_tokens", axes: 3)[1] : 0
    var config = VisionConfig.dino(
      blocks, patch: patch, grid: try view.side(of: positions - 1, "pos_embed"), registers: registers)
    config.positions = try rule(view, isSecond: isSecond, isHuggingFace, registers, options.positions)
    if let pixels = beside.pixels { config.pixels = pixels }
    return config
  }

  /// How the position table is resampled, which no tensor tells: each publisher's own code does it its way.
  ///
  /// - Errors: a DINOv2 that may be anybody's; a rule asked for where there is no choice.
  private static func rule(
    _ view: CheckpointView, isSecond: Bool, _ isHuggingFace: Bool, _ registers: Int, _ asked: PositionRule?
  ) throws(QuantizationError) -> PositionRule {
    guard isSecond else {
      guard asked == nil else {
        throw view.refuse(
          "this is DINO, whose position table has one rule; --dino-positions is for DINOv2")
      }
      return .bicubicWithFactor
    }
    if let asked { return asked }
    if registers > 0 { return .bicubicAntialias }
    if isHuggingFace { return .bicubic }
    guard view.has("mask_token") else {
      throw view.refuse(
        "this is DINOv2 with the torch hub's names, but mask_token is missing, as where other libraries "
          + "saved it, which resample the position table otherwise: name the rule, --dino-positions step "
          + "(the torch hub's), antialias (timm's) or size (Hugging Face's)", "pos_embed")
    }
    return .bicubicWithFactor
  }

  private static func names(_ view: CheckpointView, _ index: Int, isGated: Bool) -> BlockNames {
    let from = "blocks.\(index)."
    let attention = from + "attn."
    let parts = view.has(attention + "query.weight") ? ["query", "key", "value"] : ["qkv"]
    let isSecond = view.has(layerScaleName)
    return BlockNames(
      norm1: from + "norm1", norm2: from + "norm2", qkvWeights: parts.map { attention + $0 + ".weight" },
      qkvBiases: parts.map { attention + $0 + ".bias" }, out: attention + "proj",
      mlpIn: from + (isGated ? "mlp.w12" : "mlp.fc1"), mlpOut: from + (isGated ? "mlp.w3" : "mlp.fc2"),
      outScale: isSecond ? from + "ls1.gamma" : nil, mlpOutScale: isSecond ? from + "ls2.gamma" : nil)
  }
}
