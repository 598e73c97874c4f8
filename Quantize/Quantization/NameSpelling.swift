// Other publishers' spellings of tensor names, turned into the first publisher's.

/// Replacements, each applied once to a name, in order.
struct NameSpelling {
  struct Rule {
    let other: [UInt8]
    let original: [UInt8]

    init(_ other: String, _ original: String) {
      self.other = Array(other.utf8)
      self.original = Array(original.utf8)
    }
  }

  var rules: [Rule] = []
  /// Parts that may stand in front of a name, any number of times.
  var wrappers: [String] = []
  /// Blocks are counted within chunks, `blocks.CHUNK.BLOCK.`, where BLOCK goes on from chunk to chunk.
  var hasChunks = false

  func original(_ name: String) -> String {
    var name = hasChunks ? Self.withoutChunk(name) : name
    while let wrapper = wrappers.first(where: { name.hasPrefix($0) }) { name.removeFirst(wrapper.count) }
    var bytes = Array(name.utf8)
    for rule in rules {
      guard let start = firstPlace(of: rule.other, in: bytes) else { continue }
      bytes.replaceSubrange(start..<start + rule.other.count, with: rule.original)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// `name` as the publisher spells it whose rules occur in `others`; unchanged where that is not sure.
  func other(_ name: String, likeThoseOf others: [String]) -> String {
    var bytes = Array(name.utf8)
    for rule in rules.sorted(by: { $0.original.count > $1.original.count }) where !rule.original.isEmpty {
      guard let start = firstPlace(of: rule.original, in: bytes),
        others.contains(where: { firstPlace(of: rule.other, in: Array($0.utf8)) != nil })
      else { continue }
      bytes.replaceSubrange(start..<start + rule.original.count, with: rule.other)
    }
    let other = String(decoding: bytes, as: UTF8.self)
    return original(other) == name ? other : name
  }

  private static func withoutChunk(_ name: String) -> String {
    let parts = name.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 4, parts[0] == "blocks", Int(parts[1]) != nil, Int(parts[2]) != nil else {
      return name
    }
    return "blocks.\(parts[2]).\(parts[3])"
  }
}

extension String {
  /// Whether `part` occurs, byte by byte: a hostile file may hold very many names.
  func holds(_ part: String) -> Bool { firstPlace(of: Array(part.utf8), in: Array(utf8)) != nil }
}

private func firstPlace(of part: [UInt8], in bytes: [UInt8]) -> Int? {
  guard let first = part.first, bytes.count >= part.count else { return nil }
  for start in 0...bytes.count - part.count where bytes[start] == first {
    var length = 1
    while length < part.count && bytes[start + length] == part[length] { length += 1 }
    if length == part.count { return start }
  }
  return nil
}

extension NameSpelling {
  /// Source: transformers `CLIPModel`. Projections are linear modules there, whose names end in `weight`.
  static let huggingFaceCLIP = NameSpelling(rules: [
    Rule("visual_projection.", "visual.proj."),
    Rule("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    Rule("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    Rule("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    Rule("vision_model.pre_layrnorm.", "visual.ln_pre."),
    Rule("vision_model.post_layernorm.", "visual.ln_post."),
    Rule("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    Rule("text_model.embeddings.token_embedding.", "token_embedding."),
    Rule("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    Rule("text_model.final_layer_norm.", "ln_final."),
    Rule("text_model.encoder.layers.", "transformer.resblocks."),
    Rule(".layer_norm1.", ".ln_1."), Rule(".layer_norm2.", ".ln_2."), Rule(".self_attn.", ".attn."),
    Rule(".mlp.fc1.", ".mlp.c_fc."), Rule(".mlp.fc2.", ".mlp.c_proj."),
  ])

  /// Source: transformers `BlipForImageTextRetrieval`. The text tower and the heads have Salesforce's names.
  static let huggingFaceBLIP = NameSpelling(rules: [
    Rule("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
    Rule("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
    Rule("vision_model.embeddings.patch_embedding.", "visual_encoder.patch_embed.proj."),
    Rule("vision_model.encoder.layers.", "visual_encoder.blocks."),
    Rule("vision_model.post_layernorm.", "visual_encoder.norm."),
    Rule(".layer_norm1.", ".norm1."), Rule(".layer_norm2.", ".norm2."),
    Rule(".self_attn.qkv.", ".attn.qkv."), Rule(".self_attn.projection.", ".attn.proj."),
  ])

  /// Source: transformers `ViTModel`, as facebook/dino-vitb16 and its kin are published.
  static let huggingFaceDINO = NameSpelling(rules: [
    Rule("embeddings.cls_token", "cls_token"), Rule("embeddings.position_embeddings", "pos_embed"),
    Rule("embeddings.mask_token", "mask_token"), Rule("embeddings.register_tokens", "register_tokens"),
    Rule("embeddings.patch_embeddings.projection.", "patch_embed.proj."), Rule("encoder.layer.", "blocks."),
    Rule(".layernorm_before.", ".norm1."), Rule(".layernorm_after.", ".norm2."),
    Rule("layernorm.", "norm."), Rule(".attention.attention.", ".attn."),
    Rule(".attention.output.dense.", ".attn.proj."), Rule(".intermediate.dense.", ".mlp.fc1."),
    Rule(".output.dense.", ".mlp.fc2."), Rule(".layer_scale1.lambda1", ".ls1.gamma"),
    Rule(".layer_scale2.lambda1", ".ls2.gamma"), Rule(".mlp.weights_in.", ".mlp.w12."),
    Rule(".mlp.weights_out.", ".mlp.w3."),
  ])

  /// Source: transformers `SamModel`, as facebook/sam-vit-base and its kin are published.
  static let huggingFaceSAM = NameSpelling(
    rules: [
      Rule("vision_encoder.patch_embed.projection.", "image_encoder.patch_embed.proj."),
      Rule("vision_encoder.neck.conv1.", "image_encoder.neck.0."),
      Rule("vision_encoder.neck.layer_norm1.", "image_encoder.neck.1."),
      Rule("vision_encoder.neck.conv2.", "image_encoder.neck.2."),
      Rule("vision_encoder.neck.layer_norm2.", "image_encoder.neck.3."),
      Rule("vision_encoder.layers.", "image_encoder.blocks."), Rule("vision_encoder.", "image_encoder."),
      Rule("shared_image_embedding.positional_embedding", SAMNameMap.gaussian),
      Rule("prompt_encoder.point_embed.", "prompt_encoder.point_embeddings."),
      Rule(".mask_embed.conv1.", ".mask_downscaling.0."),
      Rule(".mask_embed.layer_norm1.", ".mask_downscaling.1."),
      Rule(".mask_embed.conv2.", ".mask_downscaling.3."),
      Rule(".mask_embed.layer_norm2.", ".mask_downscaling.4."),
      Rule(".mask_embed.conv3.", ".mask_downscaling.6."), Rule(".upscale_conv1.", ".output_upscaling.0."),
      Rule(".upscale_layer_norm.", ".output_upscaling.1."), Rule(".upscale_conv2.", ".output_upscaling.3."),
      Rule(".layer_norm_final_attn.", ".norm_final_attn."), Rule(".layer_norm", ".norm"),
    ] + perceptrons)

  /// The three layers of a perceptron are `proj_in`, `layers.0` and `proj_out` there.
  private static let perceptrons: [Rule] = {
    var names = ["iou_prediction_head"]
    for index in 0..<4 { names.append("output_hypernetworks_mlps.\(index)") }
    var rules: [Rule] = []
    /// Parts that may stand in front of a name, any number of times.
    var wrappers: [String] = []
    for name in names {
      rules.append(Rule("\(name).layers.0.", "\(name).layers.1."))
      rules.append(Rule("\(name).proj_in.", "\(name).layers.0."))
      rules.append(Rule("\(name).proj_out.", "\(name).layers.2."))
    }
    return rules
  }()
}
