// What is refused, and how: missing and wrong tensors, other architectures, unknown activations, broken
// values.
import Container
import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct QuantizerRefusalTests {
  /// The message of the failure, or nil if there was none. Nothing may be left behind.
  private func failure(_ folder: ToyFolder) -> String? {
    do throws(QuantizationFailure) {
      _ = try folder.quantize()
      return nil
    } catch {
      #expect(!folder.names.contains { $0.hasPrefix("model.gguf") })
      guard case .source(let source) = error else { return "output: \(error)" }
      return source.description
    }
  }

  private func expect(
    _ folder: ToyFolder, says parts: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let message = failure(folder)
    #expect(message != nil, sourceLocation: sourceLocation)
    for part in parts {
      #expect(message?.contains(part) == true, "\(message ?? "no failure")", sourceLocation: sourceLocation)
    }
  }

  @Test func everyMissingTensorIsNamed() throws {
    let toys: [(ToyCheckpoint, (ToyCheckpoint) throws -> ToyFolder)] = [
      (.clip(), { try ToyFolder(clip: $0) }), (.dino(), { try ToyFolder(dino: $0) }),
      (.sam(), { try ToyFolder(sam: $0) }),
    ]
    for (toy, make) in toys {
      for name in toy.tensors.keys.sorted() where name != "logit_scale" {
        var cut = toy
        cut.tensors[name] = nil
        let message = try failure(make(cut))
        #expect(message != nil, "\(name)")
      }
    }
  }

  /// Of shapes that fit each other, and that `trident` would refuse.
  @Test func modelsThatCannotBeRunAreRefused() throws {
    var clip = ToyCheckpoint.clip()
    clip.add("positional_embedding", 1, 64)
    expect(try ToyFolder(clip: clip), says: "trident.text.context: expected room for the two marks, found 1")
    clip.add("positional_embedding", 513, 64)
    expect(try ToyFolder(clip: clip), says: "trident.text.context: expected a number in 1...512, found 513")
  }

  @Test func wrongShapesAreNamed() throws {
    var clip = ToyCheckpoint.clip()
    clip.add("visual.transformer.resblocks.1.mlp.c_fc.weight", 90, 71)
    expect(try ToyFolder(clip: clip), says: "resblocks.1.mlp.c_fc.weight", "[90, 72]", "[90, 71]")
    clip = .clip()
    clip.add("visual.positional_embedding", 12, 72)
    expect(try ToyFolder(clip: clip), says: "visual.positional_embedding", "11 positions")
    var sam = ToyCheckpoint.sam()
    sam.add("image_encoder.blocks.0.attn.rel_pos_h", 5, 20)
    sam.add("image_encoder.blocks.0.attn.rel_pos_w", 3, 20)
    expect(try ToyFolder(sam: sam), says: "rel_pos_w", "[5, 20]")
    sam.add("image_encoder.blocks.0.attn.rel_pos_h", 4, 20)
    expect(try ToyFolder(sam: sam), says: "2 * side - 1")
    let folder = try ToyFolder()
    folder.request.clipHeadWidth = 25
    expect(folder, says: "width 72", "head width 25")
  }

  @Test func otherArchitecturesAreRefusedByName() throws {
    var clip = ToyCheckpoint.clip()
    clip.add("visual.transformer.resblocks.0.ls_1.gamma", 72)
    expect(try ToyFolder(clip: clip), says: "layer scale", "ls_1.gamma")
    clip = ToyCheckpoint(seed: 1)
    clip.add("visual.layer1.0.conv1.weight", 4, 4, 1, 1)
    expect(try ToyFolder(clip: clip), says: "ResNet")
    clip = ToyCheckpoint(seed: 1)
    clip.add("visual.trunk.patch_embed.proj.weight", 4, 4, 1, 1)
    expect(try ToyFolder(clip: clip), says: "timm")
    expect(try ToyFolder(clip: .sam()), says: "no CLIP image tower")
    var dino = ToyCheckpoint.dino()
    dino.add("register_tokens", 1, 4, 64)
    expect(try ToyFolder(dino: dino), says: "register tokens", "register_tokens")
    dino = .dino()
    dino.add("patch_embed.norm.weight", 64)
    expect(try ToyFolder(dino: dino), says: "patch_embed.norm", "not part of")
    expect(try ToyFolder(dino: .sam()), says: "patch_embed.proj.weight")
    expect(try ToyFolder(sam: .dino()), says: "image_encoder.pos_embed")
    var sam = ToyCheckpoint.sam()
    sam.add("mask_decoder.hf_token.weight", 1, 16)
    expect(try ToyFolder(sam: sam), says: "hf_token", "HQ-SAM", "sam_vit_b_01ec64.pth")
  }

  @Test func relativesAreRefusedByName() throws {
    func alone(_ name: String, _ shape: [Int] = [4, 4]) -> ToyCheckpoint {
      var toy = ToyCheckpoint(seed: 1)
      toy.tensors[name] = (shape, [Float](repeating: 0, count: shape.reduce(1, *)))
      return toy
    }
    expect(try ToyFolder(clip: alone("visual.blocks.0.attn.q_proj.weight")), says: "EVA-CLIP", "ViT-B-16.pt")
    expect(try ToyFolder(clip: alone("vision_model.head.probe")), says: "SigLIP")
    expect(try ToyFolder(clip: alone("image_encoder.model.patch_embed.0.weight")), says: "MobileCLIP")
    let images = ToyCheckpoint.clip().renamed { $0.hasPrefix("visual.") ? $0 : nil }
    expect(try ToyFolder(clip: images), says: "no text tower")
    var clip = ToyCheckpoint.clip()
    clip.add("text.transformer.embeddings.word_embeddings.weight", 4, 4)
    expect(try ToyFolder(clip: clip), says: "word_embeddings", "not CLIP's own")
    expect(
      try ToyFolder(sam: alone("image_encoder.patch_embed.seq.0.c.weight")), says: "MobileSAM",
      "sam_vit_b_01ec64.pth")
    expect(try ToyFolder(sam: alone("model.image_encoder.trunk.pos_embed")), says: "SAM 2")
  }

  /// Networks that people take for one of the three, by tensors that only they have.
  @Test(
    arguments: [
      ("SAM-HQ", ["image_encoder.pos_embed", "mask_decoder.compress_vit_feat.0.weight"]),
      ("SAM 2", ["image_encoder.trunk.pos_embed", "memory_attention.layers.0.norm1.weight"]),
      ("SAM 3", ["detector.backbone.vision_backbone.trunk.pos_embed", "tracker.maskmem_tpos_enc"]),
      ("EfficientSAM", ["image_encoder.pos_embed", "mask_decoder.final_output_upscaling_layers.0.0.weight"]),
      ("MobileSAM", ["image_encoder.patch_embed.seq.0.c.weight"]),
      ("DINOv3", ["patch_embed.proj.weight", "storage_tokens", "rope_embed.periods"]),
      (
        "DINOv3",
        ["embeddings.patch_embeddings.weight", "embeddings.register_tokens", "layer.0.norm1.weight"]
      ),
      ("CoCa", ["visual.conv1.weight", "visual.class_embedding", "text_decoder.ln_final.weight"]),
      ("LongCLIP", ["visual.conv1.weight", "visual.class_embedding", "positional_embedding_res"]),
      ("AlphaCLIP", ["visual.conv1.weight", "visual.class_embedding", "visual.conv1_alpha.weight"]),
      ("CLIPA", ["visual.conv1.weight", "visual.class_embedding", "transformer.resblocks.0.ln_1.weight"]),
    ])
  func foreignNetworksAreNamed(_ name: String, _ tensors: [String]) throws {
    var toy = ToyCheckpoint(seed: 2)
    for tensor in tensors { toy.add("module." + tensor, 4, 3, 2, 2) }
    if name.hasSuffix("CLIP") || ["CoCa", "CLIPA"].contains(name) {
      expect(try ToyFolder(clip: toy), says: name, "not supported")
    } else if name.hasPrefix("DINO") {
      expect(try ToyFolder(dino: toy), says: name, "not supported")
    } else {
      expect(try ToyFolder(sam: toy), says: name, "not supported")
    }
  }

  @Test func channelsLastAreNamed() throws {
    var clip = ToyCheckpoint.clip()
    clip.tensors["visual.conv1.weight"]!.shape = [72, 4, 4, 3]
    expect(try ToyFolder(clip: clip), says: "channels last", "visual.conv1.weight")
    var dino = ToyCheckpoint.dino()
    dino.tensors["patch_embed.proj.weight"]!.shape = [64, 8, 8, 3]
    expect(try ToyFolder(dino: dino), says: "channels last")
    var sam = ToyCheckpoint.sam()
    sam.tensors["image_encoder.patch_embed.proj.weight"]!.shape = [40, 4, 4, 3]
    expect(try ToyFolder(sam: sam), says: "channels last")
  }

  /// What nobody needs never refuses a file; wrappers between modules change nothing.
  @Test func needlessTensorsAreLeftAlone() throws {
    let whole = try ToyFolder()
    _ = try whole.quantize()
    var (clip, dino, sam) = (ToyCheckpoint.clip(), ToyCheckpoint.dino(), ToyCheckpoint.sam())
    clip.add("logit_bias")
    clip.add("loss.temperature", 1)
    dino.add("mask_token", 1, 64)
    dino.add("decoder_pred.weight", 4, 64)
    sam.add("pixel_mean", 3, 1, 1)
    sam.add("pixel_std", 3, 1, 1)
    let wrapped = try ToyFolder(
      clip: clip.renamed {
        "_orig_mod." + $0.replacingOccurrences(of: "resblocks.0.", with: "resblocks.0._orig_mod.")
      },
      dino: dino.renamed { $0.replacingOccurrences(of: "blocks.", with: "_fsdp_wrapped_module.blocks.") },
      sam: sam)
    #expect(failure(wrapped) == nil)
    let ids = try [whole, wrapped].map { try MappedModel(path: $0.request.output).string("trident.model_id") }
    #expect(ids[0] == ids[1])
  }

  /// An index stands for its parts; a part alone does not.
  @Test func partsOfAModelAreReadThroughTheirIndex() throws {
    let (folder, whole) = (try ToyFolder(), try ToyFolder())
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    let toy = ToyCheckpoint.clip()
    let isSecond = { (name: String) in name.hasPrefix("visual.ln_") }
    try toy.renamed { isSecond($0) ? nil : $0 }.safetensors().write(
      to: URL(fileURLWithPath: folder.path + "/" + names[0]))
    try toy.renamed { isSecond($0) ? $0 : nil }.safetensors().write(
      to: URL(fileURLWithPath: folder.path + "/" + names[1]))
    let map = toy.tensors.keys.sorted().map { "\"\($0)\": \"\(names[isSecond($0) ? 1 : 0])\"" }
    let index = "{\"metadata\": {}, \"weight_map\": {\(map.joined(separator: ", "))}}"
    try folder.write("model.safetensors.index.json", index)
    folder.request.clip = folder.path + "/model.safetensors.index.json"
    _ = try folder.quantize()
    _ = try whole.quantize()
    let ids = try [folder, whole].map { try MappedModel(path: $0.request.output).string("trident.model_id") }
    #expect(ids[0] == ids[1])
    try FileManager.default.removeItem(atPath: folder.request.output)
    folder.request.clip = folder.path + "/" + names[0]
    expect(folder, says: "one part of several", "visual.ln_pre", ".safetensors.index.json", "max_shard_size")
  }

  @Test func indexesThatLeadElsewhereAreRefused() throws {
    let folder = try ToyFolder()
    try ToyCheckpoint.clip().safetensors().write(
      to: URL(fileURLWithPath: folder.path + "/part.safetensors"))
    folder.request.clip = folder.path + "/index.json"
    let refusals = [
      (#"{"weights": 1}"#, "not the index"), (#"{"weight_map": {}}"#, "no tensors"),
      (#"{"weight_map": {"a": 1}}"#, "no text"),
      (#"{"weight_map": {"a": "pytorch_model.bin"}}"#, "max_shard_size"),
      (#"{"weight_map": {"a": "../part.safetensors"}}"#, "beside their index"),
      (#"{"weight_map": {"a": "part.safetensors"}}"#, "part.safetensors"),
      (#"{"weight_map": {"a": "none.safetensors"}}"#, "none.safetensors"),
      (#"{"weight_map": {"#, "index.json"),
    ]
    for (text, part) in refusals {
      try folder.write("index.json", text)
      expect(folder, says: part)
    }
  }

  @Test func brokenValuesAreNamed() throws {
    var clip = ToyCheckpoint.clip()
    clip.tensors["visual.transformer.resblocks.0.mlp.c_proj.weight"]!.values[90 * 20 + 7] = .nan
    expect(try ToyFolder(clip: clip), says: "mlp.c_proj.weight", "element 1807")
    clip = .clip()
    clip.tensors["token_embedding.weight"]!.values[64 * 500 + 3] = .infinity
    expect(try ToyFolder(clip: clip), says: "token_embedding.weight", "element 32003")
    clip = .clip()
    clip.tensors["visual.ln_pre.bias"]!.values[5] = -.infinity
    expect(try ToyFolder(clip: clip), says: "visual.ln_pre.bias", "element 5")
    clip = .clip()
    clip.tensors["visual.positional_embedding"]!.values[72] = .infinity
    expect(try ToyFolder(clip: clip), says: "visual.positional_embedding", "element 72")
  }

  @Test func theActivationIsNeverGuessed() throws {
    let folder = try ToyFolder()
    folder.request.activation = nil
    expect(folder, says: "--activation quickgelu", "MetaCLIP", "LAION")
    // OpenAI's state dict saved plainly still has the sizes that only OpenAI's archives hold.
    var plain = ToyCheckpoint.clip()
    for size in ["input_resolution", "context_length", "vocab_size"] { plain.add(size) }
    let saved = try ToyFolder(clip: plain)
    saved.request.activation = nil
    #expect(failure(saved) == nil)
    #expect(try MappedModel(path: saved.request.output).string("trident.clip.activation") == "quickgelu")
    // open_clip's configuration beside the file settles it, and contradicting it is an error.
    let config =
      #"{"model_cfg": {"quick_gelu": true, "vision_cfg": {"width": 72, "layers": 2, "head_width": 24}}}"#
    try folder.write("open_clip_config.json", config)
    folder.request.clipHeadWidth = nil
    #expect(failure(folder) == nil)
    let model = try MappedModel(path: folder.request.output)
    #expect(try model.string("trident.clip.activation") == "quickgelu")
    #expect(try model.uint("trident.clip.head_width") == 24)
    let other = try ToyFolder()
    try other.write("open_clip_config.json", config)
    other.request.activation = .gelu
    expect(other, says: "contradicts", "quickgelu")
    // A configuration of another model says nothing about this one.
    try other.write("open_clip_config.json", config.replacingOccurrences(of: "72", with: "768"))
    #expect(failure(other) == nil)
    try other.write("open_clip_config.json", "{")
    other.request.overwrite = true
    #expect(throws: QuantizationFailure.self) { try other.quantize() }
  }

  @Test func huggingFaceConfigurationsAreRead() throws {
    func folder(_ act: String, heads: Int = 3) throws -> ToyFolder {
      let folder = try ToyFolder(clip: ToyCheckpoint.clip().huggingFace())
      folder.request.activation = nil
      folder.request.clipHeadWidth = nil
      let vision =
        #""vision_config": {"hidden_size": 72, "hidden_act": "\#(act)", "num_attention_heads": \#(heads)}"#
      let text = #""text_config": {"hidden_size": 64, "num_attention_heads": 2}"#
      try folder.write("config.json", "{\(vision), \(text)}")
      return folder
    }
    let plain = try folder("gelu")
    #expect(failure(plain) == nil)
    let model = try MappedModel(path: plain.request.output)
    #expect(try model.string("trident.clip.activation") == "gelu")
    #expect(try model.uint("trident.clip.heads") == 3)
    #expect(try model.uint("trident.text.heads") == 2)
    // Where a configuration says nothing, transformers' own default holds.
    let silent = try folder("gelu")
    let sections = #""vision_config": {"num_attention_heads": 3}, "text_config": {}"#
    try silent.write("config.json", #"{"model_type": "clip", \#(sections)}"#)
    #expect(failure(silent) == nil)
    #expect(try MappedModel(path: silent.request.output).string("trident.clip.activation") == "quickgelu")
    expect(try folder("gelu_new"), says: "gelu_new")
    expect(try folder("gelu", heads: 5), says: "5 heads")
    expect(try folder("gelu", heads: 0), says: "0 heads")
  }

  @Test func vocabularyAndOutput() throws {
    let folder = try ToyFolder()
    try FileManager.default.removeItem(atPath: folder.path + "/merges.txt")
    expect(folder, says: "no vocabulary", "bpe_simple_vocab_16e6.txt.gz")
    try folder.write("v.txt", "#version: 0.2\ni n\n")
    folder.request.vocabulary = folder.path + "/v.txt"
    expect(folder, says: "3 are needed")
    let taken = try ToyFolder()
    try taken.write("model.gguf", "mine")
    do throws(QuantizationFailure) {
      _ = try taken.quantize()
      Issue.record("an existing file was replaced")
    } catch {
      guard case .output(let output) = error else { throw error }
      #expect(output.reason == .alreadyExists)
    }
    #expect(try String(contentsOfFile: taken.request.output, encoding: .utf8) == "mine")
    #expect(CLIPNameMap.usualHeadWidth(patch: 14, width: 1280) == 80)
    #expect(CLIPNameMap.usualHeadWidth(patch: 14, width: 1024) == 64)
    #expect(CLIPNameMap.usualHeadWidth(patch: 16, width: 1280) == 64)
    #expect(CLIPNameMap.usualHeadWidth(patch: 14, width: 1664) == 104)
  }
}
