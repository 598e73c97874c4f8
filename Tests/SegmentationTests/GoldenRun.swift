// One run of a golden case with everything recorded, and its stages under the reference's names.
import Compute
import Segmentation

/// Results of one run.
struct GoldenRun {
  var report: RunReport
  var labels: [UInt16]
  var scores: [Float]
  var taps: [String: Taps.Tap]
  var config: ModelConfig

  init(
    _ golden: GoldenCase, _ precision: PrecisionChoice, refinement: RefinementChoice? = nil,
    vectors: [Float]? = nil, threads: Int = 2
  ) throws {
    var options = try golden.options(precision)
    if let refinement { options.refinement = refinement }
    var runtime = RuntimeOptions()
    runtime.threads = threads
    let session = try Session(modelPath: try golden.model(), runtime: runtime)
    let taps = Taps()
    var wording = try Self.prompts(session, golden.classLines)
    if let vectors { wording = Wording(source: .vectors(vectors), phraseClass: wording.phraseClass) }
    self = try Self.run(session, try PhotoFile(path: try golden.photoPath), wording, options, taps: taps)
  }

  private init(
    _ report: RunReport, _ labels: [UInt16], _ scores: [Float], _ taps: Taps?, _ config: ModelConfig
  ) {
    (self.report, self.labels, self.scores, self.config) = (report, labels, scores, config)
    self.taps = taps?.all ?? [:]
  }

  /// The same case without refinement, with the words that this run encoded.
  func withoutRefinement(_ golden: GoldenCase, _ precision: PrecisionChoice) throws -> GoldenRun {
    try GoldenRun(
      golden, precision, refinement: RefinementChoice.none,
      vectors: taps["text.vectors"].map { rows in rows.sorted { $0.key < $1.key }.flatMap(\.value) })
  }

  /// The words of a run that encodes them itself.
  static func prompts(_ session: Session, _ lines: [String]) throws -> Wording {
    let classes = try ClassList(arguments: lines, background: false)
    return Wording(
      source: .prompts(PromptSource(phrases: classes.phrases, tokenizer: try session.makeTokenizer())),
      phraseClass: classes.classIndex.map { Int($0) })
  }

  /// Plans unless a plan is given, and runs.
  static func run(
    _ session: Session, _ photo: PhotoPixels, _ wording: Wording, _ options: SegmentOptions,
    plan: MemoryPlan? = nil, taps: Taps? = nil, failingReservation: Int? = nil
  ) throws -> GoldenRun {
    let plan = try plan ?? session.plan(photo, wording, options, scores: true)
    var labels: [UInt16] = []
    var scores: [Float] = []
    var sinks = RunSinks { _, line in
      labels.append(contentsOf: UnsafeBufferPointer(start: line, count: photo.width))
      return true
    }
    sinks.scores = { _, _, _ in { scores.append(contentsOf: UnsafeBufferPointer(start: $0, count: $1)) } }
    sinks.taps = taps
    let report = try session.run(
      photo, wording, options, plan: plan, measures: false, sinks, failingReservation: failingReservation)
    return GoldenRun(report, labels, scores, taps, session.model.config)
  }
}

/// What a stage's numbers are compared with, row by row: taps carry the reference's names.
extension GoldenRun {
  /// Row `row` of the array that the reference calls `name`; nil where this run did not record it.
  func row(_ name: String, _ row: Int, _ array: ReferenceTaps.Array) -> ArraySlice<Float>? {
    if name == "scores.classes" {
      return scores.count == array.shape.reduce(1, *)
        ? scores[row * array.width..<(row + 1) * array.width] : nil
    }
    // One row of scalars.
    if array.shape.count == 1, let tap = taps[name], tap[0]?.count == 1 {
      return (0..<array.width).compactMap { tap[$0]?.first }[...]
    }
    // Heads of a stacked array are recorded one by one.
    let tokens = array.shape.count == 3 ? array.shape[1] : 0
    let own = tokens > 0 ? taps["\(name).\(row / tokens)"]?[row % tokens] : taps[name]?[row]
    guard let own, array.width <= own.count else { return nil }
    return own.prefix(array.width)
  }
}
