// Damaged models: what `verify` finds, and what a run finds by itself.
import Container
import Foundation
import Segmentation
import TestSupport
import Testing

@Suite struct IntegrityTests {
  /// A copy of a toy model whose bytes can be changed.
  private final class Copy {
    let path: String
    private let descriptor: Int32
    let byteCount: Int

    init(of golden: GoldenCase) throws {
      path = NSTemporaryDirectory() + "trident-integrity-\(UUID().uuidString).gguf"
      try FileManager.default.copyItem(atPath: golden.model(), toPath: path)
      descriptor = open(path, O_RDWR)
      byteCount = Int(lseek(descriptor, 0, SEEK_END))
      try #require(descriptor >= 0)
    }

    deinit {
      close(descriptor)
      unlink(path)
    }

    func flip(_ offset: Int, _ mask: UInt8) {
      var byte: UInt8 = 0
      precondition(pread(descriptor, &byte, 1, offset) == 1)
      byte ^= mask
      precondition(pwrite(descriptor, &byte, 1, offset) == 1)
    }

    func write(_ value: UInt32, at offset: Int) {
      var value = value.littleEndian
      precondition(pwrite(descriptor, &value, 4, offset) == 4)
    }
  }

  @Test func verifyFindsEveryFlippedBit() throws {
    let copy = try Copy(of: GoldenCase("toy-dino8"))
    var random = SeededRandom(seed: 7)
    for _ in Effort.sample(0..<2000) {
      let (offset, mask) = (Int(random.next() % UInt64(copy.byteCount)), UInt8(1) << UInt8(random.next() % 8))
      copy.flip(offset, mask)
      #expect(throws: ContainerError.self, "bit \(mask) of byte \(offset)") {
        try MappedModel(path: copy.path).verify { _, _ in }
      }
      copy.flip(offset, mask)
    }
    try MappedModel(path: copy.path).verify { _, _ in }
  }

  /// A tensor of every kind and place: in a first, middle and last block, and outside blocks.
  @Test(
    arguments: [
      "text.blocks.0.norm1.weight", "text.position", "text.token.scale", "dino.blocks.1.qkv.scale",
      "dino.position",
      "dino.norm_post.bias", "clip.blocks.0.mlp_in.sum", "clip.blocks.1.out.bias", "clip.proj.scale",
      "sam.blocks.0.rel_h", "sam.blocks.1.qkv.bias", "sam.neck.norm1.weight", "sam.decoder.final.q.scale",
      "sam.prompt.gaussian",
    ])
  func aRunRefusesDamagedFloats(_ name: String) throws {
    let golden = try GoldenCase("toy-dino8")
    let copy = try Copy(of: golden)
    let record = try MappedModel(path: copy.path).tensor(name)
    copy.flip(record.offset + record.byteCount / 2, 0x10)
    let session = try Session(modelPath: copy.path, runtime: RuntimeOptions())
    let wording = try GoldenRun.prompts(session, golden.classLines)
    let error = thrownError(SegmentationError.self) {
      try GoldenRun.run(session, DrawnPhoto(48, 40), wording, golden.options(.int8))
    }
    #expect(error?.exitCode == 4)
    #expect(error.map { "\($0)" }?.contains(name) == true)
  }

  @Test func integerWeightsAreLeftToVerify() throws {
    let golden = try GoldenCase("toy-dino8")
    let copy = try Copy(of: golden)
    let record = try MappedModel(path: copy.path).tensor("clip.blocks.0.qkv.weight")
    copy.flip(record.offset, 1)
    let session = try Session(modelPath: copy.path, runtime: RuntimeOptions())
    let wording = try GoldenRun.prompts(session, golden.classLines)
    _ = try GoldenRun.run(session, DrawnPhoto(48, 40), wording, golden.options(.int8))
    var runtime = RuntimeOptions()
    runtime.verifiesWeights = true
    let error = thrownError(SegmentationError.self) { try Session(modelPath: copy.path, runtime: runtime) }
    #expect(error.map { "\($0)" }?.contains("clip.blocks.0.qkv.weight") == true)
  }

  /// Configurations that no model has are refused before anything is computed from them.
  @Test(
    arguments: [("trident.text.context", 1), ("trident.text.heads", 0), ("trident.sam.window", 0)]
      as [(String, UInt32)])
  func absurdConfigurationsAreRefused(_ key: String, _ value: UInt32) throws {
    let copy = try Copy(of: GoldenCase("toy-dino8"))
    let entry = try #require(try MappedModel(path: copy.path).header.entries.first { $0.key == key })
    copy.write(value, at: entry.offset)
    var options = MappedModel.DecodeOptions()
    options.ignoreChecksums = true
    let model = try MappedModel(path: copy.path, options: options)
    #expect(throws: SegmentationError.self) { try Model(model) }
  }
}
