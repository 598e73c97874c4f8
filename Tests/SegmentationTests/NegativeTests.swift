// Phrases whose pixels are of no class, and how sure the scores are of each pixel.
import Compute
import Segmentation
import TestSupport
import Testing

@Suite("Negatives and confidence", .serialized) struct NegativeTests {
  private static let golden = Result { try GoldenCase("toy-b") }

  /// What a class wins, the same words win as negative phrases: only the label's meaning changes.
  @Test(arguments: Effort.isEmulated ? [RefinementChoice.none] : [.none, .sam, .pamr, .crf])
  func negativesCompeteAsAClassDoes(_ refinement: RefinementChoice) throws {
    let golden = try Self.golden.get()
    let trident = try Trident(model: try golden.model())
    var options = try golden.options(.int8)
    options.refinement = refinement
    let lines = Array(golden.classLines.prefix(3))
    let asClass = try trident.segment(file: golden.photoPath, classes: lines, options: options)
    let asNegative = try trident.segment(
      file: golden.photoPath, classes: Array(lines.dropLast()),
      negatives: lines[2].split(separator: ";").map(String.init), options: options)
    #expect(asClass.labels == asNegative.labels)
    #expect(asNegative.pixelCounts.count == 3)
    // What is not sure enough is of no class, too: no label behind that one.
    options.unknownThreshold = 0.9
    let unsure = try trident.segment(
      file: golden.photoPath, classes: Array(lines.dropLast()),
      negatives: lines[2].split(separator: ";").map(String.init), options: options)
    #expect(unsure.pixelCounts.count == 3 && unsure.pixelCounts[2] >= asNegative.pixelCounts[2])
  }

  /// One or two words alone are asked beside neutral phrases; whoever says what becomes of the rest is not.
  @Test func autoIsSettledByWords() throws {
    func settled(
      _ classes: [String], background: Bool = false, negatives: [String] = [],
      _ change: (inout SegmentOptions) -> Void = { _ in }
    ) throws -> AbsentRule {
      var options = SegmentOptions()
      change(&options)
      let named = try NamedPhrases(
        try ClassList(arguments: classes, background: background), negatives: negatives,
        absent: options.absentForWords)
      #expect(named.absent != .auto)
      return named.settle(options).absent
    }
    #expect(SegmentOptions().absent == .auto)
    let (one, two, three) = (
      try settled(["cat"]), try settled(["cat; kitten", "sofa"]), try settled(["a", "b", "c"])
    )
    #expect(one == .relevancy && two == .relevancy && three == .keep)
    let with = try settled(["rest", "cat"], background: true)
    let own = try settled(["cat"], negatives: ["wall"])
    let neutral = try settled(["things", "cat"])
    #expect(with == .keep && own == .keep && neutral == .keep)
    let unsure = try settled(["cat"]) { $0.unknownThreshold = 0.2 }
    let low = try settled(["cat"]) { $0.probabilityThreshold = 0.2 }
    let radseg = try settled(["cat"]) { $0 = SegmentOptions(method: .radseg) }
    #expect(unsure == .keep && low == .keep && radseg == .keep)
    let gate = try settled(["cat"]) { $0.absent = .gate }
    #expect(gate == .gate)
  }

  /// Published configurations keep every class, and files name no rule that stands for itself.
  @Test func presetsKeepAllClasses() throws {
    for preset in SegmentOptions.Preset.allCases {
      for method in [MethodName.trident, .scCLIP] {
        let options = SegmentOptions(preset: preset, method: method)
        #expect(options.absent == .keep && options.absentForWords == .keep)
        #expect(!options.named.contains { $0.key == "absent" })
      }
    }
    #expect(!SegmentOptions().named.contains { $0.key == "absent" })
    // `keep` means nothing to other methods, and is no mistake there.
    var options = SegmentOptions(preset: .context59)
    try options.set("method", "radseg")
    try options.check(patches: [("c-radio", 16)])
  }

  @Test func relevancyBringsItsPhrases() throws {
    let golden = try Self.golden.get()
    let trident = try Trident(model: try golden.model())
    var options = try golden.options(.int8)
    (options.refinement, options.absent) = (.none, .gate)
    let classes = ["a dog"]
    let named = try trident.segment(
      file: golden.photoPath, classes: classes, negatives: AbsentRule.relevancy.phrases, options: options)
    options.absent = .relevancy
    let implied = try trident.segment(file: golden.photoPath, classes: classes, options: options)
    #expect(named.labels == implied.labels && implied.pixelCounts.count == 2)
    options.absent = .auto
    let asked = try trident.segment(file: golden.photoPath, classes: classes, options: options)
    #expect(asked.labels == implied.labels)
    options.absent = .keep
    let kept = try trident.segment(file: golden.photoPath, classes: classes, options: options)
    #expect(kept.pixelCounts.count == 1)
    options.absent = .relevancy
    let error = thrownError(SegmentationError.self) {
      try trident.segment(file: golden.photoPath, classes: ["things"], options: options)
    }
    #expect(error?.exitCode == 2)
  }

  @Test("rules leave negative phrases alone") func rules() {
    let gate = ClassRules(absent: .gate, hasNegatives: true)
    #expect(gate.keptByPatches([0.4, 0.5, 0.1]) == [false, true, true])
    // Nothing of what was named is an answer.
    #expect(gate.keptByPatches([0.4, 0.1, 0.9]) == [false, false, true])
    #expect(
      ClassRules(absent: .relative, hasNegatives: true).keptByPatches([0, 1, 9]) == [false, true, true])
    #expect(ClassRules(absent: .auto).keptByPatches([0, 1]) == [true, true])
    #expect(ClassRules(absent: .relevancy, hasNegatives: true).keptByPatches([0, 1]) == [false, true])
  }

  /// Confidences of a run, and the labels beside them.
  private func run(
    _ threads: Int, _ limit: MemoryLimit, _ change: (inout SegmentOptions) -> Void
  ) throws -> (confidence: [UInt8], labels: [UInt16]) {
    let golden = try Self.golden.get()
    var runtime = RuntimeOptions()
    runtime.threads = threads
    let session = try Session(modelPath: try golden.model(), runtime: runtime)
    let photo = try PhotoFile(path: try golden.photoPath)
    let words = try GoldenRun.prompts(session, golden.classLines)
    var options = try golden.options(.int8)
    change(&options)
    let plan = try session.plan(photo, words, options, confidence: true, within: limit)
    var found: (confidence: [UInt8], labels: [UInt16]) = ([], [])
    var sinks = RunSinks { y, line in
      // The row's confidence came first.
      if found.confidence.count != (y + 1) * photo.width { return false }
      found.labels.append(contentsOf: UnsafeBufferPointer(start: line, count: photo.width))
      return true
    }
    sinks.confidence = { _, row in
      found.confidence.append(contentsOf: UnsafeBufferPointer(start: row, count: photo.width))
      return true
    }
    let report = try session.run(photo, words, options, plan: plan, measures: false, sinks)
    for (planned, measured) in zip(plan.stages, report.stages) {
      #expect(planned.arenaByteCount == measured.arenaByteCount, "\(planned.name)")
    }
    return found
  }

  @Test func confidenceDependsOnNothingElse() throws {
    let wanted = try run(1, .ofRuntime) { $0.refinement = .none }
    #expect(Set(wanted.confidence).count > 3)
    for (threads, limit) in [(2, MemoryLimit.ofRuntime), (3, .smallest)] {
      let other = try run(threads, limit) { $0.refinement = .none }
      #expect(other.confidence == wanted.confidence && other.labels == wanted.labels)
    }
    let refined = try run(2, .ofRuntime) { _ in }
    #expect(refined.confidence == wanted.confidence)
    for kind in [ConfidenceKind.margin, .entropy] {
      let one = try run(1, .ofRuntime) { ($0.refinement, $0.confidenceKind) = (.none, kind) }
      let three = try run(3, .smallest) { $0.confidenceKind = kind }
      #expect(one.confidence == three.confidence && one.confidence != wanted.confidence)
      #expect(one.labels == wanted.labels)
    }
  }

  /// A threshold that divides the pixels by their confidence gives those below it to no class.
  @Test func confidenceIsWhatThresholdsCompare() throws {
    let wanted = try run(2, .ofRuntime) { $0.refinement = .none }
    let middle = wanted.confidence.sorted()[wanted.confidence.count / 2]
    let cut = try run(2, .ofRuntime) {
      $0.refinement = .none
      $0.unknownThreshold = Float(middle) / 255
    }
    let unknown = UInt16(try Self.golden.get().classLines.count)
    for (index, sure) in wanted.confidence.enumerated() where sure != middle {
      #expect((cut.labels[index] == unknown) == (sure < middle), "pixel \(index)")
    }
  }

  @Test func kindsOnNumbers() {
    func both(_ values: [Float], taking: Int? = nil) -> (margin: Float, entropy: Float) {
      values.withUnsafeBufferPointer {
        (
          ConfidenceKind.margin($0.baseAddress!, $0.count),
          ConfidenceKind.clarity($0.baseAddress!, $0.count, taking: taking ?? $0.count)
        )
      }
    }
    #expect(both([0.5, 0.5]).margin == 0 && abs(both([0.5, 0.5]).entropy) < 1e-6)
    #expect(both([1, 0, 0]).margin == 1 && abs(both([1, 0, 0]).entropy - 1) < 1e-6)
    // With one class nothing is left to confuse it with.
    #expect(both([0.7]).margin == 0.7 && both([0.7]).entropy == 1)
    // 0.9, 0.1: 0.325083 of log 2 = 0.693147. The sum of classes need not be 1, and one that is gone counts
    // not.
    for values in [[0.9, 0.1], [0.45, 0.05], [0.45, 0.05, 0]] as [[Float]] {
      #expect(abs(both(values, taking: 2).entropy - 0.531004) < 1e-5)
    }
    #expect(abs(both([0.2, 0.5, 0.3]).margin - 0.2) < 1e-6)
  }

  @Test func logarithm() {
    for step in 0..<2000 {
      let x = Float(step + 1) / 1000
      let close = abs(Double(naturalLogarithm(x)) - logarithm(Double(x)))
      #expect(close < 3e-7 * max(1, abs(logarithm(Double(x)))), "\(x)")
    }
    #expect(abs(naturalLogarithm(1e-30) + 69.077_55) < 1e-4)
  }

  /// ln x = 2^12 ln x^(1 / 2^12), and three terms of its series.
  private func logarithm(_ x: Double) -> Double {
    var root = x
    for _ in 0..<12 { root = root.squareRoot() }
    let t = (root - 1) / (root + 1)
    return 2 * 4096 * (t + t * t * t / 3 + t * t * t * t * t / 5)
  }
}
