// Confidences beside the reference's maps, and what reports make of them.
import Compute
import Segmentation
import TestSupport
import Testing

@Suite("Confidence") struct ConfidenceTests {
  /// One photo's confidences, its labels and its report.
  private struct Found {
    var bytes: [UInt8] = []
    var labels: [UInt16] = []
    var report: RunReport
  }

  private func run(_ name: String, _ kind: ConfidenceKind, _ precision: PrecisionChoice) throws -> (
    Found, GoldenCase
  ) {
    let golden = try GoldenCase(name, in: "golden-scclip")
    let session = try Session(modelPath: try golden.model(), runtime: RuntimeOptions())
    let photo = try PhotoFile(path: try golden.photoPath)
    let words = try GoldenRun.prompts(session, golden.classLines)
    var options = try golden.options(precision)
    (options.probabilityThreshold, options.areaThreshold, options.confidenceKind) = (0, -1, kind)
    var (bytes, labels) = ([UInt8](), [UInt16]())
    var sinks = RunSinks { _, line in
      labels.append(contentsOf: UnsafeBufferPointer(start: line, count: photo.width))
      return true
    }
    sinks.confidence = { _, row in
      bytes.append(contentsOf: UnsafeBufferPointer(start: row, count: photo.width))
      return true
    }
    let plan = try session.plan(photo, words, options, confidence: true)
    let report = try session.run(photo, words, options, plan: plan, measures: false, sinks)
    return (Found(bytes: bytes, labels: labels, report: report), golden)
  }

  /// Bytes of the reference's maps; its entropy is 1 where nothing is known, ours 255 where all is.
  @Test(
    "maps are the reference's", .needsOpenBLAS,
    arguments: ["square", "rules"])
  func maps(_ name: String) throws {
    for kind in ConfidenceKind.allCases {
      let (found, golden) = try run(name, kind, .float32)
      let tap = "confidence." + (kind == .probability ? "best" : kind.rawValue)
      // Some rows of the photo.
      let wanted = try #require(try golden.reference()[tap])
      #expect(wanted.width == found.report.width && wanted.rows.count > 1)
      var worst: Float = 0
      for (index, row) in wanted.rows.enumerated() {
        let own = found.bytes[row * wanted.width..<(row + 1) * wanted.width]
        for (byte, value) in zip(own, wanted.row(index)) {
          let sure = kind == .entropy ? 1 - value : value
          worst = max(worst, abs(Float(byte) - 255 * sure))
        }
      }
      #expect(worst < 0.6, "\(name) \(kind): \(worst) of 255")
    }
  }

  @Test("means by label and of the photo") func means() throws {
    for kind in ConfidenceKind.allCases {
      let (found, _) = try run("square", kind, .int8)
      let sums = try #require(found.report.confidence)
      let pixels = found.report.refinement.pixels
      #expect(sums.kind == kind)
      for label in pixels.indices {
        let own = zip(found.bytes, found.labels).filter { Int($0.1) == label }.map { Double($0.0) }
        let mean = own.isEmpty ? nil : own.reduce(0, +) / Double(255 * own.count)
        #expect(sums.mean(of: label, pixels: pixels[label]) == mean)
      }
      let all = found.bytes.reduce(0.0) { $0 + Double($1) } / Double(255 * found.bytes.count)
      #expect(sums.mean(pixels: pixels) == all)
    }
  }
}
