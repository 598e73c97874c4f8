// C-RADIO's checkpoints: what stands beside the tensors, tensors that are missing, spectral norms.
import Container
import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct QuantizerRADIOTests {
  private typealias Result = (model: MappedModel, notes: [String])

  private func quantize(_ bytes: [UInt8]) throws -> Result {
    let file = try ScratchFile(bytes, suffix: ".pth.tar")
    let output = try ScratchFile(suffix: ".gguf")
    var request = QuantizationRequest(radio: file.path, output: output.path)
    (request.name, request.overwrite) = ("toy", true)
    let quantizer = try ModelQuantizer(request) { _ in }
    _ = try quantizer.run()
    return (try MappedModel(path: output.path), quantizer.notes)
  }

  private func identity(_ bytes: [UInt8]) throws -> String {
    try quantize(bytes).model.string("trident.model_id")
  }

  private func refusal(_ bytes: [UInt8]) throws -> String {
    let file = try ScratchFile(bytes, suffix: ".pth.tar")
    do {
      _ = try ModelQuantizer(QuantizationRequest(radio: file.path, output: "/nowhere/m.gguf")) { _ in }
      return "accepted"
    } catch { return "\(error)" }
  }

  private func refusal(_ toy: ToyCheckpoint) throws -> String { try refusal(RADIOToy.file(toy).zip()) }

  private func refusal(setting name: String, _ value: ToyValue?) throws -> String {
    try refusal(RADIOToy.file(RADIOToy.state(), RADIOToy.arguments.with(name, value)).zip())
  }

  private func without(_ names: String...) -> ToyCheckpoint {
    var toy = RADIOToy.state()
    for name in names { toy.tensors[name] = nil }
    return toy
  }

  // MARK: Arguments

  @Test func bothFormatsTellTheSame() throws {
    let toy = RADIOToy.file()
    let zip = try quantize(toy.zip())
    let legacy = try quantize(toy.legacy())
    let (wanted, found) = try (
      zip.model.string("trident.model_id"), legacy.model.string("trident.model_id")
    )
    #expect(wanted == found)
    for result in [zip, legacy] {
      let (heads, name) = try (
        result.model.uint("trident.radio.heads"), result.model.string("trident.radio.text_model")
      )
      #expect(heads == 4 && name == "siglip2-so400m")
      #expect(!result.model.hasKey("trident.source.radio.assumed"))
      #expect(result.notes.isEmpty, "\(result.notes)")
    }
    var normed = RADIOToy.state()
    normed.norm("base_model.norm", 64)
    let arguments = RADIOToy.arguments.with("model_norm", .bool(true))
    let file = TorchToy(states: [("state_dict", normed)], arguments: .namespace(arguments))
    let (plain, old) = try (identity(file.zip()), identity(file.legacy()))
    #expect(plain == old && plain != wanted)
  }

  /// One setting that no program could use says nothing against the others.
  @Test func whatCannotBeReadIsLeftOutAlone() throws {
    let plain = try identity(RADIOToy.file().zip())
    let odd: [ToyValue] = [
      .zeros(30_000), .nested(40), .cycle, .object("training.setup", "Box"), .object("torch", "device"),
    ]
    for value in odd {
      for key in ["a", "z"] {
        var arguments = RADIOToy.arguments
        arguments.insert((key, value), at: key == "a" ? 0 : arguments.count)
        let found = try quantize(RADIOToy.file(RADIOToy.state(), arguments).zip())
        let identity = try found.model.string("trident.model_id")
        #expect(identity == plain, "\(value)")
        #expect(found.notes.isEmpty)
      }
    }
    // A plain dictionary is as good; so are numbers that happen to be whole.
    var whole = RADIOToy.arguments
    whole = whole.with("model_kwargs", .table([("num_heads", .float(4)), ("depth", .integer(2))]))
    whole = whole.with("model_norm", .integer(0)).with("nothing", ToyValue.none)
    let file = TorchToy(states: [("state_dict", RADIOToy.state())], arguments: .table(whole))
    let found = try identity(file.zip())
    #expect(found == plain)
  }

  @Test func settingsThatAreNeededAndCannotBeRead() throws {
    let scalar = ToyValue.object("numpy", "int64")
    for value in [scalar, .float(4.5), .text("4"), .zeros(5000)] {
      let found = try refusal(setting: "model_kwargs", .table([("num_heads", value)]))
      #expect(found.contains("args.model_kwargs.num_heads"), "\(found)")
    }
    for name in ["model_norm", "teachers", "model_kwargs"] {
      let found = try refusal(setting: name, scalar)
      #expect(found.contains("args.\(name)"), "\(found)")
    }
    let kwargs = ToyValue.table([("depth", .integer(2))])
    var arguments = RADIOToy.arguments.with("model_kwargs", kwargs).with("model", scalar)
    let model = try refusal(RADIOToy.file(RADIOToy.state(), arguments).zip())
    #expect(model.contains("args.model'"), "\(model)")
    let others = try refusal(setting: "teachers", .list([.table([("name", .text("clip"))])]))
    #expect(others.contains("no teacher of type siglip2"), "\(others)")
    for heads in [0, 3, -4] {
      let found = try refusal(setting: "model_kwargs", .table([("num_heads", .integer(heads))]))
      #expect(found.contains("args.model_kwargs.num_heads': \(heads) heads"), "\(found)")
    }
    var bare = RADIOToy.file()
    bare.arguments = nil
    let narrow = try refusal(bare.zip())
    #expect(narrow.contains("has no args, and 0 heads, not one"), "\(narrow)")
    // What the spectral norms need.
    var spectral = RADIOToy.spectral()
    arguments = RADIOToy.arguments.with("spectral_reparam", .table([("eps", .text("small"))]))
    spectral.arguments = .namespace(arguments)
    let eps = try refusal(spectral.zip())
    #expect(eps.contains("args.spectral_reparam.eps"), "\(eps)")
  }

  /// The head's text tower must be one that a vocabulary can name.
  @Test func unknownTextTowersAreRefused() throws {
    func teachers(_ model: String) -> ToyValue {
      .list([
        .table([("name", .text("clip")), ("type", .text("open_clip"))]),
        .table([("name", .text("siglip2")), ("type", .text("siglip2")), ("model", .text(model))]),
      ])
    }
    for model in ["siglip2-g-384", "siglip2-so400m", String(repeating: "0a", count: 32)] {
      let found = try refusal(setting: "teachers", teachers(model))
      #expect(found == "accepted", "\(found)")
    }
    for model in ["siglip2-so401m", "", "ViT-H-14-378-quickgelu", String(repeating: "0A", count: 32)] {
      let found = try refusal(setting: "teachers", teachers(model))
      #expect(found.contains("args.teachers.1.model': no text tower is called '\(model)'"), "\(found)")
      #expect(found.contains("siglip2-so400m or siglip2-g-384 is expected"), "\(found)")
    }
  }

  @Test func whatIsTakenForGrantedIsSaidAndRecorded() throws {
    // An architecture of another width says nothing of heads.
    let kwargs = ToyValue.table([("depth", .integer(2))])
    let told = try quantize(
      RADIOToy.file(RADIOToy.state(), RADIOToy.arguments.with("model_kwargs", kwargs)).zip())
    let heads = try told.model.string("trident.source.radio.assumed")
    #expect(heads == "one head of 64 channels")
    #expect(told.notes.contains { $0.contains("assumed: " + heads) && $0.contains("args do not tell") })
    // None at all, or of a class that nobody knows.
    let unreadable: [(ToyValue?, String)] = [
      (nil, "has no args"), (.object("x", "Box"), "args cannot be read"),
    ]
    for (arguments, why) in unreadable {
      var file = RADIOToy.file(RADIOToy.state(embed: 1152))
      file.arguments = arguments
      let found = try quantize(file.zip())
      let text = try found.model.string("trident.source.radio.assumed")
      #expect(text == "one head of 64 channels; '_heads.1' is the head of siglip2-so400m")
      #expect(found.notes.count == 2 && found.notes.allSatisfy { $0.contains(why) }, "\(found.notes)")
      var normed = file
      normed.states[0].1.norm("base_model.norm", 64)
      let refused = try refusal(normed.zip())
      #expect(refused.contains("base_model.norm.weight") && refused.contains("args.model_norm"))
    }
    var spectral = RADIOToy.spectral()
    spectral.arguments = .namespace(RADIOToy.arguments)
    let norms = try quantize(spectral.zip()).model.string("trident.source.radio.assumed")
    #expect(norms.contains("spectral norms"))
  }

  // MARK: Tensors that are missing or too many

  @Test func missingTensorsAreNamed() throws {
    for name in ["blocks.0.ls1.gamma", "blocks.1.ls1.gamma", "blocks.1.ls2.gamma"] {
      let found = try refusal(without("base_model." + name))
      #expect(found.contains(name + "'") && found.contains("no tensor of this name"), "\(found)")
    }
    let grandma = RADIOToy.state().renamed { $0.replacingOccurrences(of: "gamma", with: "grandma") }
    var less = grandma
    less.tensors["base_model.blocks.0.ls2.grandma"] = nil
    let spelled = try refusal(less)
    #expect(spelled.contains("blocks.0.ls2.grandma'"), "\(spelled)")
    let (one, other) = try (
      identity(RADIOToy.file(grandma).zip()), identity(RADIOToy.file().zip())
    )
    #expect(one == other)
    // A network that has none at all is another one.
    let none = RADIOToy.state().renamed { $0.hasSuffix("gamma") ? nil : $0 }
    let accepted = try refusal(none)
    #expect(accepted == "accepted")
    let inner = ["blocks.0.2.weight", "blocks.0.0.bias", "final.0.weight", "final.2.weight", "final.2.bias"]
    for name in inner.map({ "_heads.1." + $0 }) {
      let found = try refusal(without(name))
      #expect(found.contains(name + "'") && found.contains("no tensor of this name"), "\(found)")
    }
    let gap = try refusal(RADIOToy.state().renamed { $0.hasPrefix("_heads.1.blocks.0.") ? nil : $0 })
    #expect(gap.contains("_heads.1.blocks.0."), "\(gap)")
    var more = RADIOToy.state()
    more.add("_heads.1.final.3.weight", 4)
    let extra = try refusal(more)
    #expect(extra.contains("_heads.1.final.3.weight"), "\(extra)")
  }

  @Test func theNormalizerIsWhole() throws {
    var toy = RADIOToy.state()
    toy.add("_feature_normalizer.mean", 64)
    toy.add("_feature_normalizer.tx", 64, 64)
    let whole = try refusal(toy)
    #expect(whole == "accepted")
    for leaf in ["mean", "tx"] {
      var less = toy
      less.tensors["_feature_normalizer." + leaf] = nil
      let found = try refusal(less)
      #expect(found.contains("_feature_normalizer.\(leaf)'"), "\(found)")
    }
  }

  @Test func blocksAreAsManyAsTold() throws {
    let kwargs = ToyValue.table([("num_heads", .integer(4)), ("depth", .integer(3))])
    let more = try refusal(setting: "model_kwargs", kwargs)
    #expect(more.contains("blocks.2.norm1.weight") && more.contains("3 blocks"), "\(more)")
    let one = ToyValue.table([("num_heads", .integer(4)), ("depth", .integer(1))])
    let fewer = try refusal(setting: "model_kwargs", one)
    #expect(fewer.contains("the network has 1 blocks, the file has 2"), "\(fewer)")
  }

  @Test func theEMAIsTakenWhole() throws {
    let (plain, slow) = (RADIOToy.state(embed: 40), RADIOToy.state())
    let wanted = try identity(RADIOToy.file(slow).zip())
    func file(_ ema: ToyCheckpoint) -> [UInt8] {
      let states = [("state_dict", plain), ("state_dict_ema", ema)]
      return TorchToy(states: states, arguments: .namespace(RADIOToy.arguments)).zip()
    }
    for prefix in ["", "module.", "module.module.", "model.", "_orig_mod.module."] {
      let found = try quantize(file(slow.renamed { prefix + $0 }))
      let identity = try found.model.string("trident.model_id")
      #expect(identity == wanted, "\(prefix)")
      let recorded = try found.model.string("trident.source.radio.prefix")
      #expect(recorded == "state_dict_ema.")
      #expect(found.notes.contains { $0.contains("'state_dict_ema.' is taken") }, "\(found.notes)")
    }
    for name in ["base_model.patch_generator.embedder.weight", "base_model.blocks.0.norm1.bias"] {
      var less = slow
      less.tensors[name] = nil
      let found = try refusal(file(less))
      #expect(found.contains("state_dict_ema." + name), "\(found)")
    }
  }

  @Test func pixelsAreCLIPs() throws {
    for (part, values) in [
      ("norm_mean", [Float](repeating: 0.5, count: 3)), ("norm_std", [0.229, 0.224, 0.225]),
      ("norm_mean", [.nan, 0.4578, 0.408]), ("norm_std", [0.26862954]),
    ] {
      var toy = RADIOToy.state()
      toy.tensors["input_conditioner." + part] = ([values.count, 1, 1], values)
      let found = try refusal(toy)
      #expect(found.contains("input_conditioner.\(part)") && found.contains("CLIP's"), "\(found)")
    }
    var rounded = RADIOToy.state()
    rounded.tensors["input_conditioner.norm_mean"] = ([3, 1, 1], [0.4814, 0.4578, 0.4082])
    let found = try refusal(rounded)
    #expect(found == "accepted")
  }

  // MARK: Spectral norms

  private static let folder = RADIOToy.blocks + "0.mlp.fc1.parametrizations.weight."

  private func spectral(_ change: (inout TorchToy) -> Void) throws -> String {
    var toy = RADIOToy.spectral()
    change(&toy)
    return try refusal(toy.zip())
  }

  @Test func spectralNormsAreWhole() throws {
    let whole = try spectral { _ in }
    #expect(whole == "accepted")
    let parts = RADIOToy.blocks + "0.attn.qkv.parametrizations.weight.0."
    for name in ["scale", "_u", "_v", "_sn_version"].flatMap({
      [Self.folder + "0." + $0, parts + "parts.1." + $0]
    }) {
      let found = try spectral { $0.states[0].1.tensors[name] = nil }
      #expect(found.contains(name + "'") && found.contains("no tensor"), "\(found)")
    }
    let first = try spectral { toy in
      toy.states[0].1 = toy.states[0].1.renamed { $0.hasSuffix("_sn_version") ? nil : $0 }
    }
    #expect(first == "accepted", "\(first)")
    let one = try spectral { toy in
      toy.states[0].1 = toy.states[0].1.renamed { $0.hasPrefix(parts + "parts.0.") ? nil : $0 }
    }
    #expect(one.contains("parts.0.scale'"), "\(one)")
    let none = try spectral { toy in
      toy.states[0].1 = toy.states[0].1.renamed { $0.hasPrefix(parts) ? nil : $0 }
    }
    #expect(none.contains("qkv.parametrizations.weight.0.scale'"), "\(none)")
    let original = try spectral { $0.states[0].1.tensors[Self.folder + "original"] = nil }
    #expect(original.contains(Self.folder + "original'"), "\(original)")
    let both = try spectral { $0.states[0].1.add(RADIOToy.blocks + "0.mlp.fc1.weight", 80, 64) }
    #expect(both.contains("plainly and reparametrized"), "\(both)")
    let extra = try spectral { $0.states[0].1.add(Self.folder + "1.scale", 1, 1) }
    #expect(extra.contains("weight.1.scale"), "\(extra)")
  }

  @Test func spectralNormsAreChecked() throws {
    let scale = Self.folder + "0.scale"
    for (shape, values) in [([80, 1], [Float](repeating: 1, count: 80)), ([0, 1], []), ([2], [1, 1])] {
      let found = try spectral { $0.states[0].1.tensors[scale] = (shape, values) }
      #expect(found.contains(scale) && found.contains("[1, 1] is expected"), "\(found)")
    }
    let whole = try spectral {
      $0.states[0].1.tensors[scale] = ([1, 1], [1])
      $0.integers.insert(scale)
    }
    #expect(whole.contains(scale) && whole.contains("int64"), "\(whole)")
    for version: Float in [0, 3] {
      let found = try spectral { $0.states[0].1.tensors[Self.folder + "0._sn_version"] = ([], [version]) }
      #expect(found.contains("_sn_version") && found.contains("version 1 or 2"), "\(found)")
    }
    for leaf in ["0.scale", "0._u", "0._v", "original"] {
      let name = Self.folder + leaf
      let found = try spectral { $0.states[0].1.tensors[name]?.values[0] = .nan }
      #expect(found.contains(name + "'") && found.contains("element 0 is nan"), "\(found)")
    }
  }
}
