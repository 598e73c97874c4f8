// BLIP beside photos: scores of texts against an independent computation in Python (Tests/Reference/blip.py).
import Compute
import Foundation
import Quantization
import Segmentation
import TestSupport
import Testing

/// The toy of Tests/Fixtures/golden-pnp.
enum BLIPToy {
  static func model() throws -> String {
    try GoldenModels.path("blip toy") { path in
      let golden = try GoldenCase("match", in: "golden-pnp")
      let source = try GoldenModels.unpack(golden.text("blip"), in: golden.folder)
      let request = QuantizationRequest(
        blip: source, vocabulary: golden.folder + (try golden.text("vocab")), output: path)
      _ = try ModelQuantizer(request) { _ in }.run()
    }
  }

  static func session(threads: Int = 2, limit: Int? = nil) throws -> Session {
    var runtime = RuntimeOptions()
    (runtime.threads, runtime.memoryLimit) = (threads, limit)
    return try Session(modelPath: try model(), runtime: runtime)
  }
}

@Suite("BLIP", .serialized)
struct BLIPTests {
  private func compared(
    _ precision: PrecisionChoice, threads: Int = 2, within limit: MemoryLimit = .ofRuntime
  ) throws -> MatchRun {
    let golden = try GoldenCase("match", in: "golden-pnp")
    var request = MatchRequest(try PhotoFile(path: golden.photoPath), golden.classLines)
    (request.precision, request.side) = (precision, try golden.int("side"))
    let session = try BLIPToy.session(threads: threads)
    let plan = try session.plan(request, within: limit)
    let run = try session.match(request, plan: plan, measures: false)
    #expect(run.stages.map(\.arenaByteCount) == plan.stages.map(\.arenaByteCount))
    return run
  }

  @Test(
    "match: logits and cosines",
    arguments: Effort.hasOpenBLAS ? [PrecisionChoice.float32, .int8] : [.int8])
  func match(_ precision: PrecisionChoice) throws {
    let golden = try GoldenCase("match", in: "golden-pnp")
    let reference = try #require(try golden.reference()["match"])
    let limit: Float = precision == .float32 ? 1e-4 : 0.05
    for (row, found) in try compared(precision).matches.enumerated() {
      let own = [found.logits.no, found.logits.yes, found.cosine]
      for (value, wanted) in zip(own, reference.row(row)) {
        #expect(abs(value - wanted) <= limit, "\(precision) text \(row): \(value), not \(wanted)")
      }
    }
  }

  @Test("match: threads and limits change no bit") func matchInvariance() throws {
    let first = try compared(.int8, threads: 1).matches
    #expect(try compared(.int8, threads: 3).matches == first)
    #expect(try compared(.int8, within: .smallest).matches == first)
  }

  @Test("match says what cannot be compared") func refusals() throws {
    let golden = try GoldenCase("match", in: "golden-pnp")
    let session = try BLIPToy.session()
    func refusal(_ texts: [String], side: Int = 96, _ session: Session) throws -> String {
      var request = MatchRequest(try PhotoFile(path: golden.photoPath), texts)
      request.side = side
      let error = thrownError(SegmentationError.self) { try session.plan(request) }
      return "\(error?.exitCode ?? 0) \(error?.description ?? "accepted")"
    }
    #expect(try refusal([], session).hasPrefix("2 no text"))
    #expect(try refusal(["cat"], side: 100, session).hasPrefix("2 --side 100"))
    #expect(try refusal([String(repeating: "cat ", count: 60)], session).contains("word pieces"))
    var runtime = RuntimeOptions()
    runtime.threads = 1
    let other = try Session(modelPath: try GoldenCase("toy-b").model(), runtime: runtime)
    #expect(try refusal(["cat"], other).hasPrefix("4 "))
  }
}
