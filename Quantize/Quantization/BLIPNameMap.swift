// BLIP's image-text matching checkpoints. Source: salesforce/BLIP `models/blip_retrieval.py`, transformers
// `BlipForImageTextRetrieval`.

import Container
import Segmentation
import System

/// Plans the two towers of a BLIP image-text matching checkpoint.
///
/// Momentum copies, queues and the temperature are for training and left alone. Sizes come from shapes;
/// heads are 64 wide in every published size.
struct BLIPNameMap {
  private static let words = "text_encoder.embeddings.word_embeddings.weight"
  private static let layers = "text_encoder.encoder.layer."
  private static let blocks = "visual_encoder.blocks."
  private static let headWidth = 64
  typealias Plans = (blip: VisionConfig, bert: TextConfig, image: NetworkPlan, text: NetworkPlan)

  private var view: CheckpointView

  static func plan(_ directory: TensorDirectory) throws(QuantizationError) -> Plans {
    var map = try BLIPNameMap(directory)
    return try map.plan()
  }

  private init(_ directory: TensorDirectory) throws(QuantizationError) {
    let copies = try NetworkCopies(
      directory.prefixes(before: Self.words), of: directory, option: nil, asked: nil)
    guard let copies else {
      let isCaptioner = directory.names.contains { $0.holds("text_decoder.") }
      let what =
        isCaptioner
        ? "this BLIP writes captions and matches none" : "no tensor is named \(Self.words)"
      throw QuantizationError(
        .unsupportedModel(
          what + "; a BLIP for image-text matching is expected, for example model_base_retrieval_coco.pth"
            + directory.gapHint), path: directory.path)
    }
    view = try CheckpointView(directory, prefix: copies.chosen, spelling: .huggingFaceBLIP)
    directory.networkPrefix = copies.chosen
    if let note = copies.note { directory.notes.append(note) }
    guard view.has("itm_head.weight") else {
      throw view.refuse(
        "this BLIP has no matching head (itm_head); model_base_retrieval_coco.pth or blip-itm-base-coco is "
          + "meant")
    }
  }

  private mutating func plan() throws(QuantizationError) -> Plans {
    let patch = try view.shape("visual_encoder.patch_embed.proj.weight", axes: 4)
    let positions = try view.shape("visual_encoder.pos_embed", axes: 3)
    let vision = VisionConfig.blip(
      try view.tower(
        .blip, width: patch[0], depth: try view.depth(Self.blocks), headWidth: Self.headWidth,
        mlpWidth: try view.shape(Self.blocks + "0.mlp.fc1.weight", axes: 2)[0]),
      patch: patch[3], grid: try view.side(of: positions[1] - 1, "visual_encoder.pos_embed"))
    let words = try view.shape(Self.words, axes: 2)
    let text = TextConfig(
      blocks: try view.tower(
        .bert, width: words[1], depth: try view.depth(Self.layers), headWidth: Self.headWidth,
        mlpWidth: try view.shape(Self.layers + "0.intermediate.dense.weight", axes: 2)[0],
        normEpsilon: 1e-12),
      context: try view.shape("text_encoder.embeddings.position_embeddings.weight", axes: 2)[0],
      vocabularySize: words[0], embedWidth: try view.shape("text_proj.weight", axes: 2)[0])
    let image = try fillImage(VisionSchema(vision), vision)
    let plan = try fillText(BERTSchema(text, imageWidth: vision.width), text, imageWidth: vision.width)
    let left = ["visual_encoder_m.", "text_encoder_m.", "vision_proj_m.", "text_proj_m."]
    let queues = ["image_queue", "text_queue", "idx_queue", "ptr_queue", "temp", "logit_scale"]
    view.ignore { name in
      queues.contains(name) || name.hasSuffix("position_ids") || left.contains { name.hasPrefix($0) }
    }
    try view.finish("BLIP for image-text matching")
    return (vision, text, image, plan)
  }

  private mutating func fillImage(
    _ schema: VisionSchema, _ config: VisionConfig
  ) throws(QuantizationError) -> NetworkPlan {
    var plan = NetworkPlan(schema)
    let stem = "visual_encoder."
    try view.patch(
      schema.patch, weight: stem + "patch_embed.proj.weight", bias: stem + "patch_embed.proj.bias", config,
      &plan)
    if let token = schema.classToken {
      try view.floats(token, from: [stem + "cls_token"], shape: [1, 1, config.width], &plan)
    }
    try view.positions(
      schema.position, from: stem + "pos_embed", shape: [1, config.positionCount, config.width], &plan)
    for (index, block) in schema.blocks.enumerated() {
      let from = Self.blocks + "\(index)."
      let names = BlockNames(
        norm1: from + "norm1", norm2: from + "norm2", qkvWeights: [from + "attn.qkv.weight"],
        qkvBiases: [from + "attn.qkv.bias"], out: from + "attn.proj", mlpIn: from + "mlp.fc1",
        mlpOut: from + "mlp.fc2")
      try view.block(block, names, config.blocks, &plan)
    }
    if let norm = schema.normPost { try view.norm(norm, from: stem + "norm", &plan) }
    return plan
  }

  private mutating func fillText(
    _ schema: BERTSchema, _ config: TextConfig, imageWidth: Int
  ) throws(QuantizationError) -> NetworkPlan {
    var plan = NetworkPlan(schema)
    let (width, stem) = (config.width, "text_encoder.embeddings.")
    let tokens = try view.require(Self.words, [config.vocabularySize, width])
    plan.fill(schema.tokens, .table(tokens, rows: config.vocabularySize, columns: width), from: view)
    try view.positions(
      schema.position, from: stem + "position_embeddings.weight", shape: [config.context, width], &plan)
    try view.norm(schema.normEmbed, from: stem + "LayerNorm", &plan)
    for (index, block) in schema.textBlocks.enumerated() {
      let from = Self.layers + "\(index)."
      try attention(block, from, config.blocks, imageWidth: imageWidth, &plan)
      try view.norm(block.norm1, from: from + "attention.output.LayerNorm", &plan)
      try view.norm(block.norm2, from: from + "crossattention.output.LayerNorm", &plan)
      try view.linear(block.mlpIn, from: from + "intermediate.dense", &plan)
      try view.linear(block.mlpOut, from: from + "output.dense", &plan)
      try view.norm(block.norm3, from: from + "output.LayerNorm", &plan)
    }
    let weight = try view.require("itm_head.weight", [2, width])
    plan.fill(schema.match, copying: [weight, try view.require("itm_head.bias", [2])], from: view)
    try view.linear(schema.imageProjection, from: "vision_proj", &plan)
    try view.linear(schema.textProjection, from: "text_proj", &plan)
    return plan
  }

  /// Both attentions of a block, heads padded.
  private mutating func attention(
    _ block: BERTBlockSchema, _ from: String, _ config: TransformerConfig, imageWidth: Int,
    _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let (own, cross) = (from + "attention.self.", from + "crossattention.self.")
    let width = config.width
    let all = ["query", "key", "value"]
    try fused(block.selfQKV, all.map { own + $0 }, columns: width, config, &plan)
    try fused(block.crossQ, [cross + "query"], columns: width, config, &plan)
    try fused(block.crossKV, [cross + "key", cross + "value"], columns: imageWidth, config, &plan)
    let outputs = [
      (block.selfOut, "attention.output.dense"), (block.crossOut, "crossattention.output.dense"),
    ]
    for (part, name) in outputs {
      var out = LinearRecipe(
        weight: .rows([try view.require(from + name + ".weight", [width, width])]),
        bias: BiasSource(names: [try view.require(from + name + ".bias", [width])]), rows: width,
        columns: width)
      out.columnHeads = HeadSpread(parts: 1, heads: config.heads, width: config.headWidth)
      plan.fill(part, .linear(out), from: view)
    }
  }

  /// Layers [width, columns] under each other.
  private mutating func fused(
    _ part: LinearSpec, _ names: [String], columns: Int, _ config: TransformerConfig,
    _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    var weights: [String] = []
    var biases: [String] = []
    for name in names {
      weights.append(try view.require(name + ".weight", [config.width, columns]))
      biases.append(try view.require(name + ".bias", [config.width]))
    }
    var recipe = LinearRecipe(
      weight: .rows(weights), bias: BiasSource(names: biases), rows: names.count * config.width,
      columns: columns)
    recipe.rowHeads = HeadSpread(parts: names.count, heads: config.heads, width: config.headWidth)
    plan.fill(part, .linear(recipe), from: view)
  }
}
