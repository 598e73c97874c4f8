// What tensors do not tell: files beside a checkpoint, flags, and which of several copies is taken.
import Container
import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct QuantizerSidecarTests {
  private struct Result {
    let model: MappedModel
    let notes: [String]

    func numbers(_ key: String) throws -> [Float] {
      guard case .array(of: .float32, let values) = try model.value(key) else { return [] }
      return values.map { if case .float32(let value) = $0 { value } else { .nan } }
    }
  }

  private func quantize(_ folder: ToyFolder) throws -> Result {
    folder.request.overwrite = true
    let quantizer = try ModelQuantizer(folder.request) { _ in }
    _ = try quantizer.run()
    return Result(model: try MappedModel(path: folder.request.output), notes: quantizer.notes)
  }

  private let half: [Float] = [0.5, 0.5, 0.5]
  private let openAI: [Float] = [0.48145466, 0.4578275, 0.40821073]

  @Test func statisticsOfPixels() throws {
    let folder = try ToyFolder()
    let bare = try quantize(folder)
    #expect(try bare.numbers("trident.clip.mean") == openAI)
    #expect(bare.notes.contains { $0.contains("mean and deviation") && $0.contains("--clip-mean") })
    #expect(try bare.numbers("trident.dino.mean") == [0.485, 0.456, 0.406])
    let vision = #""vision_cfg": {"width": 72, "layers": 2}"#
    func config(_ cuts: String, _ vision: String) -> String {
      #"{"model_cfg": {"quick_gelu": true, \#(vision)}, "preprocess_cfg": \#(cuts)}"#
    }
    let cuts = #"{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.25], "interpolation": "bicubic"}"#
    try folder.write("open_clip_config.json", config(cuts, vision))
    let told = try quantize(folder)
    #expect(try told.numbers("trident.clip.mean") == half)
    #expect(try told.numbers("trident.clip.std") == [0.5, 0.5, 0.25] && told.notes.isEmpty)
    // Of another model.
    try folder.write("open_clip_config.json", config(cuts, #""vision_cfg": {"width": 768, "layers": 12}"#))
    #expect(try quantize(folder).numbers("trident.clip.mean") == openAI)
    for bad in [
      #"{"mean": [0.5], "std": [0.5, 0.5, 0.5]}"#, #"{"mean": [127, 127, 127], "std": [0.5, 0.5, 0.5]}"#,
      #"{"mean": [0, 0, 0], "std": [0, 0.5, 0.5]}"#, #"{"mean": "x", "std": [1, 1, 1]}"#,
    ] {
      try folder.write("open_clip_config.json", config(bad, vision))
      #expect(throws: QuantizationFailure.self) { try quantize(folder) }
    }
    // A flag is above what lies beside.
    try folder.write("open_clip_config.json", config(cuts, vision))
    folder.request.clipMean = SIMD3(0.1, 0.2, 0.3)
    folder.request.clipDeviation = SIMD3(repeating: 1)
    #expect(try quantize(folder).numbers("trident.clip.mean") == [0.1, 0.2, 0.3])
  }

  @Test func towersOfOtherKindsAreRefused() throws {
    for part in [
      #""vision_cfg": {"width": 72, "layers": 2, "no_ln_pre": true}"#,
      #""vision_cfg": {"width": 72, "layers": 2, "pool_type": "avg"}"#,
      #""vision_cfg": {"width": 72, "layers": 2}, "text_cfg": {"hf_tokenizer_name": "bert-base-uncased"}"#,
      #""vision_cfg": {"width": 72, "layers": 2}, "text_cfg": {"no_causal_mask": true}"#,
    ] {
      let folder = try ToyFolder()
      try folder.write("open_clip_config.json", "{\"model_cfg\": {\"quick_gelu\": true, \(part)}}")
      #expect(throws: QuantizationFailure.self, "\(part)") { try quantize(folder) }
    }
  }

  @Test func huggingFaceFolders() throws {
    let folder = try ToyFolder(clip: ToyCheckpoint.clip().huggingFace())
    let mean = #"{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#
    try folder.write("preprocessor_config.json", mean)
    #expect(try quantize(folder).numbers("trident.clip.mean") == half)
    let vision = #""vision_config": {"hidden_size": 72, "num_hidden_layers": 2}"#
    try folder.write("config.json", "{\(vision)}")
    #expect(try quantize(folder).numbers("trident.clip.mean") == half)
    try folder.write("config.json", #"{"vision_config": {"hidden_size": 768}}"#)
    #expect(try quantize(folder).numbers("trident.clip.mean") == openAI)
    try folder.write("config.json", "{\(vision)}")
    try folder.write("preprocessor_config.json", #"{"do_normalize": false}"#)
    #expect(try quantize(folder).numbers("trident.clip.std") == [1, 1, 1])
  }

  /// 64 channels in four heads, where nothing but the configuration tells.
  @Test func headsOfDINO() throws {
    let folder = try ToyFolder(dino: ToyCheckpoint.dino().huggingFaceDINO())
    #expect(try quantize(folder).model.uint("trident.dino.heads") == 1)
    try folder.write(
      "config.json", #"{"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}"#)
    try folder.write("preprocessor_config.json", #"{"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1]}"#)
    let four = try quantize(folder)
    #expect(
      try four.model.uint("trident.dino.heads") == 4 && four.model.uint("trident.dino.head_width") == 16)
    #expect(try four.numbers("trident.dino.mean") == half)
    // Of another network: nothing is said.
    try folder.write(
      "config.json", #"{"hidden_size": 64, "num_hidden_layers": 12, "num_attention_heads": 4}"#)
    #expect(try quantize(folder).model.uint("trident.dino.heads") == 1)
    folder.request.dinoHeadWidth = 32
    #expect(try quantize(folder).model.uint("trident.dino.heads") == 2)
    try folder.write(
      "config.json", #"{"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 5}"#)
    #expect(throws: QuantizationFailure.self) { try quantize(folder) }
  }

  private func both(_ first: String, _ second: String) -> (toy: ToyCheckpoint, second: ToyCheckpoint) {
    var other = ToyCheckpoint.dino()
    for name in other.tensors.keys {
      other.tensors[name]!.values = other.tensors[name]!.values.map { $0 / 2 }
    }
    var toy = ToyCheckpoint.dino().renamed { first + $0 }
    for (name, tensor) in other.tensors { toy.tensors[second + name] = tensor }
    return (toy, other)
  }

  /// The slow copy, whatever it is called and however deep it lies.
  @Test(
    arguments: [
      ("student.backbone.", "teacher.backbone."), ("module.student.", "module.teacher."),
      ("model.", "model_ema."), ("state_dict.", "state_dict_ema."), ("", "ema."),
      ("encoder_q.", "encoder_k."), ("module.base_encoder.", "module.momentum_encoder."),
      ("online_encoder.net.", "target_encoder.net."), ("model.student.a.", "model.b."), ("a.b.c.", "z."),
    ])
  func copiesByRule(_ first: String, _ second: String) throws {
    let (toy, wanted) = both(first, second)
    let folder = try ToyFolder(dino: toy)
    let found = try quantize(folder)
    let alone = try quantize(try ToyFolder(dino: wanted))
    func norm(_ model: MappedModel) throws -> [Float] { try values(model, "dino.blocks.0.norm1.weight") }
    #expect(try norm(found.model) == norm(alone.model))
    #expect(try found.model.string("trident.source.dino.prefix") == second)
    #expect(found.notes.contains { $0.contains("'\(second)' is taken") && $0.contains("--dino-prefix") })
    folder.request.dinoPrefix = String(first.dropLast())
    let other = try quantize(folder)
    #expect(try norm(other.model) != norm(alone.model) && !other.notes.contains { $0.contains("is taken") })
    folder.request.dinoPrefix = "nothing"
    #expect(throws: QuantizationFailure.self) { try quantize(folder) }
  }

  @Test func copiesOfCLIPAndSAM() throws {
    var clip = ToyCheckpoint.clip().renamed { "student." + $0 }
    for (name, tensor) in ToyCheckpoint.clip().tensors { clip.tensors["ema." + name] = tensor }
    var sam = ToyCheckpoint.sam()
    for (name, tensor) in ToyCheckpoint.sam().tensors { sam.tensors["sam_ema." + name] = tensor }
    let found = try quantize(try ToyFolder(clip: clip, sam: sam))
    #expect(try found.model.string("trident.source.clip.prefix") == "ema.")
    #expect(try found.model.string("trident.source.sam.prefix") == "sam_ema.")
    #expect(found.notes.count { $0.contains("is taken") } == 2)
  }
}
