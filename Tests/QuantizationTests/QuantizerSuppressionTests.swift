// Channel suppression: the loudest output channel of an MLP, scaled to the mean norm of the others.
import Container
import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct QuantizerSuppressionTests {
  /// The definition, written out: what the quantizer makes of a checkpoint with the flag, it must make of
  /// this one without.
  private func suppressed(_ toy: ToyCheckpoint, _ blocks: ClosedRange<Int>) -> ToyCheckpoint {
    var copy = toy
    for block in blocks {
      let name = "visual.transformer.resblocks.\(block - 1).mlp.c_proj.weight"
      let columns = toy.tensors[name]!.shape[1]
      let found = loudest(toy, block)
      for column in 0..<columns {
        copy.tensors[name]!.values[found.channel * columns + column] *= found.factor
      }
    }
    return copy
  }

  private func loudest(_ toy: ToyCheckpoint, _ block: Int) -> (channel: Int, norm: Float, factor: Float) {
    let tensor = toy.tensors["visual.transformer.resblocks.\(block - 1).mlp.c_proj.weight"]!
    let (rows, columns) = (tensor.shape[0], tensor.shape[1])
    let norms = (0..<rows).map { row in
      tensor.values[row * columns..<(row + 1) * columns].map { Double($0) * Double($0) }.reduce(0, +)
        .squareRoot()
    }
    let channel = norms.indices.max { norms[$0] < norms[$1] }!
    let mean = (norms.reduce(0, +) - norms[channel]) / Double(rows - 1)
    return (channel, Float(norms[channel]), Float(mean / norms[channel]))
  }

  private func quantize(
    _ toy: ToyCheckpoint, _ blocks: SuppressedBlocks?, alone: Bool = true, keepsLastMLP: Bool = true
  ) throws -> (model: MappedModel, report: QuantizationReport) {
    let folder = try ToyFolder(clip: toy)
    if alone { (folder.request.dino, folder.request.sam) = (nil, nil) }
    (folder.request.suppressed, folder.request.keepsLastMLP) = (blocks, keepsLastMLP)
    let report = try folder.quantize()
    return (try MappedModel(path: folder.request.output), report)
  }

  private func refusal(_ toy: ToyCheckpoint, _ blocks: SuppressedBlocks) -> String {
    do {
      _ = try quantize(toy, blocks)
      return "nothing was refused"
    } catch { return "\(error)" }
  }

  private func bytes(_ model: MappedModel, _ name: String) throws -> [UInt8] {
    let record = try #require(model.tensors.first { $0.name == name })
    return Array(model.fileBytes[record.range])
  }

  private func expectSame(_ a: MappedModel, _ b: MappedModel) throws {
    #expect(a.tensors.map(\.name) == b.tensors.map(\.name))
    for tensor in a.tensors {
      let (left, right) = (try bytes(a, tensor.name), try bytes(b, tensor.name))
      #expect(left == right, "\(tensor.name)")
    }
  }

  @Test func publishedBlocks() throws {
    let toy = ToyCheckpoint.clip(depth: 12)
    let plain = try quantize(toy, nil)
    let made = try quantize(toy, .published)
    try expectSame(made.model, try quantize(suppressed(toy, 8...12), nil).model)
    for block in 0..<12 {
      let name = "clip.blocks.\(block).mlp_out."
      let (before, after) = (try bytes(plain.model, name + "scale"), try bytes(made.model, name + "scale"))
      #expect((before == after) == (block < 7), "\(name)")
      let (bias, same) = (try bytes(plain.model, name + "bias"), try bytes(made.model, name + "bias"))
      #expect(bias == same, "\(name)")
    }
    let ids = try [plain, made].map { try $0.model.string("trident.model_id") }
    #expect(ids[0] != ids[1])
  }

  /// The report, the model file and nobody else say what was done.
  @Test func whatWasSuppressedIsSaidAndRecorded() throws {
    let toy = ToyCheckpoint.clip(depth: 12)
    let made = try quantize(toy, .published)
    var lines: [String] = []
    try made.model.strings("trident.source.clip.suppressed") {
      lines.append(String(decoding: $1, as: UTF8.self))
    }
    let expected = (8...12).map { block in
      let found = loudest(toy, block)
      return "clip.blocks.\(block - 1).mlp_out, channel \(found.channel) of norm \(found.norm) times "
        + "\(found.factor)"
    }
    #expect(lines == expected)
    for line in expected { #expect(made.report.table.contains("suppressed: \(line)\n")) }
    let json = try JSONSerialization.jsonObject(with: Data(made.report.json.utf8)) as? [String: Any]
    let tensors = try #require(json?["tensors"] as? [[String: Any]])
    let channels = tensors.compactMap { ($0["suppressed"] as? [String: Any])?["channel"] as? Int }
    #expect(channels == (8...12).map { loudest(toy, $0).channel })
    let plain = try quantize(toy, nil)
    #expect(!plain.model.hasKey("trident.source.clip.suppressed"))
    #expect(!plain.report.table.contains("suppressed") && !plain.report.json.contains("suppressed"))
  }

  /// Nothing is published for other depths.
  @Test func otherDepthsNameTheirBlocks() throws {
    let toy = ToyCheckpoint.clip()
    #expect(refusal(toy, .published).contains("this one has 2; name blocks with --suppress-blocks"))
    #expect(refusal(toy, .named(2...3)).contains("--suppress-blocks 2-3: this CLIP has image blocks 1-2"))
    try expectSame(
      try quantize(toy, .named(1...1), alone: false).model,
      try quantize(suppressed(toy, 1...1), nil, alone: false).model)
  }

  /// A file of CLIP alone has no last MLP: nothing of it is suppressed, which alone makes no model.
  @Test func blocksThatAreLeftOut() throws {
    let toy = ToyCheckpoint.clip(depth: 12)
    let made = try quantize(toy, .published, keepsLastMLP: false)
    try expectSame(made.model, try quantize(suppressed(toy, 8...11), nil, keepsLastMLP: false).model)
    #expect(made.report.entries.count { $0.suppressed != nil } == 4)
    let folder = try ToyFolder(clip: toy)
    (folder.request.dino, folder.request.sam) = (nil, nil)
    folder.request.suppressed = .published
    #expect(
      try ModelQuantizer(folder.request) { _ in }.notes.contains { $0.contains("image block 12 is left") })
    folder.request.suppressed = .named(12...12)
    let error = thrownError(QuantizationFailure.self) { try folder.quantize() }
    #expect(error?.description.contains("--keep-last-mlp keeps it") == true)
  }

  /// A matrix of zeros has no channel that stands out; a number that is none is named by its tensor.
  @Test func zerosAndNaN() throws {
    var toy = ToyCheckpoint.clip()
    let name = "visual.transformer.resblocks.0.mlp.c_proj.weight"
    let count = toy.tensors[name]!.values.count
    toy.tensors[name]!.values = [Float](repeating: 0, count: count)
    let made = try quantize(toy, .named(1...2))
    #expect(made.report.entries.filter { $0.suppressed != nil }.map(\.name) == ["clip.blocks.1.mlp_out"])
    toy.tensors[name]!.values[91] = .nan
    #expect(refusal(toy, .named(1...1)).contains("'\(name)': element 91 is nan or infinite"))
  }
}
