// A folder of toy checkpoints, ready to be quantized.
import Foundation
import Quantization
import TestSupport
import Testing

/// A folder with the three toys, a vocabulary, and a request to quantize them.
final class ToyFolder {
  let path: String
  var request: QuantizationRequest

  init(
    clip: ToyCheckpoint = .clip(), dino: ToyCheckpoint = .dino(), sam: ToyCheckpoint = .sam()
  ) throws {
    path = NSTemporaryDirectory() + "trident-quantizer-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    request = QuantizationRequest(
      clip: path + "/clip.safetensors", dino: path + "/dino.safetensors", sam: path + "/sam.safetensors",
      output: path + "/model.gguf")
    request.activation = .quickgelu
    request.clipHeadWidth = 24
    try clip.safetensors().write(to: URL(fileURLWithPath: request.clip))
    try dino.safetensors().write(to: URL(fileURLWithPath: path + "/dino.safetensors"))
    try sam.safetensors().write(to: URL(fileURLWithPath: path + "/sam.safetensors"))
    try write("merges.txt", "#version: 0.2\ni n\nt h\na n\n")
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ text: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
  }

  var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path))?.sorted() ?? [] }

  func quantize() throws(QuantizationFailure) -> QuantizationReport {
    try ModelQuantizer(request) { _ in }.run()
  }
}

extension ToyCheckpoint {
  /// The same tensors with parts of their names replaced, in order.
  private func respelled(_ pairs: [(String, String)]) -> ToyCheckpoint {
    renamed { name in pairs.reduce(name) { $0.replacingOccurrences(of: $1.0, with: $1.1) } }
  }

  /// The DINO toy as transformers' ViTModel names it: q, k and v apart.
  func huggingFaceDINO() -> ToyCheckpoint {
    var copy = respelled([
      ("cls_token", "embeddings.cls_token"), ("pos_embed", "embeddings.position_embeddings"),
      ("patch_embed.proj", "embeddings.patch_embeddings.projection"), (".norm1", ".layernorm_before"),
      (".norm2", ".layernorm_after"), ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
      ("attn.proj", "attention.output.dense"), ("blocks", "encoder.layer"),
    ])
    for leaf in ["weight", "bias"] {
      copy.tensors["layernorm." + leaf] = copy.tensors.removeValue(forKey: "norm." + leaf)
      let fused = copy.tensors.removeValue(forKey: "encoder.layer.0.attn.qkv." + leaf)!
      let size = fused.values.count / 3
      for (index, part) in ["query", "key", "value"].enumerated() {
        let values = Array(fused.values[(index * size)..<((index + 1) * size)])
        copy.tensors["encoder.layer.0.attention.attention.\(part).\(leaf)"] =
          ([fused.shape[0] / 3] + fused.shape.dropFirst(), values)
      }
    }
    return copy
  }

  /// The DINOv2 toy as transformers' Dinov2Model names it.
  func huggingFaceDINOv2() -> ToyCheckpoint {
    var copy = respelled([
      ("cls_token", "embeddings.cls_token"), ("mask_token", "embeddings.mask_token"),
      ("register_tokens", "embeddings.register_tokens"), ("pos_embed", "embeddings.position_embeddings"),
      ("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("ls1.gamma", "layer_scale1.lambda1"),
      ("ls2.gamma", "layer_scale2.lambda1"), ("mlp.w12", "mlp.weights_in"), ("mlp.w3", "mlp.weights_out"),
      ("attn.proj", "attention.output.dense"), ("blocks", "encoder.layer"),
    ])
    for leaf in ["weight", "bias"] {
      copy.tensors["layernorm." + leaf] = copy.tensors.removeValue(forKey: "norm." + leaf)
      for block in 0..<2 {
        let layer = "encoder.layer.\(block)."
        let fused = copy.tensors.removeValue(forKey: layer + "attn.qkv." + leaf)!
        let size = fused.values.count / 3
        for (index, part) in ["query", "key", "value"].enumerated() {
          let values = Array(fused.values[(index * size)..<((index + 1) * size)])
          copy.tensors[layer + "attention.attention.\(part).\(leaf)"] =
            ([fused.shape[0] / 3] + fused.shape.dropFirst(), values)
        }
      }
    }
    return copy
  }

  /// The SAM toy as transformers' SamModel names it.
  func huggingFaceSAM() -> ToyCheckpoint {
    let gaussian = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    var pairs: [(String, String)] = [(".norm", ".layer_norm")]
    pairs.append((gaussian, "shared_image_embedding.positional_embedding"))
    for (index, name) in ["0": "conv1", "1": "layer_norm1", "2": "conv2", "3": "layer_norm2"] {
      pairs.append(("neck.\(index).", "neck.\(name)."))
    }
    let downscaling = ["0": "conv1", "1": "layer_norm1", "3": "conv2", "4": "layer_norm2", "6": "conv3"]
    for (index, name) in downscaling { pairs.append(("mask_downscaling.\(index).", "mask_embed.\(name).")) }
    for (index, name) in ["0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"] {
      pairs.append(("output_upscaling.\(index).", "\(name)."))
    }
    pairs.append(("image_encoder.blocks", "vision_encoder.layers"))
    pairs.append(("image_encoder", "vision_encoder"))
    pairs.append(("patch_embed.proj", "patch_embed.projection"))
    pairs.append(("point_embeddings", "point_embed"))
    let layers = [("layers.0", "proj_in"), ("layers.1", "layers.0"), ("layers.2", "proj_out")]
    return respelled(pairs).renamed { name in
      guard name.contains("mlps.") || name.contains("head.") else { return name }
      guard let layer = layers.first(where: { name.contains($0.0) }) else { return name }
      return name.replacingOccurrences(of: layer.0, with: layer.1)
    }
  }
}
