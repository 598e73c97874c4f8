// Files that are not what they were when they were saved, and numbers that stand for others.
import Container
import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct QuantizerDamageTests {
  private static let dino = TorchToy(states: [("", ToyCheckpoint.dino())], arguments: nil)

  /// What becomes of a toy trio whose DINO is `bytes`.
  private func outcome(dino bytes: [UInt8]) throws -> String {
    let folder = try ToyFolder()
    folder.request.dino = folder.path + "/dino.pth"
    folder.request.overwrite = true
    try Data(bytes).write(to: URL(fileURLWithPath: folder.path + "/dino.pth"))
    do {
      _ = try folder.quantize()
      return try MappedModel(path: folder.request.output).string("trident.model_id")
    } catch {
      #expect(!FileManager.default.fileExists(atPath: folder.request.output))
      return "\(error)"
    }
  }

  /// Archives say what their bytes come to; a bit that has fallen over is no reason to make a model.
  @Test func checksumsOfStoredEntries() throws {
    let count = ToyCheckpoint.dino().tensors.count
    let sound = try outcome(dino: Self.dino.zip())
    #expect(sound.count == 64 || !sound.contains(":"), "\(sound)")
    for index in [0, count / 2, count - 1] {
      let found = try outcome(dino: Self.dino.zip(damaged: index))
      #expect(found.contains("m/data/\(index)'") && found.contains("damaged, download it again"), "\(found)")
    }
    // PyTorch writes 0 where it was told to compute none.
    let none = try outcome(dino: Self.dino.zip(damaged: nil, checksum: 0))
    #expect(none == sound)
  }

  /// PyTorch may keep a tensor's sign apart from its numbers.
  @Test func negatedTensors() throws {
    let plain = try outcome(dino: Self.dino.zip())
    var toy = Self.dino
    toy.negated = ["blocks.0.attn.proj.weight", "blocks.0.norm1.bias", "pos_embed"]
    for bytes in [toy.zip(), toy.legacy()] {
      let found = try outcome(dino: bytes)
      #expect(found == plain)
    }
  }

  /// Of tensors laid under each other the one that holds the fault is named.
  @Test func theTensorWithTheFaultIsNamed() throws {
    for (part, element) in [("query", 65), ("key", 64 * 64 - 1), ("value", 7)] {
      let name = "encoder.layer.0.attention.attention.\(part).weight"
      var toy = ToyCheckpoint.dino().huggingFaceDINO()
      toy.tensors[name]?.values[element] = .nan
      let found = thrown { try ToyFolder(dino: toy).quantize() }
      #expect(found.contains(name + "'") && found.contains("element \(element) is nan"), "\(found)")
    }
    var transposed = ToyCheckpoint.clip()
    transposed.tensors["visual.proj"]?.values[5 * 20 + 3] = .infinity
    let found = thrown { try ToyFolder(clip: transposed).quantize() }
    #expect(found.contains("visual.proj'") && found.contains("element 103 is"), "\(found)")
  }

  private func thrown(_ body: () throws -> QuantizationReport) -> String {
    do {
      _ = try body()
      return "accepted"
    } catch { return "\(error)" }
  }

  /// What is missing is named as the file's own layout would.
  @Test func missingTensorsInOtherLayouts() throws {
    var dino = ToyCheckpoint.dino().huggingFaceDINO()
    let (norm, layer) = ("encoder.layer.0.layernorm_before.bias", "encoder.layer.0.intermediate.dense.weight")
    dino.tensors[norm] = nil
    let first = thrown { try ToyFolder(dino: dino).quantize() }
    #expect(first.contains("'\(norm)': no tensor of this name"), "\(first)")
    dino = ToyCheckpoint.dino().huggingFaceDINO()
    dino.tensors[layer] = nil
    let second = thrown { try ToyFolder(dino: dino).quantize() }
    #expect(second.contains("'\(layer)': no tensor of this name"), "\(second)")
    var sam = ToyCheckpoint.sam().huggingFaceSAM()
    let name = "vision_encoder.layers.0.layer_norm1.bias"
    #expect(sam.tensors.removeValue(forKey: name) != nil)
    let third = thrown { try ToyFolder(sam: sam).quantize() }
    #expect(third.contains("'\(name)': no tensor of this name"), "\(third)")
  }

  @Test func partsThatAreNotThere() throws {
    let folder = try ToyFolder()
    let index = folder.path + "/model.safetensors.index.json"
    try folder.write(
      "model.safetensors.index.json", #"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#)
    func refusal() -> String {
      do {
        _ = try TensorDirectory.open(path: index)
        return "accepted"
      } catch { return "\(error)" }
    }
    #expect(refusal().contains("model.safetensors.index.json asks for it"), "\(refusal())")
    #expect(refusal().contains("model-00001-of-00001.safetensors: no such file"))
    let contents = [
      "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "<!DOCTYPE html><html></html>",
    ]
    for (text, part) in zip(contents, ["Git LFS pointer", "web page"]) {
      try folder.write("model-00001-of-00001.safetensors", text)
      #expect(refusal().contains(part) && refusal().contains("model-00001"), "\(refusal())")
    }
  }
}
