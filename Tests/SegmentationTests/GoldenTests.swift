// Every stage of the toy networks against an independent computation in Python.
import Compute
import Segmentation
import TestSupport
import Testing

/// Agreement of one array.
struct StageAgreement {
  var name: String
  /// Largest difference, and the same as a share of the reference's root mean square.
  var error: Float = 0
  var relative: Float = 0
  /// Mean cosine of rows.
  var cosine = 0.0

  init?(_ name: String, _ array: ReferenceTaps.Array, _ run: GoldenRun) {
    // Logits below the photo are not computed.
    self.init(name, array, mayLackRows: name.hasPrefix("refine.logits")) { run.row(name, $0, array) }
  }

  init?<Row: Sequence<Float>>(
    _ name: String, _ array: ReferenceTaps.Array, mayLackRows: Bool, _ find: (Int) -> Row?
  ) {
    self.name = name
    var squares = 0.0
    var count = 0
    for (index, row) in array.rows.enumerated() {
      guard let ours = find(row) else {
        if mayLackRows { continue }
        return nil
      }
      count += array.width
      var (product, own, theirs) = (0.0, 0.0, 0.0)
      for (a, b) in zip(ours, array.row(index)) {
        error = a.isFinite ? max(error, abs(a - b)) : .infinity
        product += Double(a * b)
        own += Double(a * a)
        theirs += Double(b * b)
      }
      squares += theirs
      cosine += own * theirs > 0 ? product / (own * theirs).squareRoot() : own == theirs ? 1 : 0
    }
    guard count > 0 else { return nil }
    cosine /= Double(count / array.width)
    relative = error / max(1e-9, Float((squares / Double(count)).squareRoot()))
  }
}

func share<Label: BinaryInteger>(_ a: [UInt16], _ b: [Label]) -> Double {
  guard a.count == b.count, !a.isEmpty else { return 0 }
  return Double(zip(a, b).count { Int($0) == Int($1) }) / Double(a.count)
}

private func percent(_ share: Double) -> String { "\((share * 1_000_000).rounded() / 10_000) %" }

@Suite("Golden", .serialized)
struct GoldenTests {
  /// Stages that a case with everything stored must not lack.
  private static let required = [
    "text.vectors", "dino.embed.0", "dino.blocks.0.0", "dino.features.0", "clip.embed.0",
    "clip.blocks.0.0", "clip.values.0", "proxy.output.0", "splice.canvas", "sam.embed", "sam.blocks.0",
    "sam.k", "sam.v",
    "sam.neck", "affinity.strip", "affinity.features", "scores.classes", "refine.regions",
    "refine.logits.0", "refine.iou",
  ]
  private static let full: Set = ["toy-b", "toy-h", "toy-l", "toy-dino8", "toy-dinov2"]
  /// DINO's own stages.
  private static let requiredOfDINO = [
    "dino.embed.0", "dino.blocks.1.0", "dino.features.0", "proxy.output.0",
  ]
  private static let fullDINO: Set = ["toy-dinov2-reg", "toy-dinov2-wide", "toy-dinov2-hf", "toy-dinov2-g"]
  // Under emulation all networks: what the other cases change is the same code on every processor.
  private static let emulated: Set = ["toy-b", "toy-h", "toy-l", "toy-dino8", "toy-dinov2-g"]
  static let caseNames = GoldenCase.names.filter { !Effort.isEmulated || emulated.contains($0) }

  /// All stages in the order in which they are computed.
  private func stages(_ golden: GoldenCase, _ run: GoldenRun) throws -> [StageAgreement] {
    let reference = try golden.reference()
    let rank = { (name: String) in
      ["text", "dino", "clip", "proxy", "splice", "sam", "affinity", "scores", "refine"].firstIndex {
        name.hasPrefix($0 + ".")
      } ?? 99
    }
    let names = reference.names.enumerated().sorted {
      (rank($0.element), $0.offset) < (rank($1.element), $1.offset)
    }
    let found = names.compactMap { name in
      reference[name.element].flatMap { StageAgreement(name.element, $0, run) }
    }
    let isFull = Self.full.contains(golden.name)
    let wanted = isFull ? Self.required : Self.fullDINO.contains(golden.name) ? Self.requiredOfDINO : []
    for name in wanted {
      #expect(found.contains { $0.name == name }, "\(golden): \(name) was not recorded")
    }
    #expect(found.contains { $0.name == "scores.classes" }, "\(golden): no scores")
    return found
  }

  private func show(_ golden: GoldenCase, _ precision: String, _ stages: [StageAgreement]) {
    var worst: [String: (Float, Double)] = [:]
    var order: [String] = []
    for stage in stages {
      let name = stage.name.split(separator: ".").filter { Int($0) == nil }.joined(separator: ".")
      if worst[name] == nil { order.append(name) }
      let old = worst[name] ?? (0, 1)
      worst[name] = (max(old.0, stage.error), min(old.1, stage.cosine))
    }
    for name in order {
      print("golden \(precision) \(golden) \(name): max error \(worst[name]!.0), cosine \(worst[name]!.1)")
    }
  }

  /// Float32 mode computes with the same stored weights as the reference: every stage agrees to rounding.
  @Test(
    "float32, stage by stage",
    .needsOpenBLAS,
    arguments: Effort.isEmulated ? ["toy-b"] : caseNames)
  func float32(_ name: String) throws {
    let golden = try GoldenCase(name)
    let run = try GoldenRun(golden, .float32)
    let stages = try stages(golden, run)
    show(golden, "float32", stages)
    // Rounding grows over blocks; the scores themselves have a bound of their own. docs/parity.md claims no
    // more.
    let wrong = stages.first { $0.name.contains("scores") ? $0.error > 5e-6 : $0.relative > 5e-5 }
    if let wrong { Issue.record("\(golden): \(wrong.name) is the first stage out of tolerance: \(wrong)") }
    let final = share(run.labels, try golden.labels("final"))
    let plain = try golden.refines ? run.withoutRefinement(golden, .float32) : run
    let coarse = share(plain.labels, try golden.labels("coarse"))
    print("golden float32 \(golden) labels: coarse \(percent(coarse)), final \(percent(final))")
    #expect(coarse == 1)
    #expect(final == 1)
    try checkRegions(golden, run)
  }

  /// As many regions are refined, and fail, as in the reference.
  private func checkRegions(_ golden: GoldenCase, _ run: GoldenRun) throws {
    guard let iou = try golden.reference()["refine.iou"] else { return }
    let threshold = try golden.options(.float32).iouThreshold
    let failed = iou.values.count { $0 <= threshold }
    #expect(run.report.refinement.failed == failed)
    #expect(run.report.refinement.refined == iou.values.count - failed)
    #expect(run.report.refinement.dropped == 0)
  }

  /// Every stored prompt, tokenized: the marks, the merges of the case's vocabulary, zeros to the end.
  @Test("tokens", arguments: ["toy-b", "toy-h", "toy-l", "toy-dino8"])
  func tokens(_ name: String) throws {
    let golden = try GoldenCase(name)
    let expected = try #require(try golden.reference()["text.tokens"])
    let session = try Session(modelPath: try golden.model(), runtime: RuntimeOptions())
    guard case .bytePairs(let tokenizer) = try session.makeTokenizer() else {
      Issue.record("CLIP's tokenizer joins bytes")
      return
    }
    let phrases = try ClassList(arguments: golden.classLines, background: false).phrases
    let count = PromptTemplates.imageNet.count
    for (index, row) in expected.rows.enumerated() {
      let tokens = tokenizer.tokens(PromptTemplates.prompt(phrases[row / count], template: row % count)).map(
        Float.init)
      let padded = tokens + Array(repeating: 0, count: expected.width - tokens.count)
      #expect(padded == Array(expected.row(index)), "\(golden): prompt \(row)")
    }
  }

  /// INT8 activations: close in direction, and nearly all coarse labels the same.
  @Test("int8", arguments: caseNames)
  func int8(_ name: String) throws {
    let golden = try GoldenCase(name)
    let run = try GoldenRun(golden, .int8)
    let stages = try stages(golden, run)
    show(golden, "int8", stages)
    if let features = stages.first(where: { $0.name == "affinity.features" }) {
      #expect(features.cosine >= 0.995)
    }
    let plain = try golden.refines ? run.withoutRefinement(golden, .int8) : run
    let coarse = share(plain.labels, try golden.labels("coarse"))
    let final = share(run.labels, try golden.labels("final"))
    print("golden int8 \(golden) labels: coarse \(percent(coarse)), final \(percent(final))")
    let scores = try #require(stages.first { $0.name == "scores.classes" })
    #expect(scores.cosine >= 0.995)
    #expect(coarse >= 0.98)
    // Whether a region is refined hangs on its predicted IoU, which random weights put near the threshold;
    // its mask's outline on logits near zero, its point on a flat maximum: whole regions flip. Measured:
    // 73.1 % (toy-dino8) to 97.6 % (toy-h). What INT8 alone costs shows in the coarse labels above.
    let floor = try golden.refines ? 0.72 : 0.98
    #expect(final >= floor)
  }
}
