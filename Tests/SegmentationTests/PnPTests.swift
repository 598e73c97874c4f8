// BLIP and PnP-OVSS stage by stage against an independent computation in Python (Tests/Reference/pnp.py).
import Compute
import Foundation
import Quantization
import Segmentation
import TestSupport
import Testing

/// One folder of Tests/Fixtures/golden-pnp.
struct PnPCase {
  static let names = Effort.isEmulated ? ["background"] : ["plain", "background", "groups", "once"]

  let name: String
  let golden: GoldenCase

  init(_ name: String) throws {
    self.name = name
    golden = try GoldenCase(name, in: "golden-pnp")
  }

  var classes: ClassList {
    get throws {
      try ClassList(arguments: golden.classLines, background: golden.text("background") == "true")
    }
  }

  func options(_ precision: PrecisionChoice, _ refinement: RefinementChoice = .crf) throws -> SegmentOptions {
    var options = SegmentOptions(method: .pnpOVSS)
    (options.precision, options.refinement) = (precision, refinement)
    (options.shortSide, options.rounds) = (try golden.int("side"), try golden.int("rounds"))
    (options.attentionLayer, options.attentionHead) = (try golden.int("layer"), try golden.int("head"))
    options.blankedPatches = try golden.int("blanked")
    (options.mapThreshold, options.blur) = (try golden.float("threshold"), try golden.float("blur"))
    return options
  }

  /// The classes that the reference was told of, or none.
  func wording(isGiven: Bool = true) throws -> Wording {
    let list = try classes
    let names = try golden.text("present").split(separator: ",").map(String.init)
    let present = names.compactMap { name in list.names.firstIndex(of: name) }
    return Wording(
      source: .unused, phraseClass: list.classIndex.map { Int($0) }, background: list.background,
      phrases: list.phrases, present: isGiven ? present : nil)
  }

  func run(
    _ options: SegmentOptions, _ session: Session, _ wording: Wording? = nil, plan: MemoryPlan? = nil,
    taps: Taps? = nil
  ) throws -> GoldenRun {
    let photo = try PhotoFile(path: golden.photoPath)
    return try GoldenRun.run(
      session, photo, wording ?? self.wording(), options, plan: plan, taps: taps)
  }
}

/// Cosine and Euclidean difference, relative to the reference, of the rows that it kept.
private struct Nearness {
  var dot = 0.0, own = 0.0, theirs = 0.0, difference = 0.0
  var count = 0

  mutating func add(_ a: ArraySlice<Float>, _ b: ArraySlice<Float>) {
    for (x, y) in zip(a, b) {
      let (x, y) = (Double(x), Double(y))
      dot += x * y
      own += x * x
      theirs += y * y
      difference = max(difference, abs(x - y))
      count += 1
    }
  }

  var cosine: Double { dot / max((own * theirs).squareRoot(), 1e-300) }
}

@Suite("PnP-OVSS", .serialized)
struct PnPTests {
  /// A stage's numbers beside the reference's; nil where it was not recorded or has another shape.
  private func nearness(_ name: String, _ reference: ReferenceTaps, _ taps: Taps) -> Nearness? {
    guard let array = reference[name], let tap = taps.all[name] else { return nil }
    var found = Nearness()
    for (index, row) in array.rows.enumerated() {
      guard let own = tap[row], own.count >= array.width else { return nil }
      found.add(own[..<array.width], array.row(index))
    }
    return found
  }

  private static func largest(_ array: ReferenceTaps.Array) -> Double {
    array.values.reduce(0) { max($0, Double(abs($1))) }
  }

  /// The same patches, in the same order.
  private func blanked(_ reference: ReferenceTaps, _ taps: Taps) -> (same: Int, all: Int) {
    let (theirs, own) = (reference["pnp.blanked"]?.values ?? [], taps.all["pnp.blanked"]?[0] ?? [])
    return (Set(own).intersection(theirs).count, theirs.count)
  }

  @Test(
    "float32, stage by stage",
    .needsOpenBLAS,
    arguments: PnPCase.names)
  func float32(_ name: String) throws {
    let test = try PnPCase(name)
    let (taps, reference) = (Taps(), try test.golden.reference())
    let run = try test.run(test.options(.float32, .none), BLIPToy.session(), taps: taps)
    var seen = 0
    for stage in reference.names where !["pnp.blanked", "match", "pnp.clear"].contains(stage) {
      guard let array = reference[stage], let found = nearness(stage, reference, taps) else { continue }
      seen += 1
      let limit = stage.hasPrefix("pnp.logits") ? 1e-4 : max(Self.largest(array), 1e-12) * 2e-4
      let what: Comment = "\(name): \(stage) is \(found.difference) off, cosine \(found.cosine)"
      #expect(found.difference <= limit, what)
    }
    // Tokens, logits, attention and gradient of every round; maps; channels.
    let rounds = try test.golden.int("rounds")
    #expect(seen >= 3 + 3 * rounds, "\(name): \(seen) stages")
    let patches = blanked(reference, taps)
    #expect(patches.same == patches.all, "\(name): \(patches.same) of \(patches.all) patches")
    let agreement = share(run.labels, try test.golden.labels("coarse"))
    print("pnp float32 \(name): \(seen) stages, coarse labels \(agreement)")
    #expect(agreement >= 0.995)
  }

  @Test(
    "float32, the dense field",
    .needsOpenBLAS,
    arguments: PnPCase.names)
  func field(_ name: String) throws {
    let test = try PnPCase(name)
    // Of more than 16 classes those take part that win most pixels before.
    if try test.classes.count > GuidedRefinement.classLimit { return }
    let (taps, reference) = (Taps(), try test.golden.reference())
    let run = try test.run(test.options(.float32), BLIPToy.session(), taps: taps)
    let blurred = try #require(nearness("pnp.blurred", reference, taps))
    #expect(blurred.difference <= 2e-3, "\(name): channels are \(blurred.difference) off")
    let agreement = share(run.labels, try test.golden.labels("final"))
    print("pnp float32 \(name): channels \(blurred.difference), labels \(agreement)")
    #expect(agreement >= 0.995)
  }

  @Test("int8", arguments: PnPCase.names) func int8(_ name: String) throws {
    let test = try PnPCase(name)
    let (taps, reference) = (Taps(), try test.golden.reference())
    let run = try test.run(test.options(.int8, .none), BLIPToy.session(), taps: taps)
    let tokens = try #require(nearness("blip.tokens.0", reference, taps))
    let slopes = try #require(nearness("pnp.G.0.0", reference, taps))
    let maps = try #require(nearness("pnp.maps", reference, taps))
    let patches = blanked(reference, taps)
    let agreement = share(run.labels, try test.golden.labels("coarse"))
    let cosines = "tokens \(tokens.cosine), G \(slopes.cosine), maps \(maps.cosine)"
    print("pnp int8 \(name): \(cosines), patches \(patches.same)/\(patches.all), labels \(agreement)")
    #expect(tokens.cosine >= 0.999)
    #expect(slopes.cosine >= 0.99)
    #expect(maps.cosine >= 0.97)
    #expect(agreement >= 0.9)
  }

  @Test("threads and limits change no bit; what is planned is what is taken", arguments: ["background"])
  func invariance(_ name: String) throws {
    let test = try PnPCase(name)
    let first = try test.run(test.options(.int8), BLIPToy.session(threads: 1))
    func same(_ other: GoldenRun, _ what: String) {
      #expect(first.labels == other.labels, "labels differ: \(what)")
      #expect(first.scores.map(\.bitPattern) == other.scores.map(\.bitPattern), "scores differ: \(what)")
      let (own, planned) = (other.report.stages, other.report.plan.stages)
      #expect(own.map(\.name) == planned.map(\.name), "\(what)")
      #expect(own.map(\.arenaByteCount) == planned.map(\.arenaByteCount), "\(what)")
    }
    for threads in 2...3 {
      same(try test.run(test.options(.int8), BLIPToy.session(threads: threads)), "\(threads) threads")
    }
    let (session, photo) = (try BLIPToy.session(), try PhotoFile(path: try test.golden.photoPath))
    let least = try session.plan(
      photo, test.wording(), test.options(.int8), scores: true, within: .smallest)
    same(try test.run(test.options(.int8), session, plan: least), "smallest plan")
  }

  /// Few classes are asked one by one; of many the nearest ones, and words are then encoded.
  @Test("BLIP says what is there") func presence() throws {
    let test = try PnPCase("plain")
    let reference = try #require(try test.golden.reference()["match"])
    let run = try test.run(test.options(.int8, .none), BLIPToy.session(), test.wording(isGiven: false))
    let found = try #require(run.report.found)
    #expect(found.rule == .match)
    #expect(run.report.stages.map(\.arenaByteCount) == run.report.plan.stages.map(\.arenaByteCount))
    for (row, match) in found.matches.enumerated() {
      let probability = try #require(match.probability)
      #expect(abs(probability - reference.row(row).last!) < 0.02, "class \(row)")
      #expect(match.cosine == nil && match.label == row)
    }
    let present = Set(found.matches.filter(\.isPresent).map { UInt16($0.label) })
    #expect(!present.isEmpty && Set(run.labels).isSubset(of: present))
    let given = try test.run(test.options(.int8, .none), BLIPToy.session()).report.found
    #expect(given?.rule == .given && given?.matches.allSatisfy(\.isPresent) == true)
  }

  @Test("a description is refused: names are all that is read") func noDescriptions() throws {
    let session = try BLIPToy.session()
    let list = try ClassList(arguments: ["dog", "cat := a pet"], background: false)
    let error = thrownError(SegmentationError.self) {
      try session.check(NamedPhrases(list, negatives: []), hasTemplates: false)
    }
    #expect(error?.exitCode == 2 && error?.description.hasPrefix("'cat' has a description") == true)
    let plain = try NamedPhrases(ClassList(arguments: ["dog", "cat"], background: false), negatives: [])
    try session.check(plain, hasTemplates: false)
    let sentences = thrownError(SegmentationError.self) { try session.check(plain, hasTemplates: true) }
    #expect(sentences?.description.hasPrefix("--templates is for") == true)
  }

  @Test("of many classes the nearest 16 are asked") func shortList() throws {
    let test = try PnPCase("groups")
    let session = try BLIPToy.session()
    let list = try test.classes
    var wording = try test.wording(isGiven: false)
    let source = PromptSource(phrases: list.phrases, tokenizer: try session.makeTokenizer())
    wording.source = .prompts(source)
    let run = try test.run(test.options(.int8, .none), session, wording)
    let matches = try #require(run.report.found?.matches)
    #expect(matches.count == list.count && matches.allSatisfy { $0.cosine != nil })
    let asked = matches.filter { $0.probability != nil }
    #expect(asked.count == 16)
    let least = asked.compactMap(\.cosine).min() ?? 1
    #expect(matches.filter { $0.probability == nil }.allSatisfy { ($0.cosine ?? 0) <= least })
  }

  /// Behind the last layer only the first token's state is read: no name's attention there has a gradient.
  @Test("a layer that tells nothing gives the first class, not numbers that are none") func nothing() throws {
    let test = try PnPCase("once")
    var options = try test.options(.int8)
    options.attentionLayer = 4
    for refinement in [RefinementChoice.none, .crf, .pamr] {
      options.refinement = refinement
      let run = try test.run(options, BLIPToy.session())
      #expect(run.labels.allSatisfy { $0 == 0 }, "\(refinement)")
    }
  }

  @Test("options that cannot work are refused") func refusals() throws {
    let test = try PnPCase("plain")
    let (session, photo) = (try BLIPToy.session(), PhotoSize(width: 64, height: 48))
    func refusal(_ change: (inout SegmentOptions) -> Void, _ wording: Wording? = nil) throws -> String {
      var options = try test.options(.int8)
      change(&options)
      let words = try wording ?? test.wording()
      let error = thrownError(SegmentationError.self) { try session.plan(photo, words, options) }
      return "\(error?.exitCode ?? 0) \(error?.description ?? "accepted")"
    }
    #expect(try refusal { $0.attentionLayer = 5 }.hasPrefix("2 --attention-layer 5"))
    #expect(try refusal { $0.attentionHead = 3 }.hasPrefix("2 --attention-head 3"))
    #expect(try refusal { $0.shortSide = 100 }.hasPrefix("2 --short-side 100"))
    #expect(try refusal { $0.rounds = 20 }.hasPrefix("2 --rounds 20"))
    #expect(try refusal { $0.refinement = .sam }.hasPrefix("2 --method pnp-ovss has no SAM"))
    var words = try test.wording()
    words.phrases[1] = String(repeating: "sofa ", count: 60)
    #expect(try refusal({ _ in }, words).contains("word pieces"))
    let other = thrownError(SegmentationError.self) {
      try session.plan(photo, test.wording(), SegmentOptions(method: .scCLIP))
    }
    #expect(other?.exitCode == 4)
  }
}
