// Channel suppression against its PyTorch twin, on a toy checkpoint.
import Container
import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct SuppressionGoldenTests {
  /// Channel, norm and factor of each block, and the scales and sums that its stored weights then have.
  ///
  /// - Source: Tests/Reference/make_suppressed.py.
  @Test func asThePyTorchTwin() throws {
    let golden = TextSupport.root + "/Tests/Fixtures/golden-scclip/"
    let scratch = Scratch()
    let path = scratch.path + "/suppressed.gguf"
    var request = QuantizationRequest(
      clip: try GoldenModels.unpack("clip.pt.gz", in: golden + "square/"), output: path)
    request.vocabulary = golden + "../golden/toy-b/vocab.txt.gz"
    request.suppressed = .named(2...5)
    let report = try ModelQuantizer(request) { _ in }.run()
    let model = try MappedModel(path: path)
    let text = try String(contentsOfFile: golden + "square/suppressed.txt", encoding: .utf8)
    let lines = text.split(separator: "\n").map { $0.split(separator: " ").compactMap { Double($0) } }
    #expect(lines.map { $0[0] } == [2, 3, 4, 5])
    for line in lines {
      let name = "clip.blocks.\(Int(line[0]) - 1).mlp_out"
      let entry = try #require(report.entries.first { $0.name == name })
      let found = try #require(entry.suppressed)
      #expect(Double(found.channel) == line[1], "\(name)")
      let scales: [Float] = try values(model, name + ".scale")
      let sums: [Int32] = try values(model, name + ".sum")
      let pairs: [(Double, Double)] = [
        (Double(found.norm), line[2]), (Double(found.factor), line[3]),
        (Double(scales[found.channel]), line[4]), (scales.reduce(0) { $0 + Double($1) }, line[6]),
      ]
      for (ours, theirs) in pairs { #expect(abs(ours / theirs - 1) < 1e-6, "\(name): \(ours), \(theirs)") }
      #expect(Double(sums[found.channel]) == line[5], "\(name)")
      #expect(sums.reduce(0) { $0 + Double($1) } == line[7], "\(name)")
    }
  }

  private func values<Element>(_ model: MappedModel, _ name: String) throws -> [Element] {
    let record = try #require(model.tensors.first { $0.name == name })
    return Array(UnsafeRawBufferPointer(rebasing: model.fileBytes[record.range]).bindMemory(to: Element.self))
  }
}
