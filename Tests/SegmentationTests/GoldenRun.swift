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
    try GoldenRun(golden, precision, refinement: RefinementChoice.none, vectors: taps["text.vectors"]?.values)
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
    let plan = try plan ?? session.plan(photo, wording, options)
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
    return GoldenRun(report, labels, scores, taps, session.reader.config)
  }
}

/// What a stage's numbers are compared with, row by row.
extension GoldenRun {
  /// Row `row` of the array that the reference calls `name`; nil where this run did not record it.
  func row(_ name: String, _ row: Int, _ array: ReferenceTaps.Array) -> ArraySlice<Float>? {
    let parts = name.split(separator: ".").map(String.init)
    switch name {
    case "text.vectors", "sam.embed", "sam.neck": return tap(name, row, array.width)
    case "splice.canvas": return tap("canvas", row, array.width)
    case "affinity.features": return aggregated(row, array.width)
    case "affinity.strip", "affinity.1.strip": return affinity(row, array.width)
    case "scores.classes":
      return scores.count == array.shape.reduce(1, *)
        ? scores[row * array.width..<(row + 1) * array.width] : nil
    case "refine.regions": return tap("refine.region.\(row)", 0, array.width)
    case "refine.iou": return (0..<array.width).compactMap { taps["refine.iou.\($0)"]?.values.first }[...]
    default: break
    }
    if parts[0] == "refine", parts.count == 3 { return tap(name, row, array.width) }
    if parts.count == 3, parts[0] == "sam", parts[1] == "blocks" {
      return tap("sam.block.\(parts[2])", row, array.width)
    }
    if parts.count == 2, parts[0] == "sam", parts[1] == "k" || parts[1] == "v" {
      let tokens = array.shape[1]
      return tap("sam.last.\(parts[1]).\(row / tokens)", row % tokens, array.width)
    }
    guard parts.count >= 3, let window = Int(parts.last!) else { return nil }
    switch parts[0] + "." + parts[1] {
    case "dino.blocks", "clip.blocks":
      return grouped("\(parts[0]).block.\(parts[2])", window, row, array)
    case "dino.embed": return grouped("dino.embed", window, row, array)
    case "clip.embed", "dino.features": return tap(name, row, array.width)
    case "clip.values": return heads(name, row, array.width)
    case "proxy.output": return tap("clip.proxy.\(window)", row, array.width)
    default: return nil
    }
  }

  private func tap(_ name: String, _ row: Int, _ width: Int) -> ArraySlice<Float>? {
    guard let tap = taps[name] else { return nil }
    let stride = tap.shape.last!
    guard width <= stride, row * stride + width <= tap.values.count else { return nil }
    return tap.values[row * stride..<row * stride + width]
  }

  /// Windows go through the blocks in groups that are recorded under their first window.
  private func grouped(_ name: String, _ window: Int, _ row: Int, _ array: ReferenceTaps.Array) -> ArraySlice<
    Float
  >? {
    for first in stride(from: window, through: 0, by: -1) where taps["\(name).\(first)"] != nil {
      return tap("\(name).\(first)", (window - first) * array.shape[0] + row, array.width)
    }
    return nil
  }

  /// Heads are padded to whole lanes.
  private func heads(_ name: String, _ row: Int, _ width: Int) -> ArraySlice<Float>? {
    let clip = config.clip
    guard let padded = tap(name, row, clip.inner) else { return nil }
    var values: [Float] = []
    for head in 0..<clip.heads {
      values += padded[(padded.startIndex + head * clip.paddedHead)...].prefix(clip.headWidth)
    }
    return values[...]
  }

  /// Strips of cells are recorded under their first cell.
  private func aggregated(_ cell: Int, _ width: Int) -> ArraySlice<Float>? {
    for first in stride(from: cell, through: 0, by: -1) {
      guard let tap = taps["aggregated.\(first)"] else { continue }
      guard cell - first < tap.shape[0] else { return nil }
      return self.tap("aggregated.\(first)", cell - first, width)
    }
    return nil
  }

  /// Sums over heads, made to sum to 1.
  private func affinity(_ cell: Int, _ width: Int) -> ArraySlice<Float>? {
    guard let row = tap("affinity.\(cell)", 0, width) else { return nil }
    let sum = row.reduce(0, +)
    return row.map { $0 / sum }[...]
  }
}
