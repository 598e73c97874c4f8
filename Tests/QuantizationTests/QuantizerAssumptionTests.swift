// What nobody tells: asked for where published checkpoints differ, else said, and recorded in the model file.
import Container
import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct QuantizerAssumptionTests {
  private func quantize(_ folder: ToyFolder) throws -> (model: MappedModel, notes: [String]) {
    folder.request.overwrite = true
    let quantizer = try ModelQuantizer(folder.request) { _ in }
    _ = try quantizer.run()
    return (try MappedModel(path: folder.request.output), quantizer.notes)
  }

  private func refusal(_ folder: ToyFolder) -> String {
    do {
      _ = try ModelQuantizer(folder.request) { _ in }
      return "nothing was refused"
    } catch { return "\(error)" }
  }

  private func mean(_ model: MappedModel) throws -> Float {
    guard case .array(_, let values) = try model.value("trident.clip.mean"),
      case .float32(let first) = values[0]
    else { return .nan }
    return first
  }

  /// LAION-2B's ViT-L/14 has mean and deviation 0.5; the other published ones with exact GELU have OpenAI's.
  @Test func wherePublishedOnesDifferTheFlagIsAskedFor() throws {
    let folder = try ToyFolder(clip: .clip(width: 1024, patch: 14))
    folder.request.clipHeadWidth = nil
    folder.request.activation = .gelu
    let half = "--clip-mean 0.5,0.5,0.5 --clip-std 0.5,0.5,0.5"
    let usual = "--clip-mean 0.48145466,0.4578275,0.40821073 --clip-std 0.26862954,0.26130258,0.27577711"
    for part in [half, usual, "LAION-2B"] { #expect(refusal(folder).contains(part), "\(refusal(folder))") }
    // Both flags are named at once: the advice on the one does not lead into the other's error.
    folder.request.activation = nil
    for part in [half, usual, "--activation gelu"] { #expect(refusal(folder).contains(part)) }
    folder.request.activation = .gelu
    (folder.request.clipMean, folder.request.clipDeviation) = (SIMD3(repeating: 0.5), SIMD3(repeating: 0.5))
    let asked = try quantize(folder)
    let askedMean = try mean(asked.model)
    #expect(askedMean == 0.5)
    #expect(!asked.notes.contains { $0.contains("pixels") })
    // What lies beside is as good as the flags.
    (folder.request.clipMean, folder.request.clipDeviation) = (nil, nil)
    try folder.write(
      "open_clip_config.json",
      #"{"model_cfg": {"vision_cfg": {"width": 1024, "layers": 2}}, "#
        + #""preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}"#)
    let beside = try quantize(folder)
    let besideMean = try mean(beside.model)
    #expect(besideMean == 0.5)
  }

  /// OpenAI's own archives say what they are, whatever their size; so does QuickGELU at this size.
  @Test func openAIsOwnNeedNoFlags() throws {
    var plain = ToyCheckpoint.clip(width: 1024, patch: 14)
    for size in ["input_resolution", "context_length", "vocab_size"] { plain.add(size) }
    let folder = try ToyFolder(clip: plain)
    (folder.request.clipHeadWidth, folder.request.activation) = (nil, nil)
    let archive = try quantize(folder)
    let archiveMean = try mean(archive.model)
    #expect(archiveMean == 0.48145466)
    #expect(
      !archive.model.hasKey("trident.source.clip.assumed") && !archive.notes.contains { $0.contains("clip.") }
    )
    let again = try ToyFolder(clip: .clip(width: 1024, patch: 14))
    again.request.clipHeadWidth = nil
    let saved = try quantize(again)
    let text = try saved.model.string("trident.source.clip.assumed")
    #expect(text.hasPrefix("mean and deviation of pixels are"))
  }

  @Test func whatIsTakenForGrantedIsSaidAndRecorded() throws {
    let folder = try ToyFolder()
    let found = try quantize(folder)
    let text = try found.model.string("trident.source.clip.assumed")
    #expect(text == "mean and deviation of pixels are OpenAI's")
    #expect(found.notes.contains { $0.contains(text) && $0.contains("--clip-mean") }, "\(found.notes)")
    // Nothing is taken for granted where everything is told, and nothing is recorded.
    (folder.request.clipMean, folder.request.clipDeviation) = (SIMD3(repeating: 0.5), SIMD3(repeating: 1))
    let told = try quantize(folder)
    #expect(!told.model.hasKey("trident.source.clip.assumed"))
    #expect(!told.notes.contains { $0.contains("clip.safetensors") })
  }

  @Test func headsOfUnpublishedWidths() throws {
    let folder = try ToyFolder(clip: .clip(width: 128))
    folder.request.clipHeadWidth = nil
    let found = try quantize(folder)
    let text = try found.model.string("trident.source.clip.assumed")
    #expect(text.contains("image heads of 64 channels"))
    #expect(found.notes.contains { $0.contains("image heads") && $0.contains("--clip-head-width") })
  }

  /// Transformers' processors may give their numbers for bytes, or for pixels from -1 to 1.
  @Test func unitsOfProcessors() throws {
    let folder = try ToyFolder(clip: ToyCheckpoint.clip().huggingFace())
    for (text, wanted) in [
      (#""image_mean": [0.25, 0.5, 0.5], "image_std": [1, 1, 1]"#, Float(0.25)),
      (#""do_rescale": false, "image_mean": [63.75, 0, 0], "image_std": [255, 255, 255]"#, 0.25),
      (#""rescale_factor": 0.00784313725, "image_mean": [0.5, 0, 0], "image_std": [1, 1, 1]"#, 0.25),
      (#""rescale_factor": 0.003922, "image_mean": [0.25, 0, 0], "image_std": [1, 1, 1]"#, 0.25),
    ] {
      try folder.write("preprocessor_config.json", "{\(text)}")
      let found = try mean(try quantize(folder).model)
      #expect(abs(found - wanted) < 1e-5, "\(text): \(found)")
    }
    for text in [
      #""do_flip_channel_order": true"#, #""offset": true"#, #""rescale_factor": 0"#,
      #""rescale_factor": "x""#,
      #""image_mean": [63.75, 0, 0], "image_std": [255, 255, 255]"#,
    ] {
      let numbers = text.contains("image_mean") ? "" : #", "image_mean": [0, 0, 0], "image_std": [1, 1, 1]"#
      try folder.write("preprocessor_config.json", "{\(text)\(numbers)}")
      #expect(refusal(folder).contains("preprocessor_config.json"), "\(text): \(refusal(folder))")
    }
    // SAM's processor beside CLIP says nothing of CLIP.
    try folder.write(
      "preprocessor_config.json",
      #"{"image_processor_type": "SamImageProcessor", "image_mean": [0.485, 0.456, 0.406], "#
        + #""image_std": [0.229, 0.224, 0.225]}"#)
    let beside = try mean(try quantize(folder).model)
    #expect(beside == 0.48145466)
  }

  /// The run time has SAM's constants alone.
  @Test func whatLiesBesideSAM() throws {
    let folder = try ToyFolder(sam: ToyCheckpoint.sam().huggingFaceSAM())
    func processor(_ mean: String, _ more: String = "") throws {
      try folder.write(
        "preprocessor_config.json",
        #"{"image_processor_type": "SamImageProcessor", "image_mean": [\#(mean)], "#
          + #""image_std": [0.229, 0.224, 0.225]\#(more)}"#)
    }
    try processor("0.485, 0.456, 0.406", #", "rescale_factor": 0.00392156862745098, "do_normalize": true"#)
    _ = try quantize(folder)
    try processor("0.5, 0.5, 0.5")
    #expect(refusal(folder).contains("every SAM is run with 0.485"))
    try processor("0.485, 0.456, 0.406", #", "do_normalize": false"#)
    #expect(refusal(folder).contains("every SAM is run with 0.485"))
    try processor("0.485, 0.456, 0.406", #", "do_rescale": false"#)
    #expect(refusal(folder).contains("preprocessor_config.json"))
    // A processor of another kind says nothing of SAM.
    try folder.write(
      "preprocessor_config.json",
      #"{"image_processor_type": "CLIPProcessor", "image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1]}"#
    )
    _ = try quantize(folder)
    // One that does not tell whose it is counts where config.json beside it is this SAM's.
    try folder.write("preprocessor_config.json", #"{"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1]}"#)
    _ = try quantize(folder)
    let own = #"{"vision_config": {"hidden_size": 40}, "mask_decoder_config": {}}"#
    try folder.write("config.json", own)
    #expect(refusal(folder).contains("every SAM is run with 0.485"))
    let decoder = #""mask_decoder_config": {"num_attention_heads": "#
    for (text, part) in [
      (#"{"vision_config": {"hidden_size": 40, "hidden_act": "relu"}, "mask_decoder_config": {}}"#, "relu"),
      (#"{"vision_config": {"hidden_size": 40, "hidden_act": "gelu"}, \#(decoder)4}}"#, "4 heads"),
    ] {
      try folder.write("config.json", text)
      #expect(refusal(folder).contains(part), "\(refusal(folder))")
    }
    // Of another SAM, and of another network.
    for text in [
      #"{"vision_config": {"hidden_size": 768, "hidden_act": "relu"}, \#(decoder)4}}"#,
      #"{"hidden_size": 64}"#,
    ] {
      try folder.write("config.json", text)
      _ = try quantize(folder)
    }
  }

  @Test func wordsThatTrainingSaw() throws {
    let folder = try ToyFolder()
    let plain = try quantize(folder)
    #expect(!plain.model.hasKey("trident.source.words"))
    let identity = try plain.model.string("trident.model_id")
    try folder.write("words.txt", "cat; cats\nsoccer ball\n\n")
    folder.request.words = folder.path + "/words.txt"
    let found = try quantize(folder)
    let words = try found.model.value("trident.source.words")
    #expect(words == .strings(["cat; cats", "soccer ball"]))
    // They change no result: caches, vocabularies and stored results go on.
    let same = try found.model.string("trident.model_id")
    #expect(same == identity)
    folder.request.words = folder.path + "/nowhere"
    #expect(throws: QuantizationFailure.self) { try quantize(folder) }
  }
}
