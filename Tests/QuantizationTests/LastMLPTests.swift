// Files of CLIP alone, which leave out what no method for patches passes: the last image block's MLP.
import Container
import Foundation
import Quantization
import Segmentation
import TestSupport
import Testing

@Suite struct LastMLPTests {
  private static let key = "trident.clip.no_last_mlp"

  /// A model file of CLIP alone, taken apart.
  private struct Parts {
    var keys: KeyValues
    var tensors: [(declaration: TensorDeclaration, bytes: [UInt8])]

    init(_ file: MappedModel) throws {
      let own = ["general.alignment", "trident.model_id", "trident.tensor_crc32", "trident.header_crc32"]
      keys = try file.keys.filter { !own.contains($0) }.map { (key: $0, value: try file.value($0)) }
      tensors = file.tensors.map { tensor in
        let declaration = TensorDeclaration(
          name: tensor.name, type: tensor.type, dimensions: tensor.dimensions)
        return (declaration, Array(UnsafeRawBufferPointer(rebasing: file.fileBytes[tensor.range])))
      }
    }

    mutating func set(_ key: String, _ value: GGUFValue?) {
      keys.removeAll { $0.key == key }
      if let value { keys.append((key, value)) }
    }

    func write(_ path: String) throws {
      let writer = try ModelWriter(
        path: path, values: keys, tensors: tensors.map(\.declaration), overwrite: true)
      for tensor in tensors { try tensor.bytes.withUnsafeBytes { try writer.append($0) } }
      try writer.finish()
    }
  }

  private func alone(keepsLastMLP: Bool = false, depth: Int = 2) throws -> (
    folder: ToyFolder, file: MappedModel
  ) {
    let folder = try ToyFolder(clip: .clip(depth: depth))
    (folder.request.dino, folder.request.sam) = (nil, nil)
    folder.request.keepsLastMLP = keepsLastMLP
    _ = try folder.quantize()
    return (folder, try MappedModel(path: folder.request.output))
  }

  private func isLastMLP(_ name: String) -> Bool {
    ["norm2.", "mlp_in.", "mlp_out."].contains { name.hasPrefix("clip.blocks.1.\($0)") }
  }

  @Test func clipAloneLeavesItOut() throws {
    let (small, whole) = (try alone(), try alone(keepsLastMLP: true))
    let left = whole.file.tensors.filter { tensor in !small.file.tensors.contains { $0.name == tensor.name } }
    #expect(left.count == 10)
    #expect(left.allSatisfy { isLastMLP($0.name) })
    #expect(small.file.tensors.count == whole.file.tensors.count - 10)
    let (smallParts, wholeParts) = (try Parts(small.file), try Parts(whole.file))
    let kept = wholeParts.tensors.filter { !isLastMLP($0.declaration.name) }
    #expect(smallParts.tensors.map(\.bytes) == kept.map(\.bytes))
    #expect(try small.file.uint("trident.format_version") == 6)
    #expect(try whole.file.uint("trident.format_version") == 2)
    #expect(try ModelConfig(small.file).clip?.hasLastMLP == false)
    #expect(try ModelConfig(whole.file).clip?.hasLastMLP == true)
    #expect(!whole.file.hasKey(Self.key))
    try small.file.verify { _, _ in }
  }

  /// With another network, and where one block is all there is, it stays.
  @Test func otherFilesKeepIt() throws {
    for other in [\QuantizationRequest.dino, \.sam] {
      let folder = try ToyFolder()
      folder.request[keyPath: other] = nil
      _ = try folder.quantize()
      let file = try MappedModel(path: folder.request.output)
      #expect(try ModelConfig(file).clip?.hasLastMLP == true)
      #expect(!file.hasKey(Self.key))
      #expect(try file.uint("trident.format_version") == 2)
    }
    let single = try alone(depth: 1)
    #expect(try ModelConfig(single.file).clip?.hasLastMLP == true)
    let image = try ToyFolder()
    (image.request.dino, image.request.sam, image.request.towers) = (nil, nil, .image)
    _ = try image.quantize()
    #expect(try ModelConfig(MappedModel(path: image.request.output)).clip?.hasLastMLP == false)
  }

  /// A damaged last MLP of the checkpoint does not matter where it is left out.
  @Test func itIsNotRead() throws {
    var toy = ToyCheckpoint.clip()
    toy.tensors["visual.transformer.resblocks.1.mlp.c_fc.weight"]!.values[3] = .nan
    let folder = try ToyFolder(clip: toy)
    (folder.request.dino, folder.request.sam) = (nil, nil)
    _ = try folder.quantize()
    folder.request.keepsLastMLP = true
    folder.request.overwrite = true
    #expect(throws: QuantizationFailure.self) { try folder.quantize() }
  }

  /// What is said of something, nil: nothing.
  private func refusal(_ body: () throws -> Void) throws -> SegmentationError? {
    do {
      try body()
      return nil
    } catch let error as SegmentationError { return error }
  }

  private func refusal(_ path: String) throws -> SegmentationError? {
    try refusal { _ = try Model(MappedModel(path: path)) }
  }

  /// Keys that contradict the tensors, or each other.
  @Test func hostileFiles() throws {
    let (small, whole) = (try alone(), try alone(keepsLastMLP: true))
    let path = small.folder.path + "/hostile.gguf"
    let (smallParts, wholeParts) = (try Parts(small.file), try Parts(whole.file))
    let cases: [(parts: Parts, value: GGUFValue?, says: String?)] = [
      (smallParts, nil, "clip.blocks.1.norm2.weight"),
      (smallParts, .bool(false), "clip.blocks.1.norm2.weight"),
      (smallParts, .uint32(1), "a flag"), (smallParts, .bool(true), nil),
      (wholeParts, .bool(true), "clip.blocks.1.norm2.weight"), (wholeParts, .string("true"), "a flag"),
      (wholeParts, .bool(false), nil), (wholeParts, nil, nil),
    ]
    for (index, (parts, value, says)) in cases.enumerated() {
      var edited = parts
      edited.set(Self.key, value)
      try edited.write(path)
      let error = try refusal(path)
      #expect((error == nil) == (says == nil), "case \(index): \(error?.description ?? "accepted")")
      if let says {
        #expect(error?.exitCode == 4 && error?.description.contains(says) == true, "case \(index)")
      }
    }
    // One of the ten tensors is there.
    for tensor in wholeParts.tensors where isLastMLP(tensor.declaration.name) {
      var edited = smallParts
      edited.tensors.append(tensor)
      try edited.write(path)
      let error = try refusal(path)
      #expect(error?.exitCode == 4 && error?.description.contains(tensor.declaration.name) == true)
    }
    // Nothing would come before the end.
    var single = try Parts(alone(depth: 1).file)
    single.tensors.removeAll { tensor in
      let name = tensor.declaration.name
      return name.hasPrefix("clip.blocks.0.norm2") || name.hasPrefix("clip.blocks.0.mlp")
    }
    single.set(Self.key, .bool(true))
    try single.write(path)
    let error = try refusal(path)
    #expect(error?.exitCode == 4 && error?.description.contains("two blocks or more") == true)
  }

  /// Whoever takes whole images is refused before anything runs; whoever takes patches is not.
  @Test func wholeImagesAreRefused() throws {
    let (small, whole) = (try alone(), try alone(keepsLastMLP: true))
    let photo = small.folder.path + "/photo.ppm"
    var bytes = Data("P6\n20 20\n255\n".utf8)
    bytes.append(Data((0..<1200).map { UInt8($0 % 251) }))
    try bytes.write(to: URL(fileURLWithPath: photo))
    for (made, side) in [(small, nil), (whole, 12 as Int?)] {
      let session = try Session(modelPath: made.folder.request.output, runtime: RuntimeOptions())
      #expect(session.judgeSide == side)
      let request = JudgeRequest(try PhotoFile(path: photo), [])
      let error = try refusal { _ = try session.plan(request) }
      #expect((error == nil) == (side != nil))
      if let error { #expect(error.exitCode == 4 && error.description.contains("--keep-last-mlp")) }
    }
  }
}
