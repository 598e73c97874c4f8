// Checkpoints of toy size with the published names, written as safetensors.
import Foundation

/// Tensors by name, and a way to write them.
package struct ToyCheckpoint {
  package var tensors: [String: (shape: [Int], values: [Float])] = [:]
  /// Tensors that are stored as half floats.
  package var halves: Set<String> = []
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func add(_ name: String, _ shape: Int...) {
    let count = shape.reduce(1, *)
    let center: Float = name.contains("norm") || name.contains("ln_") ? 1 : 0
    tensors[name] = (shape, (0..<count).map { _ in center + toyRandom(&state) / 8 })
  }

  package mutating func linear(_ name: String, _ rows: Int, _ columns: Int) {
    add(name + ".weight", rows, columns)
    add(name + ".bias", rows)
  }

  package mutating func norm(_ name: String, _ width: Int) {
    add(name + ".weight", width)
    add(name + ".bias", width)
  }

  /// The same tensors under other names; nil drops one.
  package func renamed(_ rename: (String) -> String?) -> ToyCheckpoint {
    var copy = self
    copy.tensors = [:]
    for (name, tensor) in tensors {
      if let new = rename(name) { copy.tensors[new] = tensor }
    }
    return copy
  }

  package func safetensors() -> Data {
    var header: [String] = []
    var body = Data()
    for (name, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
      let start = body.count
      let isHalf = halves.contains(name)
      if isHalf {
        tensor.values.map { Float16($0) }.withUnsafeBytes { body.append(contentsOf: $0) }
      } else {
        tensor.values.withUnsafeBytes { body.append(contentsOf: $0) }
      }
      let shape = tensor.shape.map { String($0) }.joined(separator: ",")
      header.append(
        "\"\(name)\":{\"dtype\":\"\(isHalf ? "F16" : "F32")\",\"shape\":[\(shape)],"
          + "\"data_offsets\":[\(start),\(body.count)]}")
    }
    var text = Data("{\(header.joined(separator: ","))}".utf8)
    while text.count % 8 != 0 { text.append(0x20) }
    var file = Data()
    withUnsafeBytes(of: UInt64(text.count).littleEndian) { file.append(contentsOf: $0) }
    return file + text + body
  }
}

extension ToyCheckpoint {
  /// Image tower 72 wide (three heads of 24 when told so), text tower 64 wide.
  package static func clip(width vision: Int = 72, patch: Int = 4, depth: Int = 2) -> ToyCheckpoint {
    var toy = ToyCheckpoint(seed: 11)
    toy.add("visual.conv1.weight", vision, 3, patch, patch)
    toy.add("visual.class_embedding", vision)
    toy.add("visual.positional_embedding", 10, vision)
    toy.norm("visual.ln_pre", vision)
    toy.norm("visual.ln_post", vision)
    toy.add("visual.proj", vision, 20)
    toy.add("token_embedding.weight", 517, 64)
    toy.add("positional_embedding", 7, 64)
    toy.norm("ln_final", 64)
    toy.add("text_projection", 64, 20)
    toy.add("logit_scale")
    for (stem, width, depth, mlp) in [
      ("visual.transformer.", vision, depth, 90), ("transformer.", 64, 1, 80),
    ] {
      for index in 0..<depth {
        let block = stem + "resblocks.\(index)."
        toy.norm(block + "ln_1", width)
        toy.norm(block + "ln_2", width)
        toy.add(block + "attn.in_proj_weight", 3 * width, width)
        toy.add(block + "attn.in_proj_bias", 3 * width)
        toy.linear(block + "attn.out_proj", width, width)
        toy.linear(block + "mlp.c_fc", mlp, width)
        toy.linear(block + "mlp.c_proj", width, mlp)
      }
    }
    return toy
  }

  /// SigLIP's text tower, 72 wide with one head, for `pieces` tokens; beside it a tensor that is left alone.
  package static func siglip(pieces: Int) -> ToyCheckpoint {
    var toy = ToyCheckpoint(seed: 14)
    toy.add("text_model.embeddings.token_embedding.weight", pieces, 72)
    toy.add("text_model.embeddings.position_embedding.weight", 8, 72)
    let layer = "text_model.encoder.layers.0."
    for part in ["q_proj", "k_proj", "v_proj", "out_proj"] { toy.linear(layer + "self_attn." + part, 72, 72) }
    toy.norm(layer + "layer_norm1", 72)
    toy.norm(layer + "layer_norm2", 72)
    toy.linear(layer + "mlp.fc1", 90, 72)
    toy.linear(layer + "mlp.fc2", 72, 90)
    toy.norm("text_model.final_layer_norm", 72)
    toy.linear("text_model.head", 20, 72)
    toy.add("logit_scale", 1)
    toy.norm("vision_model.post_layernorm", 72)
    return toy
  }

  /// BLIP's towers under Salesforce's names, one block each, for `pieces` tokens; beside them what is left
  /// alone.
  package static func blip(pieces: Int) -> ToyCheckpoint {
    var toy = ToyCheckpoint(seed: 15)
    toy.add("visual_encoder.cls_token", 1, 1, 64)
    toy.add("visual_encoder.pos_embed", 1, 5, 64)
    toy.add("visual_encoder.patch_embed.proj.weight", 64, 3, 4, 4)
    toy.add("visual_encoder.patch_embed.proj.bias", 64)
    toy.norm("visual_encoder.norm", 64)
    let block = "visual_encoder.blocks.0."
    toy.norm(block + "norm1", 64)
    toy.norm(block + "norm2", 64)
    toy.linear(block + "attn.qkv", 192, 64)
    toy.linear(block + "attn.proj", 64, 64)
    toy.linear(block + "mlp.fc1", 70, 64)
    toy.linear(block + "mlp.fc2", 64, 70)
    toy.addCaptions(pieces: pieces)
    toy.linear("itm_head", 2, 128)
    toy.linear("vision_proj", 20, 64)
    toy.linear("text_proj", 20, 128)
    toy.norm("visual_encoder_m.norm", 64)
    toy.add("image_queue", 20, 3)
    toy.add("temp")
    return toy
  }

  private mutating func addCaptions(pieces: Int) {
    let embeddings = "text_encoder.embeddings."
    add(embeddings + "word_embeddings.weight", pieces, 128)
    add(embeddings + "position_embeddings.weight", 12, 128)
    norm(embeddings + "LayerNorm", 128)
    let layer = "text_encoder.encoder.layer.0."
    for (part, width) in [("attention", 128), ("crossattention", 64)] {
      linear("\(layer)\(part).self.query", 128, 128)
      for name in ["key", "value"] { linear("\(layer)\(part).self.\(name)", 128, width) }
      linear("\(layer)\(part).output.dense", 128, 128)
      norm("\(layer)\(part).output.LayerNorm", 128)
    }
    linear(layer + "intermediate.dense", 90, 128)
    linear(layer + "output.dense", 128, 90)
    norm(layer + "output.LayerNorm", 128)
  }

  package static func dino() -> ToyCheckpoint {
    var toy = ToyCheckpoint(seed: 12)
    toy.add("cls_token", 1, 1, 64)
    toy.add("pos_embed", 1, 10, 64)
    toy.linear("patch_embed.proj", 64, 192)
    toy.tensors["patch_embed.proj.weight"]!.shape = [64, 3, 8, 8]
    toy.norm("norm", 64)
    toy.norm("blocks.0.norm1", 64)
    toy.norm("blocks.0.norm2", 64)
    toy.linear("blocks.0.attn.qkv", 192, 64)
    toy.linear("blocks.0.attn.proj", 64, 64)
    toy.linear("blocks.0.mlp.fc1", 70, 64)
    toy.linear("blocks.0.mlp.fc2", 64, 70)
    return toy
  }

  /// DINO's sizes with what DINOv2 has besides, under the torch hub's names, in two blocks.
  package static func dinov2(registers: Int = 0, gated: Bool = false) -> ToyCheckpoint {
    var toy = ToyCheckpoint(seed: 16)
    toy.add("cls_token", 1, 1, 64)
    toy.add("mask_token", 1, 64)
    toy.add("pos_embed", 1, 10, 64)
    if registers > 0 { toy.add("register_tokens", 1, registers, 64) }
    toy.linear("patch_embed.proj", 64, 192)
    toy.tensors["patch_embed.proj.weight"]!.shape = [64, 3, 8, 8]
    toy.norm("norm", 64)
    for index in 0..<2 {
      let block = "blocks.\(index)."
      toy.norm(block + "norm1", 64)
      toy.norm(block + "norm2", 64)
      toy.linear(block + "attn.qkv", 192, 64)
      toy.linear(block + "attn.proj", 64, 64)
      toy.add(block + "ls1.gamma", 64)
      toy.add(block + "ls2.gamma", 64)
      toy.linear(block + (gated ? "mlp.w12" : "mlp.fc1"), gated ? 144 : 70, 64)
      toy.linear(block + (gated ? "mlp.w3" : "mlp.fc2"), 64, gated ? 72 : 70)
    }
    return toy
  }

  /// Two heads of 20 in an encoder 40 wide: a windowed block and a global one.
  package static func sam() -> ToyCheckpoint {
    var toy = ToyCheckpoint(seed: 13)
    let encoder = "image_encoder."
    toy.add(encoder + "pos_embed", 1, 4, 4, 40)
    toy.add(encoder + "patch_embed.proj.weight", 40, 3, 4, 4)
    toy.add(encoder + "patch_embed.proj.bias", 40)
    for (index, side) in [2, 4].enumerated() {
      let block = encoder + "blocks.\(index)."
      toy.norm(block + "norm1", 40)
      toy.norm(block + "norm2", 40)
      toy.linear(block + "attn.qkv", 120, 40)
      toy.linear(block + "attn.proj", 40, 40)
      toy.add(block + "attn.rel_pos_h", 2 * side - 1, 20)
      toy.add(block + "attn.rel_pos_w", 2 * side - 1, 20)
      toy.linear(block + "mlp.lin1", 50, 40)
      toy.linear(block + "mlp.lin2", 40, 50)
    }
    toy.add(encoder + "neck.0.weight", 16, 40, 1, 1)
    toy.norm(encoder + "neck.1", 16)
    toy.add(encoder + "neck.2.weight", 16, 16, 3, 3)
    toy.norm(encoder + "neck.3", 16)
    toy.addPrompt()
    toy.addDecoder()
    return toy
  }

  private mutating func addPrompt() {
    let prompt = "prompt_encoder."
    add(prompt + "pe_layer.positional_encoding_gaussian_matrix", 2, 8)
    for index in 0..<4 { add(prompt + "point_embeddings.\(index).weight", 1, 16) }
    add(prompt + "not_a_point_embed.weight", 1, 16)
    add(prompt + "no_mask_embed.weight", 1, 16)
    let mask = prompt + "mask_downscaling."
    add(mask + "0.weight", 4, 1, 2, 2)
    add(mask + "0.bias", 4)
    norm(mask + "1", 4)
    add(mask + "3.weight", 16, 4, 2, 2)
    add(mask + "3.bias", 16)
    norm(mask + "4", 16)
    add(mask + "6.weight", 16, 16, 1, 1)
    add(mask + "6.bias", 16)
  }

  private mutating func addDecoder() {
    let decoder = "mask_decoder."
    add(decoder + "iou_token.weight", 1, 16)
    add(decoder + "mask_tokens.weight", 4, 16)
    let transformer = decoder + "transformer."
    func attention(_ name: String, _ inner: Int, _ toy: inout ToyCheckpoint) {
      for part in ["q", "k", "v"] { toy.linear("\(name).\(part)_proj", inner, 16) }
      toy.linear("\(name).out_proj", 16, inner)
    }
    let layer = transformer + "layers.0."
    attention(layer + "self_attn", 16, &self)
    attention(layer + "cross_attn_token_to_image", 8, &self)
    attention(layer + "cross_attn_image_to_token", 8, &self)
    for index in 1...4 { norm(layer + "norm\(index)", 16) }
    linear(layer + "mlp.lin1", 24, 16)
    linear(layer + "mlp.lin2", 16, 24)
    attention(transformer + "final_attn_token_to_image", 8, &self)
    norm(transformer + "norm_final_attn", 16)
    add(decoder + "output_upscaling.0.weight", 16, 4, 2, 2)
    add(decoder + "output_upscaling.0.bias", 4)
    norm(decoder + "output_upscaling.1", 4)
    add(decoder + "output_upscaling.3.weight", 4, 2, 2, 2)
    add(decoder + "output_upscaling.3.bias", 2)
    for (name, hidden, output) in (0..<4).map({ ("output_hypernetworks_mlps.\($0)", 16, 2) }) + [
      ("iou_prediction_head", 12, 4)
    ] {
      linear(decoder + name + ".layers.0", hidden, 16)
      linear(decoder + name + ".layers.1", hidden, hidden)
      linear(decoder + name + ".layers.2", output, hidden)
    }
  }

  /// The CLIP toy under Hugging Face's names: q, k and v apart, projections as [out, in].
  package func huggingFace() -> ToyCheckpoint {
    var copy = self
    copy.tensors = [:]
    let fixed = [
      "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
      "visual.class_embedding": "vision_model.embeddings.class_embedding",
      "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
      "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
      "positional_embedding": "text_model.embeddings.position_embedding.weight",
    ]
    let stems = [
      ("visual.ln_pre", "vision_model.pre_layrnorm"), ("visual.ln_post", "vision_model.post_layernorm"),
      ("ln_final", "text_model.final_layer_norm"),
      ("visual.transformer.resblocks", "vision_model.encoder.layers"),
      ("transformer.resblocks", "text_model.encoder.layers"), (".ln_1", ".layer_norm1"),
      (".ln_2", ".layer_norm2"),
      (".attn.out_proj", ".self_attn.out_proj"), (".mlp.c_fc", ".mlp.fc1"), (".mlp.c_proj", ".mlp.fc2"),
    ]
    for (name, tensor) in tensors {
      if let new = fixed[name] {
        copy.tensors[new] = tensor
      } else if name == "visual.proj" || name == "text_projection" {
        let (rows, columns) = (tensor.shape[0], tensor.shape[1])
        let values = (0..<(rows * columns)).map { tensor.values[$0 % rows * columns + $0 / rows] }
        let new = name == "visual.proj" ? "visual_projection.weight" : "text_projection.weight"
        copy.tensors[new] = ([columns, rows], values)
      } else {
        var new = name
        for (from, to) in stems { new = new.replacingOccurrences(of: from, with: to) }
        guard let range = new.range(of: "attn.in_proj_") else {
          copy.tensors[new] = tensor
          continue
        }
        let size = tensor.values.count / 3
        for (index, part) in ["q", "k", "v"].enumerated() {
          let name = new.replacingCharacters(in: range, with: "self_attn.\(part)_proj.")
          let shape = [tensor.shape[0] / 3] + tensor.shape.dropFirst()
          copy.tensors[name] = (shape, Array(tensor.values[(index * size)..<((index + 1) * size)]))
        }
      }
    }
    return copy
  }
}

/// A repeatable value in -1 ..< 1.
package func toyRandom(_ state: inout UInt64) -> Float {
  state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
  return Float(state >> 40) / Float(1 << 23) - 1
}
