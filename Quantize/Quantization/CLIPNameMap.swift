// CLIP checkpoints with OpenAI's or open_clip's names, and with Hugging Face's. Sources: openai/CLIP
// `clip/model.py`, mlfoundations/open_clip `src/open_clip/transformer.py`, transformers `CLIPModel`.

import Compute
import Segmentation
import System

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
  static func find(_ directory: TensorDirectory, prefix: String?) throws(QuantizationError) -> CLIPNames {
    try ForeignCheckpoint.refuse(directory, "use a plain ViT such as ViT-B-16.pt")
    func copies(_ anchor: String, _ token: String) throws(QuantizationError) -> NetworkCopies? {
      let found = directory.prefixes(before: anchor).filter { directory.record($0 + token) != nil }
      return try NetworkCopies(found, of: directory, option: "--clip-prefix", asked: prefix)
    }
    let original = try copies(patch, "visual.class_embedding")
    let other =
      original == nil
      ? try copies(
        "vision_model.embeddings.patch_embedding.weight", "vision_model.embeddings.class_embedding") : nil
    guard let copies = original ?? other else {
      let what = "no CLIP image tower found (neither \(patch) nor vision_model.embeddings)"
      throw QuantizationError(.unsupportedModel(what + directory.gapHint), path: directory.path)
    }
    directory.networkPrefix = copies.chosen
    if let note = copies.note { directory.notes.append(note) }
    return CLIPNames(naming: original == nil ? .huggingFace : .openCLIP, prefix: copies.chosen)
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
    var view = try CheckpointView(directory, prefix: prefix, spelling: spelling)
    view.modules = [
      "visual", "transformer", "ln_final", "token_embedding", "positional_embedding", "text_projection",
      "text",
      "vision_model", "text_model", "visual_projection",
    ]
    if let name = view.names.first(where: { $0.holds("word_embeddings.") }) {
      throw view.refuse("the text tower is not CLIP's own; use a plain CLIP such as ViT-B-16.pt", name)
    }
    if !view.names.contains(where: { $0.hasPrefix("visual.ln_pre.") }), directory.shardHint.isEmpty {
      throw view.refuse(
        "this is CLIPA or a network like it, whose image tower has no norm in front, which is not supported; "
          + "use a plain ViT such as ViT-B-16.pt")
    }
    if !view.names.contains(where: { $0.hasPrefix(Self.textBlocks) }) {
      let what = "there is an image tower but no text tower; name the file that holds both"
      throw QuantizationError(.unsupportedModel(what + directory.gapHint), path: directory.path)
    }
    return view
  }
}

/// Plans the CLIP part of a model: text tower first, image tower last, as they are used.
package enum CLIPNameMap {
  struct Options {
    var activation: CLIPActivation?
    var headWidth: Int?
    var textHeadWidth: Int?
    var pixels: PixelStatistics?
    /// Of the copy to take, where there are several.
    var prefix: String?
    /// Image blocks whose MLPs lose their loudest channel.
    var suppressed: SuppressedBlocks?
    /// The last image block keeps its MLP.
    var hasLastMLP = true
  }

  struct Plans {
    let clip: CLIPConfig
    let text: TextConfig
    let vision: NetworkPlan
    let words: NetworkPlan
  }

  static func plan(_ directory: TensorDirectory, _ options: Options) throws(QuantizationError) -> Plans {
    let names = try CLIPNames.find(directory, prefix: options.prefix)
    var view = try names.view(directory)
    let patchShape = try view.patchShape(CLIPNames.patch)
    let tokens = try view.shape(CLIPNames.tokens, axes: 2)
    let vision = (width: patchShape[0], depth: try view.depth(CLIPNames.visionBlocks))
    let text = (width: tokens[1], depth: try view.depth(CLIPNames.textBlocks))
    let family = try CLIPFamily.find(directory, names, vision: vision, text: text)
    let size = (patch: patchShape[3], width: vision.width)
    let isExact = try family.activation(asked: options.activation, directory, size) == .gelu
    let activation = isExact ? Activation.gelu : .quickGELU
    let heads = headWidths(directory, options, family, patch: patchShape[3], (vision.width, text.width))
    let visionBlocks = try view.tower(
      .clip, width: vision.width, depth: vision.depth, headWidth: heads.vision,
      mlpWidth: try view.shape(CLIPNames.visionBlocks + "0.mlp.c_fc.weight", axes: 2)[0], normEpsilon: 1e-5,
      activation: activation)
    let textBlocks = try view.tower(
      .text, width: text.width, depth: text.depth,
      headWidth: heads.text,
      mlpWidth: try view.shape(CLIPNames.textBlocks + "0.mlp.c_fc.weight", axes: 2)[0], normEpsilon: 1e-5,
      activation: activation)
    // A linear module holds [out, in], a bare parameter [in, out].
    let isLinear = view.has(CLIPNames.projection + ".weight")
    let projection = try view.shape(CLIPNames.projection + (isLinear ? ".weight" : ""), axes: 2)
    let embed = isLinear ? projection[0] : projection[1]
    let textConfig = TextConfig(
      blocks: textBlocks, context: try view.shape(CLIPNames.textPosition, axes: 2)[0],
      vocabularySize: tokens[0],
      embedWidth: embed)
    let words = try textPlan(textConfig, &view)
    let positions = try view.shape(CLIPNames.position, axes: 2)[0]
    var clip = CLIPConfig(
      vision: .clip(
        visionBlocks, patch: patchShape[3], grid: try view.side(of: positions - 1, CLIPNames.position)),
      embedWidth: embed)
    clip.hasLastMLP = options.hasLastMLP || vision.depth == 1
    clip.vision.pixels = try family.pixels(asked: options.pixels, directory, size, isExact: isExact)
    let suppressed = try options.suppressed?.indices(of: clip, in: view) ?? 0..<0
    let plans = Plans(
      clip: clip, text: textConfig, vision: try visionPlan(clip, suppressed, &view), words: words)
    view.ignore(where: CLIPNames.isNeedless)
    try view.finish("CLIP")
    return plans
  }

  /// Widths of heads: what was asked, what is known, or else the usual ones, which is said where no known
  /// checkpoint has such a tower.
  private static func headWidths(
    _ directory: TensorDirectory, _ options: Options, _ family: CLIPFamily, patch: Int,
    _ width: (vision: Int, text: Int)
  ) -> (vision: Int, text: Int) {
    let known = (options.headWidth ?? family.visionHeadWidth, options.textHeadWidth ?? family.textHeadWidth)
    let heads = (
      vision: known.0 ?? usualHeadWidth(patch: patch, width: width.vision), text: known.1 ?? 64
    )
    if family.isOpenAI { return heads }
    if known.0 == nil, width.vision != 64, !publishedWidths.contains(width.vision) {
      directory.assumeHeads("image heads", heads.vision, flag: "--clip-head-width")
    }
    if known.1 == nil, width.text != 64, !publishedTextWidths.contains(width.text) {
      directory.assumeHeads("text heads", heads.text, flag: "--text-head-width")
    }
    return heads
  }

  /// Widths of image and text towers whose heads are known. Source: open_clip `model_configs/ViT-*.json`.
  private static let publishedWidths: Set<Int> = [384, 512, 640, 768, 896, 1024, 1280, 1408, 1664]
  private static let publishedTextWidths: Set<Int> = [384, 512, 640, 768, 1024, 1280]

  /// Head widths of the published vision transformers: 64, except for the largest ones.
  /// Source: open_clip `model_configs/ViT-{H-14,g-14,bigG-14}.json`.
  package static func usualHeadWidth(patch: Int, width: Int) -> Int {
    if patch == 14, width == 1408 { return 88 }
    if patch == 14, width == 1664 { return 104 }
    return patch == 14 && width % 80 == 0 ? 80 : 64
  }

  /// A projection to the common space, stored either way.
  private static func projection(
    _ part: LinearSpec, from: String, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let linear = from + ".weight"
    let source: MatrixSource =
      view.has(linear)
      ? .rows([try view.require(linear, [part.outputs, part.inputs])])
      : .transposed(try view.require(from, [part.inputs, part.outputs]))
    let recipe = LinearRecipe(weight: source, bias: .none, rows: part.outputs, columns: part.inputs)
    plan.fill(part, .linear(recipe), from: view)
  }

  private static func textPlan(
    _ config: TextConfig, _ view: inout CheckpointView
  ) throws(QuantizationError) -> NetworkPlan {
    let schema = TextSchema(config)
    let (width, vocabulary) = (config.width, config.vocabularySize)
    var plan = NetworkPlan(schema)
    let tokens = try view.require(CLIPNames.tokens, [vocabulary, width])
    plan.fill(schema.tokens, .table(tokens, rows: vocabulary, columns: width), from: view)
    try view.positions(schema.position, from: CLIPNames.textPosition, shape: [config.context, width], &plan)
    for (index, block) in schema.blocks.enumerated() {
      let names = CLIPNames.block(CLIPNames.textBlocks + "\(index).", in: view)
      try view.block(block, names, config.blocks, &plan)
    }
    try view.norm(schema.normPost, from: "ln_final", &plan)
    try projection(schema.projection, from: CLIPNames.textProjection, &view, &plan)
    return plan
  }

  private static func visionPlan(
    _ config: CLIPConfig, _ suppressed: Range<Int>, _ view: inout CheckpointView
  ) throws(QuantizationError) -> NetworkPlan {
    let schema = CLIPSchema(config)
    let (vision, width) = (schema.vision, config.width)
    var plan = NetworkPlan(schema)
    try view.patch(vision.patch, weight: CLIPNames.patch, bias: nil, config.vision, &plan)
    if let token = vision.classToken {
      try view.floats(token, from: ["visual.class_embedding"], shape: [width], &plan)
    }
    try view.positions(
      vision.position, from: CLIPNames.position, shape: [config.vision.positionCount, width], &plan)
    if let norm = vision.normPre { try view.norm(norm, from: "visual.ln_pre", &plan) }
    for (index, block) in vision.blocks.enumerated() {
      var names = CLIPNames.block(CLIPNames.visionBlocks + "\(index).", in: view)
      names.isSuppressed = suppressed.contains(index)
      try view.block(block, names, config.vision.blocks, &plan)
    }
    if let norm = vision.normPost { try view.norm(norm, from: "visual.ln_post", &plan) }
    try projection(schema.projection, from: CLIPNames.projection, &view, &plan)
    return plan
  }
}
