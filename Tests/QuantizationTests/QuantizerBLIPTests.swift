// BLIP's checkpoints: both publishers' names, a folder, what is left alone and what is refused.
import Container
import Foundation
import Quantization
import Segmentation
import TestSupport
import Testing

@Suite struct QuantizerBLIPTests {
  private static let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "picture", "of", "cat"]

  /// A folder with a checkpoint and a word list.
  private final class Folder {
    let path = NSTemporaryDirectory() + "trident-blip-\(UUID().uuidString)"
    var output: String { path + "/model.gguf" }

    init(_ toy: ToyCheckpoint?, _ name: String = "model.safetensors") throws {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      try toy?.safetensors().write(to: URL(fileURLWithPath: path + "/" + name))
      try Data((words.joined(separator: "\n") + "\n").utf8).write(
        to: URL(fileURLWithPath: path + "/vocab.txt"))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func quantize(_ name: String = "/model.safetensors") throws -> MappedModel {
      var request = QuantizationRequest(blip: path + name, output: output)
      request.overwrite = true
      _ = try ModelQuantizer(request) { _ in }.run()
      return try MappedModel(path: output)
    }
  }

  private static let toy = ToyCheckpoint.blip(pieces: words.count + 2)

  /// The same tensors as transformers names them.
  private static let huggingFace = toy.renamed { name in
    let fixed = [
      "visual_encoder.cls_token": "vision_model.embeddings.class_embedding",
      "visual_encoder.pos_embed": "vision_model.embeddings.position_embedding",
    ]
    if let new = fixed[name] { return new }
    let pairs = [
      ("visual_encoder.patch_embed.proj.", "vision_model.embeddings.patch_embedding."),
      ("visual_encoder.norm.", "vision_model.post_layernorm."),
      ("visual_encoder.blocks.", "vision_model.encoder.layers."), (".norm1.", ".layer_norm1."),
      (".norm2.", ".layer_norm2."), (".attn.qkv.", ".self_attn.qkv."),
      (".attn.proj.", ".self_attn.projection."),
    ]
    return pairs.reduce(name) { $0.replacingOccurrences(of: $1.0, with: $1.1) }
  }

  @Test func namesAndSizes() throws {
    let file = try Folder(Self.toy).quantize()
    try file.verify { _, _ in }
    let counts: [(String, Int)] = [
      ("blip.width", 64), ("blip.heads", 1), ("blip.grid", 2), ("blip.patch", 4), ("bert.width", 128),
      ("bert.heads", 2), ("bert.head_width", 64), ("bert.context", 12), ("bert.vocab", 10),
      ("bert.embed_dim", 20),
    ]
    for (key, value) in counts { #expect(try file.uint("trident." + key) == value, "\(key)") }
    #expect(try file.float("trident.bert.norm_epsilon") == 1e-12)
    #expect(try file.string("tokenizer.ggml.model") == "bert")
    #expect(try file.count("tokenizer.ggml.tokens") == 10)
    #expect(try file.string("trident.source.tokenizer.file") == "vocab.txt")
    #expect(try file.tensor("bert.blocks.0.cross_kv.weight").dimensions == [64, 256])
    #expect(!file.tensors.contains { $0.name.contains("_m") || $0.name.contains("queue") })
    // The head stays as it is.
    let record = try file.tensor("itm.weight")
    let stored = try file.bytes(record.name, type: record.type, dimensions: record.dimensions)
    let head = UnsafeBufferPointer(start: stored.assumingMemoryBound(to: Float.self), count: 256)
    #expect(Array(head) == Self.toy.tensors["itm_head.weight"]?.values)
  }

  @Test func formsOfNamesAgree() throws {
    func identity(_ folder: Folder, _ name: String = "/model.safetensors") throws -> String {
      try folder.quantize(name).string("trident.model_id")
    }
    let expected = try identity(Folder(Self.toy))
    #expect(try identity(Folder(Self.toy.renamed { "model." + $0 })) == expected)
    #expect(Self.huggingFace.tensors["vision_model.encoder.layers.0.self_attn.projection.bias"] != nil)
    #expect(try identity(Folder(Self.huggingFace)) == expected)
    // The folder of a snapshot, whatever its file is called.
    #expect(try identity(Folder(Self.huggingFace), "") == expected)
    #expect(try identity(Folder(Self.huggingFace, "pytorch_model.bin"), "/") == expected)
  }

  /// Of whole copies the slow one is taken, whatever their order, which is said and recorded.
  @Test func theSlowCopyIsTaken() throws {
    var other = Self.toy
    other.tensors["itm_head.bias"]?.values[0] += 1
    let wanted = try Folder(Self.toy).quantize().string("trident.model_id")
    for (fast, slow) in [("model.", "ema."), ("a_model.", "model_ema."), ("", "momentum.")] {
      var both = other.renamed { fast + $0 }
      both.tensors.merge(Self.toy.renamed { slow + $0 }.tensors) { first, _ in first }
      let folder = try Folder(both)
      let file = try folder.quantize()
      #expect(try file.string("trident.model_id") == wanted)
      #expect(try file.string("trident.source.blip.prefix") == slow)
      let request = QuantizationRequest(blip: folder.path + "/model.safetensors", output: folder.output)
      let notes = try ModelQuantizer(request) { _ in }.notes
      #expect(notes.contains { $0.contains("'\(slow)' is taken") }, "\(notes)")
    }
  }

  /// Its image tower has the names of DINO's.
  @Test func asAnotherNetwork() throws {
    for toy in [Self.toy, Self.huggingFace] {
      for network in ["dino", "clip"] {
        let found: String
        do {
          _ = network == "dino" ? try ToyFolder(dino: toy).quantize() : try ToyFolder(clip: toy).quantize()
          found = "accepted"
        } catch { found = "\(error)" }
        #expect(found.contains("this is BLIP: --blip takes it"), "\(network): \(found)")
      }
    }
  }

  private func refusal(_ folder: Folder, _ name: String = "/model.safetensors") -> String {
    do {
      _ = try folder.quantize(name)
      return "accepted"
    } catch { return "\(error)" }
  }

  @Test func refusals() throws {
    #expect(try refusal(Folder(nil), "").contains("no model.safetensors"))
    let captioner = Self.toy.renamed { $0.replacingOccurrences(of: "text_encoder.", with: "text_decoder.") }
    #expect(try refusal(Folder(captioner)).contains("writes captions"))
    let headless = Self.toy.renamed { $0.hasPrefix("itm_head") ? nil : $0 }
    #expect(try refusal(Folder(headless)).contains("itm_head"))
    var other = Self.toy
    other.tensors["text_encoder.encoder.layer.0.attention.self.query.bias"] = (
      [127], Array(repeating: 0, count: 127)
    )
    #expect(try refusal(Folder(other)).contains("attention.self.query.bias"))
    let extra = try Folder(Self.toy)
    try Data("only\n".utf8).write(to: URL(fileURLWithPath: extra.path + "/vocab.txt"))
    #expect(refusal(extra).contains("pieces, where the text tower has rows for 10"))
    try FileManager.default.removeItem(atPath: extra.path + "/vocab.txt")
    #expect(refusal(extra).contains("--vocab"))
    #expect(!FileManager.default.fileExists(atPath: extra.output))
  }
}
