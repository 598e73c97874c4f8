// CLIP checkpoints with OpenAI's or open_clip's names, and with Hugging Face's. Sources: openai/CLIP
// `clip/model.py`, mlfoundations/open_clip `src/open_clip/transformer.py`, transformers `CLIPModel`.

import Container

/// Where CLIP lies in a checkpoint, and how it is spelled.
struct CLIPNames {
  let naming: CLIPNaming
  /// Everything below this prefix belongs to the model.
  let prefix: String

  static let patch = "visual.conv1.weight"
  static let position = "visual.positional_embedding"
  static let projection = "visual.proj"
  static let tokens = "token_embedding.weight"
  static let textPosition = "positional_embedding"
  static let textProjection = "text_projection"
  static let visionBlocks = "visual.transformer.resblocks."
  static let textBlocks = "transformer.resblocks."

  static func block(_ stem: String, in view: CheckpointView) -> BlockNames {
    let attention = stem + "attn."
    let isFused = !view.has(attention + "q_proj.weight")
    func names(_ leaf: String) -> [String] {
      isFused ? [attention + "in_proj_" + leaf] : ["q", "k", "v"].map { attention + $0 + "_proj." + leaf }
    }
    return BlockNames(
      norm1: stem + "ln_1", norm2: stem + "ln_2", qkvWeights: names("weight"), qkvBiases: names("bias"),
      out: attention + "out_proj", mlpIn: stem + "mlp.c_fc", mlpOut: stem + "mlp.c_proj")
  }

  /// Known tensors that carry nothing we need.
  static func isNeedless(_ name: String) -> Bool {
    let last = name.split(separator: ".").last.map(String.init) ?? name
    return (openAISizes + ["logit_scale", "logit_bias", "attn_mask", "position_ids"]).contains(last)
  }

  /// Sizes that OpenAI's checkpoints hold as numbers and no other publisher's do.
  static let openAISizes = ["input_resolution", "context_length", "vocab_size"]

  /// - Errors: other kinds of CLIP by name; anything else that is not CLIP.
  static func find(_ directory: TensorDirectory) throws(QuantizationError) -> CLIPNames {
    func prefix(before anchor: String) -> String? {
      directory.names.first { $0 == anchor || $0.hasSuffix("." + anchor) }.map {
        String($0.dropLast(anchor.count))
      }
    }
    if let prefix = prefix(before: patch), directory.record(prefix + "visual.class_embedding") != nil {
      return CLIPNames(naming: .openCLIP, prefix: prefix)
    }
    if let prefix = prefix(before: "vision_model.embeddings.patch_embedding.weight"),
      directory.record(prefix + "vision_model.embeddings.class_embedding") != nil
    {
      return CLIPNames(naming: .huggingFace, prefix: prefix)
    }
    let what =
      otherKind(directory) ?? "no CLIP image tower found (neither \(patch) nor vision_model.embeddings)"
    throw QuantizationError(.unsupportedModel(what + directory.shardHint), path: directory.path)
  }

  /// What else the checkpoint is, from a telling part of a name.
  private static func otherKind(_ directory: TensorDirectory) -> String? {
    let kinds = [
      ("visual.layer1.0.conv1.weight", "this CLIP has a ResNet image tower"),
      ("visual.trunk.", "this CLIP has a timm image tower (SigLIP, ConvNeXt, EVA02 and others)"),
      ("visual.blocks.0.", "this is EVA-CLIP"),
      ("vision_model.head.probe", "this is SigLIP, whose image tower has no class token"),
      ("image_encoder.model.", "this is MobileCLIP"),
    ]
    let kind = kinds.first { sign in directory.names.contains { $0.holds(sign.0) } }
    return kind.map { $0.1 + ", which is not supported; use a plain ViT such as ViT-B-16.pt" }
  }

  /// The checkpoint in OpenAI's spelling.
  ///
  /// - Errors: a text tower that is not CLIP's, or none.
  func view(_ directory: TensorDirectory) throws(QuantizationError) -> CheckpointView {
    var spelling = naming == .huggingFace ? NameSpelling.huggingFaceCLIP : NameSpelling()
    // open_clip's CustomTextCLIP keeps the text tower below `text.`.
    if directory.record(prefix + "text." + Self.tokens) != nil {
      spelling.rules.append(NameSpelling.Rule("text.", ""))
    }
    let view = try CheckpointView(directory, prefix: prefix, spelling: spelling)
    if let name = view.names.first(where: { $0.holds("word_embeddings.") }) {
      throw view.refuse("the text tower is not CLIP's own; use a plain CLIP such as ViT-B-16.pt", name)
    }
    if !view.names.contains(where: { $0.hasPrefix(Self.textBlocks) }) {
      let what = "there is an image tower but no text tower; name the file that holds both"
      throw QuantizationError(.unsupportedModel(what + directory.shardHint), path: directory.path)
    }
    return view
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
    var view = try names.view(directory)
    let patchShape = try view.shape(CLIPNames.patch, axes: 4)
    let textWidth = try view.shape(CLIPNames.tokens, axes: 2)[1]
    let vision = (width: patchShape[0], depth: try view.depth(CLIPNames.visionBlocks))
    let text = (width: textWidth, depth: try view.depth(CLIPNames.textBlocks))
    let family = try CLIPFamily.find(directory, names, vision: vision, text: text)
    let activation = try family.activation(asked: options.activation, directory)
    let headWidth =
      options.headWidth ?? family.visionHeadWidth ?? usualHeadWidth(patch: patchShape[3], width: vision.width)
    let visionShape = try TowerShape(
      width: vision.width, depth: vision.depth, headWidth: headWidth,
      mlpWidth: try view.shape(CLIPNames.visionBlocks + "0.mlp.c_fc.weight", axes: 2)[0], in: view)
    let textShape = try TowerShape(
      width: text.width, depth: text.depth, headWidth: family.textHeadWidth ?? 64,
      mlpWidth: try view.shape(CLIPNames.textBlocks + "0.mlp.c_fc.weight", axes: 2)[0], in: view)

    var plans = Plans()
    // A linear module holds [out, in], a bare parameter [in, out].
    let isLinear = view.has(CLIPNames.projection + ".weight")
    let projection = try view.shape(CLIPNames.projection + (isLinear ? ".weight" : ""), axes: 2)
    let embed = isLinear ? projection[0] : projection[1]
    try addText(textShape, embed: embed, &view, &plans)
    try addVision(visionShape, patch: patchShape[3], embed: embed, &view, &plans.vision)
    plans.vision.values.append(("trident.clip.activation", .string(activation.rawValue)))
    plans.vision.values.append(("trident.clip.norm_epsilon", .float32(1e-5)))
    view.ignore(where: CLIPNames.isNeedless)
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

  /// A projection to the common space, stored either way.
  private static func projection(
    _ to: String, from: String, width: Int, embed: Int, _ view: inout CheckpointView
  ) throws(QuantizationError) -> PlanItem {
    let linear = from + ".weight"
    let source: MatrixSource =
      view.has(linear)
      ? .rows([try view.require(linear, [embed, width])])
      : .transposed(try view.require(from, [width, embed]))
    return view.item(to, .linear(LinearRecipe(weight: source, bias: .none, rows: embed, columns: width)))
  }

  private static func addText(
    _ shape: TowerShape, embed: Int, _ view: inout CheckpointView, _ plans: inout Plans
  ) throws(QuantizationError) {
    let width = shape.width
    let vocabulary = try view.shape(CLIPNames.tokens, axes: 2)[0]
    let context = try view.shape(CLIPNames.textPosition, axes: 2)[0]
    plans.vocabularySize = vocabulary
    plans.text.values =
      shape.values("text") + [count("text", "context", context), count("text", "vocab", vocabulary)]
    let tokens = try view.require(CLIPNames.tokens, [vocabulary, width])
    plans.text.items.append(view.item("text.token", .table(tokens, rows: vocabulary, columns: width)))
    let positions = try view.require(CLIPNames.textPosition, [context, width])
    plans.text.items.append(view.item("text.position", .halves(positions, dimensions: [width, context])))
    for index in 0..<shape.depth {
      let block = CLIPNames.block(CLIPNames.textBlocks + "\(index).", in: view)
      plans.text.items += try view.block("text.blocks.\(index)", names: block, shape: shape)
    }
    plans.text.items += try view.norm("text.norm_post", from: "ln_final", width: width)
    plans.text.items.append(
      try projection("text.proj", from: CLIPNames.textProjection, width: width, embed: embed, &view))
  }

  private static func addVision(
    _ shape: TowerShape, patch: Int, embed: Int, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let width = shape.width
    let positions = try view.shape(CLIPNames.position, axes: 2)[0]
    let grid = try view.side(of: positions - 1, CLIPNames.position)
    plan.values =
      shape.values("clip") + [
        count("clip", "patch", patch), count("clip", "grid", grid), count("clip", "embed_dim", embed),
      ]
    let weight = try view.require(CLIPNames.patch, [width, 3, patch, patch])
    let embedding = LinearRecipe(
      weight: .rows([weight]), bias: .none, rows: width, columns: 3 * patch * patch)
    plan.items.append(view.item("clip.patch", .linear(embedding)))
    let token = try view.require("visual.class_embedding", [width])
    plan.items.append(view.item("clip.class_embedding", .floats([token], dimensions: [width])))
    let table = try view.require(CLIPNames.position, [positions, width])
    plan.items.append(view.item("clip.position", .halves(table, dimensions: [width, positions])))
    plan.items += try view.norm("clip.norm_pre", from: "visual.ln_pre", width: width)
    for index in 0..<shape.depth {
      let block = CLIPNames.block(CLIPNames.visionBlocks + "\(index).", in: view)
      plan.items += try view.block("clip.blocks.\(index)", names: block, shape: shape)
    }
    plan.items += try view.norm("clip.norm_post", from: "visual.ln_post", width: width)
    plan.items.append(
      try projection("clip.proj", from: CLIPNames.projection, width: width, embed: embed, &view))
  }
}
