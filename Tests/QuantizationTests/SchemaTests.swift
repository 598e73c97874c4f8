// A model file holds exactly what the schemas of its networks declare: every tensor, of its type and shape,
// and no other.
import Container
import Foundation
import Quantization
import Segmentation
import TestSupport
import Testing

@Suite struct SchemaTests {
  /// A toy model taken apart, to be written again with one thing changed.
  private struct Parts {
    let keys: KeyValues
    let tensors: [TensorDeclaration]
    let bytes: [[UInt8]]

    init(_ file: MappedModel) throws {
      let own = ["general.alignment", "trident.model_id", "trident.tensor_crc32", "trident.header_crc32"]
      keys = try file.keys.filter { !own.contains($0) }.map { (key: $0, value: try file.value($0)) }
      tensors = file.tensors.map {
        TensorDeclaration(name: $0.name, type: $0.type, dimensions: $0.dimensions)
      }
      bytes = file.tensors.map { Array(UnsafeRawBufferPointer(rebasing: file.fileBytes[$0.range])) }
    }

    /// With tensor `index` replaced, or left out; all checksums are right.
    func write(_ path: String, _ index: Int, as changed: TensorDeclaration?) throws {
      var declared = tensors
      var stored = bytes
      if let changed {
        declared[index] = changed
        stored[index] = [UInt8](repeating: 1, count: try changed.byteCount())
      } else {
        declared.remove(at: index)
        stored.remove(at: index)
      }
      let writer = try ModelWriter(path: path, values: keys, tensors: declared, overwrite: true)
      for tensor in stored { try tensor.withUnsafeBytes { try writer.append($0) } }
      try writer.finish()
    }
  }

  /// Files of version 1 have position tables as half floats; in those of version 2 that is a wrong type.
  @Test func positionsInHalvesAreNotOfVersionTwo() throws {
    let folder = try ToyFolder()
    _ = try folder.quantize()
    let parts = try Parts(MappedModel(path: folder.request.output))
    for version in 1...MappedModel.formatVersion {
      let keys = parts.keys.map { key, value in
        (key: key, value: key == "trident.format_version" ? GGUFValue.uint32(UInt32(version)) : value)
      }
      let declared = parts.tensors.map { tensor in
        TensorDeclaration(
          name: tensor.name, type: tensor.name.hasSuffix(".position") ? .f16 : tensor.type,
          dimensions: tensor.dimensions)
      }
      let path = folder.path + "/version-\(version).gguf"
      let writer = try ModelWriter(path: path, values: keys, tensors: declared, overwrite: true)
      for (tensor, stored) in zip(declared, parts.bytes) {
        try stored.prefix(try tensor.byteCount()).withUnsafeBytes { try writer.append($0) }
      }
      try writer.finish()
      let opens = (try? Model(MappedModel(path: path))) != nil
      #expect(opens == (version != 2), "version \(version)")
    }
  }

  /// Position tables stay what the checkpoint has, value for value; only files with halves are of version 3.
  @Test func positionsInHalvesStayHalves() throws {
    let names = ["visual.positional_embedding", "positional_embedding"]
    var toy = ToyCheckpoint.clip()
    for name in names { toy.tensors[name]!.values = toy.tensors[name]!.values.map { Float(Float16($0)) } }
    let whole = try ToyFolder(clip: toy)
    toy.halves = Set(names)
    let half = try ToyFolder(clip: toy)
    let files = try [whole, half].map { folder in
      _ = try folder.quantize()
      return try MappedModel(path: folder.request.output)
    }
    for (file, version) in zip(files, [2, 3]) { #expect(try file.uint("trident.format_version") == version) }
    let positions = ["text.position", "clip.position"]
    #expect(files[1].tensors.filter { $0.type == .f16 }.map(\.name) == positions)
    for name in positions {
      let bytes = try files.map { file in
        let record = try #require(file.tensors.first { $0.name == name })
        return UnsafeRawBufferPointer(rebasing: file.fileBytes[record.range])
      }
      let floats = bytes[1].bindMemory(to: Float16.self).map { Float($0) }
      #expect(Array(bytes[0].bindMemory(to: Float.self)) == floats, "\(name)")
    }
  }

  private func refusal(_ path: String) throws -> SegmentationError? {
    thrownError(SegmentationError.self) { try Model(MappedModel(path: path)) }
  }

  @Test func everyTensorIsNeededAsItIs() throws {
    let folder = try ToyFolder()
    _ = try folder.quantize()
    let parts = try Parts(MappedModel(path: folder.request.output))
    let path = folder.path + "/changed.gguf"
    #expect(parts.tensors.count > 200)
    for index in Effort.sample(parts.tensors.indices, step: 5) {
      let tensor = parts.tensors[index]
      let wrongType: GGUFType = tensor.type == .f32 ? .i32 : .f32
      let changes: [(String, TensorDeclaration?)] = [
        ("missing", nil),
        (
          "renamed",
          TensorDeclaration(name: tensor.name + "x", type: tensor.type, dimensions: tensor.dimensions)
        ),
        ("retyped", TensorDeclaration(name: tensor.name, type: wrongType, dimensions: tensor.dimensions)),
        (
          "reshaped",
          TensorDeclaration(
            name: tensor.name, type: tensor.type,
            dimensions: [tensor.dimensions[0] + 1] + tensor.dimensions.dropFirst())
        ),
      ]
      for (what, changed) in changes {
        try parts.write(path, index, as: changed)
        let error = try refusal(path)
        #expect(error?.exitCode == 4, "\(tensor.name) \(what)")
        // What the IoU head holds inside is told by its first tensor alone: then the next one names itself.
        let isNamed = error?.description.contains(
          tensor.name.hasPrefix("sam.decoder.iou.") ? "sam.decoder.iou." : tensor.name)
        #expect(isNamed == true, "\(tensor.name) \(what): \(error?.description ?? "accepted")")
      }
    }
  }

  @Test func nothingElseIsAccepted() throws {
    let folder = try ToyFolder()
    _ = try folder.quantize()
    let parts = try Parts(MappedModel(path: folder.request.output))
    let extra = TensorDeclaration(name: "clip.extra", type: .f32, dimensions: [4])
    let writer = try ModelWriter(
      path: folder.path + "/extra.gguf", values: parts.keys, tensors: parts.tensors + [extra], overwrite: true
    )
    for tensor in parts.bytes + [[UInt8](repeating: 0, count: 16)] {
      try tensor.withUnsafeBytes { try writer.append($0) }
    }
    try writer.finish()
    #expect(try refusal(folder.path + "/extra.gguf")?.description.contains("clip.extra") == true)
  }

  /// Names in docs/model-file.md, with blocks and layers as `N` and `L`, are those of the schemas.
  @Test func documentListsEveryTensor() throws {
    let folder = try ToyFolder()
    _ = try folder.quantize()
    let model = try Model(MappedModel(path: folder.request.output))
    let listed = Set(documentedNames(try document()))
    let schemas: [any NetworkSchema] =
      model.schemas + [
        VisionSchema(Self.dinov2), RADIOSchema(Self.radio), SigLIPSchema(Self.siglip),
        VisionSchema(Self.blip),
        BERTSchema(Self.bert, imageWidth: Self.blip.width),
      ]
    for schema in schemas {
      for part in schema.parts {
        let generic = generic(part.name)
        #expect(listed.contains(generic), "docs/model-file.md lacks \(generic)")
      }
    }
    let known = Set(schemas.flatMap(\.parts).map { generic($0.name) })
    for name in listed {
      #expect(known.contains(name), "docs/model-file.md lists \(name), which no schema declares")
    }
  }

  /// Keys of every network are in the document's first table.
  @Test func documentListsEveryKey() throws {
    let folder = try ToyFolder()
    _ = try folder.quantize()
    var config = try ModelConfig(MappedModel(path: folder.request.output))
    (config.radio, config.siglip) = (Self.radio, Self.siglip)
    config.clip?.hasLastMLP = false
    (config.blip, config.bert, config.dino) = (Self.blip, Self.bert, Self.dinov2)
    let text = try document()
    let end = try #require(text.range(of: "\n## Tensors")).lowerBound
    let lines = text[..<end].split(separator: "\n").filter { $0.hasPrefix("| `") }
    let listed = Set(
      lines.compactMap { $0.split(separator: "`").dropFirst().first }.flatMap { expand(String($0)) })
    for (key, _) in config.keys { #expect(listed.contains(key), "docs/model-file.md lacks \(key)") }
  }

  private func document() throws -> String {
    let root = (#filePath as String).split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
      .joined(separator: "/")
    return try String(contentsOfFile: root + "/docs/model-file.md", encoding: .utf8)
  }

  /// With everything that the network may have.
  private static let radio: RADIOConfig = {
    var config = plainRADIO
    config.samHead = config.head
    return config
  }()
  private static let plainRADIO = RADIOConfig(
    vision: .radio(blocks(.radio), patch: 16, grid: 4, prefixTokens: 8, hasPostNorm: true),
    hasNormalizer: true,
    head: AdaptorConfig(version: .v2, hidden: 32, blocks: 2, outputs: 48), textModel: "siglip2-so400m")
  private static let siglip = SigLIPConfig(
    tower: TextConfig(blocks: blocks(.siglip), context: 64, vocabularySize: 512, embedWidth: 48),
    textModel: "siglip2-so400m")

  private static let dinov2: VisionConfig = {
    var blocks = Self.blocks(.dino)
    blocks.isGated = true
    return .dino(blocks, patch: 14, grid: 4, positions: .bicubicAntialias, registers: 4)
  }()
  private static let blip = VisionConfig.blip(blocks(.blip), patch: 16, grid: 4)
  private static let bert = TextConfig(
    blocks: blocks(.bert), context: 64, vocabularySize: 512, embedWidth: 48)

  private static func blocks(_ role: NetworkRole) -> TransformerConfig {
    TransformerConfig(
      role: role, width: 64, depth: 2, headWidth: 16, mlpWidth: 128, normEpsilon: 1e-6, activation: .gelu)
  }

  /// Numbers of blocks and layers as `N`.
  private func generic(_ name: String) -> String {
    let fixed = ["sam.prompt.mask", "sam.decoder.upscale"]
    if fixed.contains(where: { name.hasPrefix($0) }) { return name }
    return name.split(separator: ".").map { Int($0) == nil ? String($0) : "N" }.joined(separator: ".")
  }

  /// Names in backticks in the first column of the table of tensors; braces are alternatives, `E` is each
  /// network.
  private func documentedNames(_ text: String) -> [String] {
    guard let start = text.range(of: "\n## Tensors"), let end = text.range(of: "\nThe order of tensors")
    else { return [] }
    var names: [String] = []
    for line in text[start.upperBound..<end.lowerBound].split(separator: "\n") where line.hasPrefix("| `") {
      let cell = line.split(separator: "|")[0]
      let quoted = cell.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter {
        $0.offset % 2 == 1
      }
      for (_, name) in quoted {
        for part in expand(String(name)) {
          let ending = [".weight", ".bias", ".scale"].first { part.hasSuffix($0) }
          let plain = (ending.map { String(part.dropLast($0.count)) } ?? part).replacingOccurrences(
            of: ".L", with: ".N")
          if plain.hasPrefix("E.") {
            names += ["text", "dino", "clip", "sam", "radio", "siglip", "blip"].map { $0 + plain.dropFirst() }
          } else {
            names.append(plain)
          }
        }
      }
    }
    return names
  }

  private func expand(_ name: String) -> [String] {
    guard let open = name.firstIndex(of: "{"), let close = name.firstIndex(of: "}") else { return [name] }
    let (head, tail) = (String(name[..<open]), String(name[name.index(after: close)...]))
    return name[name.index(after: open)..<close].split(separator: ",").flatMap { expand(head + $0 + tail) }
  }
}
