// CLIP checkpoints with OpenAI's or open_clip's names, and with Hugging Face's. Sources: openai/CLIP
// `clip/model.py`, mlfoundations/open_clip `src/open_clip/transformer.py`, transformers `CLIPModel`.

import Container

/// Where each part of CLIP lies below a checkpoint's prefix.
struct CLIPNames {
  let naming: CLIPNaming
  /// Everything below this prefix belongs to the model.
  let prefix: String
  /// The text tower's own prefix: open_clip's CustomTextCLIP puts it below `text.`.
  let text: String

  var isHuggingFace: Bool { naming == .huggingFace }
  var patch: String {
    isHuggingFace ? "vision_model.embeddings.patch_embedding.weight" : "visual.conv1.weight"
  }
  var classEmbedding: String {
    isHuggingFace ? "vision_model.embeddings.class_embedding" : "visual.class_embedding"
  }
  var position: String {
    isHuggingFace ? "vision_model.embeddings.position_embedding.weight" : "visual.positional_embedding"
  }
  var normPre: String { isHuggingFace ? "vision_model.pre_layrnorm" : "visual.ln_pre" }
  var normPost: String { isHuggingFace ? "vision_model.post_layernorm" : "visual.ln_post" }
  var projection: String { isHuggingFace ? "visual_projection.weight" : "visual.proj" }
  var visionBlocks: String {
    isHuggingFace ? "vision_model.encoder.layers." : "visual.transformer.resblocks."
  }
  var tokens: String {
    isHuggingFace ? "text_model.embeddings.token_embedding.weight" : text + "token_embedding.weight"
  }
  var textPosition: String {
    isHuggingFace ? "text_model.embeddings.position_embedding.weight" : text + "positional_embedding"
  }
  var textNorm: String { isHuggingFace ? "text_model.final_layer_norm" : text + "ln_final" }
  var textBlocks: String { isHuggingFace ? "text_model.encoder.layers." : text + "transformer.resblocks." }

  func mlpIn(_ block: String) -> String { block + (isHuggingFace ? "mlp.fc1" : "mlp.c_fc") }

  func block(_ stem: String) -> BlockNames {
    if isHuggingFace {
      let attention = stem + "self_attn."
      return BlockNames(
        norm1: stem + "layer_norm1", norm2: stem + "layer_norm2",
        qkvWeights: ["q", "k", "v"].map { attention + $0 + "_proj.weight" },
        qkvBiases: ["q", "k", "v"].map { attention + $0 + "_proj.bias" }, out: attention + "out_proj",
        mlpIn: mlpIn(stem), mlpOut: stem + "mlp.fc2")
    }
    return BlockNames(
      norm1: stem + "ln_1", norm2: stem + "ln_2", qkvWeights: [stem + "attn.in_proj_weight"],
      qkvBiases: [stem + "attn.in_proj_bias"], out: stem + "attn.out_proj", mlpIn: mlpIn(stem),
      mlpOut: stem + "mlp.c_proj")
  }

  /// Known tensors that carry nothing we need.
  func isNeedless(_ name: Substring) -> Bool {
    let last = name.split(separator: ".").last ?? name
    let needless = [
      "logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size", "attn_mask",
      "position_ids",
    ]
    return needless.contains(String(last))
  }

  /// - Errors: convolutional and timm towers by name; anything else that is not CLIP.
  static func find(_ directory: TensorDirectory) throws(QuantizationError) -> CLIPNames {
    func prefix(before anchor: String) -> String? {
      directory.names.first { $0 == anchor || $0.hasSuffix("." + anchor) }.map {
        String($0.dropLast(anchor.count))
      }
    }
    func refuse(_ what: String) -> QuantizationError {
      QuantizationError(.unsupportedModel(what), path: directory.path)
    }
    if let prefix = prefix(before: "visual.conv1.weight"),
      directory.record(prefix + "visual.class_embedding") != nil
    {
      let isCustom = directory.record(prefix + "text.token_embedding.weight") != nil
      return CLIPNames(naming: .openCLIP, prefix: prefix, text: isCustom ? "text." : "")
    }
    if let prefix = prefix(before: "vision_model.embeddings.patch_embedding.weight") {
      return CLIPNames(naming: .huggingFace, prefix: prefix, text: "")
    }
    if prefix(before: "visual.layer1.0.conv1.weight") != nil {
      throw refuse(
        "this CLIP has a ResNet image tower; a vision transformer is expected, for example ViT-B-16.pt")
    }
    if directory.names.contains(where: { $0.contains("visual.trunk.") }) {
      throw refuse(
        "this CLIP has a timm image tower, which is not supported; use a plain ViT such as ViT-B-16")
    }
    throw refuse("no CLIP image tower found (neither visual.conv1.weight nor vision_model.embeddings)")
  }
}

/// Plans the CLIP part of a model: text tower first, image tower last, as they are used.
package enum CLIPNameMap {
  struct Options {
    var activation: CLIPActivation?
    var headWidth: Int?
  }

  struct Plans {
    var vision = NetworkPlan()
    var text = NetworkPlan()
    var vocabularySize = 0
  }

  static func plan(_ directory: TensorDirectory, _ options: Options) throws(QuantizationError) -> Plans {
    let names = try CLIPNames.find(directory)
    var view = CheckpointView(directory, prefix: names.prefix)
    let patchShape = try view.shape(names.patch, axes: 4)
    let textWidth = try view.shape(names.tokens, axes: 2)[1]
    let vision = (width: patchShape[0], depth: try view.depth(names.visionBlocks))
    let text = (width: textWidth, depth: try view.depth(names.textBlocks))
    let family = try CLIPFamily.find(directory, naming: names.naming, vision: vision, text: text)
    let activation = try family.activation(asked: options.activation, directory)
    let headWidth =
      options.headWidth ?? family.visionHeadWidth ?? usualHeadWidth(patch: patchShape[3], width: vision.width)
    let visionShape = try TowerShape(
      width: vision.width, depth: vision.depth, headWidth: headWidth,
      mlpWidth: try view.shape(names.mlpIn(names.visionBlocks + "0.") + ".weight", axes: 2)[0], in: view)
    let textShape = try TowerShape(
      width: text.width, depth: text.depth, headWidth: family.textHeadWidth ?? 64,
      mlpWidth: try view.shape(names.mlpIn(names.textBlocks + "0.") + ".weight", axes: 2)[0], in: view)

    var plans = Plans()
    let embed = try projectionWidth(names, width: vision.width, view)
    try addText(names, textShape, embed: embed, &view, &plans)
    try addVision(names, visionShape, patch: patchShape[3], embed: embed, &view, &plans.vision)
    plans.vision.values.append(("trident.clip.activation", .string(activation.rawValue)))
    plans.vision.values.append(("trident.clip.norm_epsilon", .float32(1e-5)))
    view.ignore(where: names.isNeedless)
    try view.finish("CLIP")
    return plans
  }

  /// Head widths of the published vision transformers: 64, except for the largest ones.
  /// Source: open_clip `model_configs/ViT-{H-14,g-14,bigG-14}.json`.
  package static func usualHeadWidth(patch: Int, width: Int) -> Int {
    if patch == 14, width == 1408 { return 88 }
    if patch == 14, width == 1664 { return 104 }
    return patch == 14 && width % 80 == 0 ? 80 : 64
  }

  private static func projectionWidth(
    _ names: CLIPNames, width: Int, _ view: CheckpointView
  ) throws(QuantizationError) -> Int {
    let shape = try view.shape(names.projection, axes: 2)
    return names.isHuggingFace ? shape[0] : shape[1]
  }

  private static func addText(
    _ names: CLIPNames, _ shape: TowerShape, embed: Int, _ view: inout CheckpointView, _ plans: inout Plans
  ) throws(QuantizationError) {
    let width = shape.width
    let vocabulary = try view.shape(names.tokens, axes: 2)[0]
    let context = try view.shape(names.textPosition, axes: 2)[0]
    plans.vocabularySize = vocabulary
    plans.text.values =
      shape.values("text") + [count("text", "context", context), count("text", "vocab", vocabulary)]
    let tokens = try view.require(names.tokens, [vocabulary, width])
    plans.text.items.append(view.item("text.token", .table(tokens, rows: vocabulary, columns: width)))
    let positions = try view.require(names.textPosition, [context, width])
    plans.text.items.append(view.item("text.position", .halves(positions, dimensions: [width, context])))
    for index in 0..<shape.depth {
      let block = names.block(names.textBlocks + "\(index).")
      plans.text.items += try view.block("text.blocks.\(index)", names: block, shape: shape)
    }
    plans.text.items += try view.norm("text.norm_post", from: names.textNorm, width: width)
    // A linear module (Hugging Face, some open_clip towers) holds [out, in]; a bare parameter [in, out].
    let linear = (names.isHuggingFace ? "" : names.text) + "text_projection.weight"
    let source: MatrixSource
    if view.has(linear) {
      source = .rows([try view.require(linear, [embed, width])])
    } else {
      source = .transposed(try view.require(names.text + "text_projection", [width, embed]))
    }
    let recipe = LinearRecipe(weight: source, bias: .none, rows: embed, columns: width)
    plans.text.items.append(view.item("text.proj", .linear(recipe)))
  }

  private static func addVision(
    _ names: CLIPNames, _ shape: TowerShape, patch: Int, embed: Int, _ view: inout CheckpointView,
    _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let width = shape.width
    let positions = try view.shape(names.position, axes: 2)[0]
    let grid = try view.side(of: positions - 1, names.position)
    plan.values =
      shape.values("clip") + [
        count("clip", "patch", patch), count("clip", "grid", grid), count("clip", "embed_dim", embed),
      ]
    let weight = try view.require(names.patch, [width, 3, patch, patch])
    let embedding = LinearRecipe(
      weight: .rows([weight]), bias: .none, rows: width, columns: 3 * patch * patch)
    plan.items.append(view.item("clip.patch", .linear(embedding)))
    let token = try view.require(names.classEmbedding, [width])
    plan.items.append(view.item("clip.class_embedding", .floats([token], dimensions: [width])))
    let table = try view.require(names.position, [positions, width])
    plan.items.append(view.item("clip.position", .halves(table, dimensions: [width, positions])))
    plan.items += try view.norm("clip.norm_pre", from: names.normPre, width: width)
    for index in 0..<shape.depth {
      let block = names.block(names.visionBlocks + "\(index).")
      plan.items += try view.block("clip.blocks.\(index)", names: block, shape: shape)
    }
    plan.items += try view.norm("clip.norm_post", from: names.normPost, width: width)
    let source: MatrixSource
    if names.isHuggingFace {
      source = .rows([try view.require(names.projection, [embed, width])])
    } else {
      source = .transposed(try view.require(names.projection, [width, embed]))
    }
    let recipe = LinearRecipe(weight: source, bias: .none, rows: embed, columns: width)
    plan.items.append(view.item("clip.proj", .linear(recipe)))
  }
}
