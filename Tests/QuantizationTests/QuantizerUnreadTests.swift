// Tensors of types that nothing here reads, in PyTorch's files: named by their type where they are asked for,
// and left alone elsewhere. A folder in a checkpoint's place.
import Container
import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct QuantizerUnreadTests {
  /// CLIP as a plain state dict in PyTorch's formats.
  private func file(_ unread: [String: String], _ toy: ToyCheckpoint = .clip()) -> TorchToy {
    var file = TorchToy(states: [("", toy)])
    file.unread = unread
    return file
  }

  /// What is said of a CLIP file; nil: nothing.
  private func refusal(_ bytes: [UInt8]) throws -> String? {
    let folder = try ToyFolder()
    (folder.request.dino, folder.request.sam) = (nil, nil)
    folder.request.clip = folder.path + "/clip.pt"
    try Data(bytes).write(to: URL(fileURLWithPath: folder.request.clip))
    do throws(QuantizationFailure) {
      _ = try folder.quantize()
      return nil
    } catch {
      guard case .source(let source) = error else { return "output: \(error)" }
      return source.description
    }
  }

  /// In archives by storage or by element type; in older files, whose storages have classes.
  @Test func aTypeIsNamed() throws {
    let name = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    let types = [
      ("float8_e4m3fn", "float8_e4m3fn"), ("float8_e5m2", "float8_e5m2"), ("uint16", "uint16"),
      ("complex64", "complex64"), ("ComplexFloatStorage", "complex64"), ("QInt8Storage", "qint8"),
    ]
    for (stored, type) in types {
      let wanted = "'\(name)': element type \(type) is not supported; save it as float16 or float32"
      let archive = try #require(try refusal(file([name: stored]).zip()))
      #expect(archive.contains(wanted), "\(archive)")
    }
    let old = try #require(try refusal(file([name: "ComplexFloatStorage"]).legacy()))
    #expect(old.contains("'\(name)': element type complex64 is not supported"), "\(old)")
  }

  /// A tensor that a network is told by; all tensors; one that nobody needs.
  @Test func whereverItStands() throws {
    let anchor = try #require(try refusal(file(["visual.conv1.weight": "float8_e4m3fn"]).zip()))
    #expect(anchor.contains("no CLIP image tower found"), "\(anchor)")
    #expect(
      anchor.contains("'visual.conv1.weight' of element type float8_e4m3fn cannot be read"), "\(anchor)")
    let toy = ToyCheckpoint.clip()
    let all = Dictionary(uniqueKeysWithValues: toy.tensors.keys.map { ($0, "float8_e5m2") })
    let whole = try #require(try refusal(file(all).zip()))
    #expect(whole.contains("'ln_final.bias': element type float8_e5m2 is not supported"), "\(whole)")
    #expect(try refusal(file(["logit_scale": "float8_e5m2"]).zip()) == nil)
  }

  /// Of separate q, k and v the one that cannot be read is named, not the fused tensor that is not there.
  @Test func partsAreNamedAsTheFileHasThem() throws {
    let name = "vision_model.encoder.layers.0.self_attn.q_proj.weight"
    let bytes = file([name: "float8_e4m3fn"], ToyCheckpoint.clip().huggingFace()).zip()
    let found = try #require(try refusal(bytes))
    #expect(found.contains("'\(name)': element type float8_e4m3fn is not supported"), "\(found)")
  }

  /// Hugging Face's folder, by any of its files' names; the vocabulary in it.
  @Test func aFolderIsACheckpoint() throws {
    let toy = ToyCheckpoint.clip().huggingFace().safetensors()
    let plain = try ToyFolder(clip: .clip().huggingFace())
    (plain.request.dino, plain.request.sam) = (nil, nil)
    _ = try plain.quantize()
    let expected = try MappedModel(path: plain.request.output).string("trident.model_id")
    for name in ["model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors"] {
      let folder = try ToyFolder()
      (folder.request.dino, folder.request.sam) = (nil, nil)
      folder.request.clip = folder.path + "/clip-vit-toy"
      try FileManager.default.createDirectory(atPath: folder.request.clip, withIntermediateDirectories: true)
      let missing = thrownError(QuantizationFailure.self) { try folder.quantize() }
      #expect(missing?.description.contains("no model.safetensors and no pytorch_model.bin in this") == true)
      try toy.write(to: URL(fileURLWithPath: folder.request.clip + "/" + name))
      try FileManager.default.moveItem(
        atPath: folder.path + "/merges.txt", toPath: folder.request.clip + "/merges.txt")
      let report = try folder.quantize()
      #expect(report.modelName == "clip-vit-toy")
      let model = try MappedModel(path: folder.request.output)
      #expect(try model.string("trident.model_id") == expected)
      #expect(try model.string("trident.source.clip.file") == name)
    }
  }
}
