// DINOv2 as the proxy network: every spelling of its names, layer scale, registers, the gated MLP, and the
// rule of its position table.
import Container
import Foundation
import Quantization
import Segmentation
import TestSupport
import Testing

@Suite struct QuantizerDINOv2Tests {
  private func model(_ dino: ToyCheckpoint, positions: PositionRule? = nil) throws -> MappedModel {
    let folder = try ToyFolder(dino: dino)
    folder.request.dinoPositions = positions
    _ = try folder.quantize()
    return try MappedModel(path: folder.request.output)
  }

  private func identity(_ dino: ToyCheckpoint, positions: PositionRule? = nil) throws -> String {
    try model(dino, positions: positions).string("trident.model_id")
  }

  private func refusal(_ dino: ToyCheckpoint, positions: PositionRule? = nil) throws -> String {
    let folder = try ToyFolder(dino: dino)
    folder.request.dinoPositions = positions
    do throws(QuantizationFailure) {
      _ = try folder.quantize()
      return "nothing was refused"
    } catch { return "\(error)" }
  }

  private func text(_ model: MappedModel, _ key: String) throws -> String? {
    model.hasKey(key) ? try model.string(key) : nil
  }

  /// Every spelling of the same weights makes the same file, but for the rule of positions that goes with it.
  @Test(arguments: [(0, false), (4, false), (0, true), (4, true)])
  func spellingsAgree(_ registers: Int, _ gated: Bool) throws {
    let toy = ToyCheckpoint.dinov2(registers: registers, gated: gated)
    let rule: PositionRule = registers > 0 ? .bicubicAntialias : .bicubicWithFactor
    let expected = try identity(toy)
    #expect(try identity(toy.renamed { "teacher.backbone." + $0 }) == expected)
    #expect(try identity(toy.renamed { "teacher.module.backbone." + $0 }) == expected)
    let chunks = toy.renamed { $0.replacingOccurrences(of: "blocks.", with: "blocks.3.") }
    #expect(chunks.tensors.keys.contains("blocks.3.1.ls1.gamma"))
    #expect(try identity(chunks) == expected)
    let wrapped = toy.renamed {
      "teacher.backbone._fsdp_wrapped_module."
        + $0.replacingOccurrences(of: "blocks.1.", with: "blocks.0.1._fsdp_wrapped_module.")
    }
    #expect(try identity(wrapped) == expected)
    let hugging = toy.huggingFaceDINOv2()
    #expect(hugging.tensors.keys.contains("encoder.layer.1.layer_scale2.lambda1"))
    #expect(try identity(hugging, positions: rule) == expected)
    #expect((try identity(hugging) == expected) == (registers > 0))
    let headed = hugging.renamed { (registers > 0 ? "dinov2_with_registers." : "dinov2.") + $0 }
    #expect(try identity(headed, positions: rule) == expected)
  }

  @Test func fileSaysWhatSetsItApart() throws {
    let plain = try model(.dinov2())
    for part in ["registers", "position_rule", "mlp"] { #expect(!plain.hasKey("trident.dino." + part)) }
    // Readers of version 2 run it as it is.
    #expect(try plain.uint("trident.format_version") == 2)
    #expect(!plain.tensors.contains { $0.name == "dino.registers" })
    let hugging = try model(ToyCheckpoint.dinov2().huggingFaceDINOv2())
    #expect(try text(hugging, "trident.dino.position_rule") == "size")
    #expect(try hugging.uint("trident.format_version") == 4)
    let giant = try model(.dinov2(registers: 3, gated: true))
    #expect(try text(giant, "trident.dino.position_rule") == "antialias")
    #expect(try text(giant, "trident.dino.mlp") == "swiglu")
    #expect(try giant.uint("trident.dino.registers") == 3)
    #expect(try giant.uint("trident.dino.mlp_width") == 72)
    #expect(try giant.tensor("dino.registers").dimensions == [64, 3])
    #expect(try giant.tensor("dino.position").dimensions == [64, 10])
    #expect(try giant.tensor("dino.blocks.0.mlp_in.scale").dimensions == [144])
    let config = try ModelConfig(giant)
    #expect(config.dino?.registers == 3 && config.dino?.blocks.isGated == true)
    #expect(config.dino?.positions == .bicubicAntialias)
    let values: [Float] = try values(giant, "dino.registers")
    #expect(values == ToyCheckpoint.dinov2(registers: 3, gated: true).tensors["register_tokens"]!.values)
  }

  /// Rows and bias of the layer in front are multiplied; padding is not.
  @Test func layerScaleIsFolded() throws {
    let toy = ToyCheckpoint.dinov2()
    let file = try model(toy)
    for (layer, source, scale) in [("out", "attn.proj", "ls1"), ("mlp_out", "mlp.fc2", "ls2")] {
      let gamma = toy.tensors["blocks.1.\(scale).gamma"]!.values
      let bias = toy.tensors["blocks.1.\(source).bias"]!.values
      let weight = toy.tensors["blocks.1.\(source).weight"]!.values
      let columns = weight.count / 64
      let (biases, scales): ([Float], [Float]) = (
        try values(file, "dino.blocks.1.\(layer).bias"), try values(file, "dino.blocks.1.\(layer).scale")
      )
      for row in 0..<64 {
        #expect(biases[row] == bias[row] * gamma[row])
        let largest = (0..<columns).map { abs(weight[row * columns + $0] * gamma[row]) }.max()!
        #expect(scales[row] == largest / 127)
      }
    }
  }

  @Test func whatCannotBeKnownIsAskedFor() throws {
    var toy = ToyCheckpoint.dinov2()
    toy.tensors["mask_token"] = nil
    let refused = try refusal(toy)
    for part in ["pos_embed", "mask_token", "--dino-positions", "step", "antialias", "size"] {
      #expect(refused.contains(part), "\(refused)")
    }
    for (rule, name) in [(PositionRule.bicubic, "size"), (.bicubicAntialias, "antialias")] {
      #expect(try text(model(toy, positions: rule), "trident.dino.position_rule") == name)
    }
    #expect(try !model(toy, positions: .bicubicWithFactor).hasKey("trident.dino.position_rule"))
    // DINO has one rule.
    #expect(try refusal(.dino(), positions: .bicubic).contains("--dino-positions is for DINOv2"))
  }

  @Test func whatDoesNotFitIsRefused() throws {
    var toy = ToyCheckpoint.dinov2()
    toy.tensors["blocks.1.ls2.gamma"] = nil
    #expect(try refusal(toy).contains("blocks.1.ls2.gamma"))
    toy = .dinov2()
    toy.tensors["blocks.1.ls1.gamma"]!.values[5] = .nan
    #expect(try refusal(toy).contains("blocks.1.ls1.gamma"))
    toy = .dinov2()
    toy.add("blocks.0.ls1.gamma", 63)
    #expect(try refusal(toy).contains("blocks.0.ls1.gamma"))
    toy = .dinov2(gated: true)
    toy.linear("blocks.0.mlp.w12", 143, 64)
    #expect(try refusal(toy).contains("two halves"))
    toy = .dinov2(gated: true)
    toy.linear("blocks.1.mlp.w3", 64, 70)
    #expect(try refusal(toy).contains("blocks.1.mlp.w3.weight"))
    toy = ToyCheckpoint.dinov2(registers: 4).renamed { $0 == "register_tokens" ? "reg_token" : $0 }
    toy.add("pos_embed", 1, 9, 64)
    #expect(try refusal(toy).contains("as timm does"))
    toy = ToyCheckpoint.dinov2().renamed { $0.replacingOccurrences(of: "blocks.1.", with: "blocks.0.0.") }
    #expect(try refusal(toy).contains("occurs twice"))
  }
}
