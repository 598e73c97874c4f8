// The rule `purify`, step by step against FreeCP as Tests/Reference/absent.py has it, and what must never
// change its answers.
import Compute
import Segmentation
import TestSupport
import Testing

/// A golden case and what the reference's purify makes of it (Tests/Reference/make_purify.py).
private struct PurityCase {
  let golden: GoldenCase
  let reference: ReferenceTaps
  let session: Session
  let photo: PhotoFile
  var wording: Wording

  init(_ name: String, threads: Int = 2) throws {
    golden = try GoldenCase(name, in: name.hasPrefix("toy") ? "golden" : "golden-scclip")
    reference = try ReferenceTaps(path: golden.folder + name + "/purify.taps")
    var runtime = RuntimeOptions()
    runtime.threads = threads
    session = try Session(modelPath: try golden.model(), runtime: runtime)
    photo = try PhotoFile(path: try golden.photoPath)
    wording = try GoldenRun.prompts(session, golden.classLines)
  }

  func options(_ precision: PrecisionChoice = .int8, _ rule: AbsentRule = .purify) throws -> SegmentOptions {
    var options = try golden.options(precision)
    (options.absent, options.redundancy) = (rule, try values("absent.redundancy")[0])
    (options.probabilityThreshold, options.areaThreshold) = (0, -1)
    options.refinement = .none
    return options
  }

  func run(
    _ precision: PrecisionChoice = .int8, _ rule: AbsentRule = .purify, plan: MemoryPlan? = nil,
    taps: Taps? = nil
  ) throws -> GoldenRun {
    try GoldenRun.run(session, photo, wording, try options(precision, rule), plan: plan, taps: taps)
  }

  func values(_ name: String) throws -> [Float] { try #require(reference[name]).values }
}

private func purities(_ run: GoldenRun) -> [Float] { run.report.presence.map { $0.purity ?? -1 } }

@Suite("Purify", .serialized)
struct PurityTests {
  static let names =
    Effort.isEmulated
    ? ["square", "toy-b"]
    : ["square", "rules", "large", "toy-b", "toy-dino8", "toy-dinov2", "toy-b-no-dino", "toy-l"]
  private static let few = Effort.isEmulated ? ["square"] : ["square", "toy-b"]

  // MARK: Against the reference

  /// Two steps of the walk: the square of the recorded one.
  private func square(_ step: Taps.Tap) -> [[Float]] {
    let rows = step.sorted { $0.key < $1.key }.map(\.value)
    return rows.map { row in
      var out = [Float](repeating: 0, count: row.count)
      for (factor, other) in zip(row, rows) {
        for column in out.indices { out[column] += factor * other[column] }
      }
      return out
    }
  }

  @Test(
    "float32, step by step",
    .needsOpenBLAS,
    arguments: names)
  func steps(_ name: String) throws {
    let one = try PurityCase(name)
    let run = try one.run(.float32, taps: Taps())
    let blocks = try #require(run.config.clip?.vision)
    let mean = 1 / Float(blocks.blocks.heads * (blocks.depth - 1))
    var met: Set<String> = []
    for tap in one.reference.names where tap.split(separator: ".").count == 3 && tap.last!.isNumber {
      let array = try #require(one.reference[tap])
      let window = tap.split(separator: ".")[2]
      let found: StageAgreement?
      if tap.hasPrefix("absent.attention") {
        found = StageAgreement(tap, array, mayLackRows: false) { run.taps[tap]?[$0]?.map { $0 * mean } }
      } else if tap.hasPrefix("absent.walk") {
        let twice = square(try #require(run.taps["absent.step.\(window)"]))
        found = StageAgreement(tap, array, mayLackRows: false) { twice[$0] }
      } else {
        found = StageAgreement(tap, array, run)
      }
      let stage = try #require(found, "\(name): no \(tap)")
      print("purify float32 \(name) \(tap): \(stage.error), relative \(stage.relative)")
      #expect(stage.error < (tap.hasPrefix("absent.scores") ? 5e-6 : 2e-4), "\(name): \(stage)")
      met.insert(String(tap.split(separator: ".")[1]))
    }
    #expect(met.isSuperset(of: ["attention", "walk", "probability", "boxed", "refined", "ratio"]), "\(met)")
    for (own, wanted) in zip(purities(run), try one.values("absent.ratios")) {
      #expect(abs(own - wanted) < 1e-4, "\(name)")
    }
    try keepsWhatTheReferenceKeeps(one, run)
  }

  private func keepsWhatTheReferenceKeeps(_ one: PurityCase, _ run: GoldenRun) throws {
    let kept = try one.values("absent.kept.purify").map { $0 > 0 }
    #expect(kept.contains(true) && kept.contains(false))
    #expect(run.report.presence.map { !$0.isDropped } == kept, "\(one.golden)")
    #expect(run.labels.allSatisfy { kept[Int($0)] })
  }

  @Test("int8", arguments: names)
  func int8(_ name: String) throws {
    let one = try PurityCase(name)
    let run = try one.run()
    let wanted = try one.values("absent.ratios")
    let worst = zip(purities(run), wanted).map { abs($0 - $1) }.max() ?? 0
    print("purify int8 \(name): ratios within \(worst)")
    #expect(worst < 0.05)
    try keepsWhatTheReferenceKeeps(one, run)
  }

  @Test(
    "a background is a rival and no class", .needsOpenBLAS,
    arguments: few)
  func background(_ name: String) throws {
    var one = try PurityCase(name)
    one.wording.background = true
    let run = try one.run(.float32)
    for (own, wanted) in zip(purities(run), try one.values("absent.background.ratios")) {
      #expect(abs(own - wanted) < 1e-4, "\(name)")
    }
    #expect(!run.report.presence[0].isDropped)
  }

  @Test("negative phrases are rivals and no class; with them, nothing may be kept")
  func negatives() throws {
    var one = try PurityCase("square")
    one.wording.hasNegatives = true
    var options = try one.options()
    let last = one.wording.phraseClass.last!
    #expect(ClassPurity(one.wording).tested == 0..<last)
    let run = try GoldenRun.run(one.session, one.photo, one.wording, options)
    #expect(run.report.presence[last].purity == 0 && !run.report.presence[last].isDropped)
    options.redundancy = 0.5
    let none = try GoldenRun.run(one.session, one.photo, one.wording, options)
    #expect(none.report.presence.map { !$0.isDropped } == (0...last).map { $0 == last })
    #expect(none.labels.allSatisfy { $0 == UInt16(last) })
    one.wording.hasNegatives = false
    let all = try GoldenRun.run(one.session, one.photo, one.wording, options)
    #expect(all.report.presence.allSatisfy { !$0.isDropped })
  }

  /// A softmax over one phrase is 1 everywhere: nothing stands out, and the one class stays.
  @Test func oneWord() throws {
    let one = try PurityCase("square")
    let word = try GoldenRun.prompts(one.session, ["sofa"])
    let run = try GoldenRun.run(one.session, one.photo, word, try one.options())
    #expect(purities(run) == [0] && run.labels.allSatisfy { $0 == 0 })
  }

  @Test func boxes() throws {
    let arena = try Arena(capacity: 1 << 16)
    func marked(_ picture: [String]) throws -> [String] {
      let columns = picture[0].count
      let map = picture.joined().map { Float($0.wholeNumberValue ?? 0) / 9 }
      let boxes = try RegionBoxes(arena, rows: picture.count, columns: columns)
      map.withUnsafeBufferPointer { boxes.mark($0.baseAddress!) }
      return picture.indices.map { row in
        String((0..<columns).map { boxes.inside[row * columns + $0] == 1 ? "#" : "." })
      }
    }
    // Corners connect; 0.4 of the largest is left out; a box ends early at the last column and row.
    #expect(
      try marked(["9000000", "0900000", "0000000", "0000399", "0000000", "0000090"])
        == ["##.....", "##.....", ".......", ".....#.", ".......", "......."])
    // A hole lies inside its ring's box.
    #expect(try marked(["55500", "50500", "55500", "00000"]) == ["###..", "###..", "###..", "....."])
    #expect(try marked(["0000", "0000"]) == ["....", "...."])
    #expect(try marked(["5"]) == ["."])
  }

  // MARK: What must not change its answers

  private func same(_ a: GoldenRun, _ b: GoldenRun, _ what: String) {
    #expect(a.labels == b.labels, "labels differ: \(what)")
    #expect(a.scores.map(\.bitPattern) == b.scores.map(\.bitPattern), "scores differ: \(what)")
    #expect(purities(a).map(\.bitPattern) == purities(b).map(\.bitPattern), "ratios differ: \(what)")
  }

  /// Who asks for the rule gets the scores that others get.
  @Test("scores, threads, limits and tilings", arguments: few)
  func invariance(_ name: String) throws {
    let first = try PurityCase(name, threads: 1).run()
    let plain = try PurityCase(name, threads: 1).run(.int8, .keep)
    #expect(plain.scores.map(\.bitPattern) == first.scores.map(\.bitPattern))
    #expect(first.report.presence.contains { $0.isDropped })
    for threads in Effort.isEmulated ? 3...3 : 2...4 {
      same(first, try PurityCase(name, threads: threads).run(), "\(name), \(threads) threads")
    }
    let one = try PurityCase(name)
    var plan = try one.session.plan(one.photo, one.wording, try one.options(), scores: true)
    plan.stages[0].arenaByteCount = 128 << 20
    let axes: [(WritableKeyPath<Tiling, Int>, [Int])] = [
      (\.rows, [16]), (\.strip, [16, 3, 1]), (\.windows, [2, 1]),
    ]
    for (axis, values) in axes {
      for value in values {
        plan.tiling = TilingLadder.fastest
        plan.tiling[keyPath: axis] = value
        same(first, try one.run(plan: plan), "\(name), \(plan.tiling)")
      }
    }
  }

  @Test("plan and high-water mark agree; others pay nothing", arguments: few)
  func plans(_ name: String) throws {
    let one = try PurityCase(name)
    for precision in Effort.hasOpenBLAS ? [PrecisionChoice.int8, .float32] : [.int8] {
      for limit in [MemoryLimit.ofRuntime, .smallest] {
        let options = try one.options(precision)
        let plan = try one.session.plan(one.photo, one.wording, options, scores: true, within: limit)
        let run = try GoldenRun.run(one.session, one.photo, one.wording, options, plan: plan)
        #expect(plan.stages.map(\.name) == run.report.stages.map(\.name))
        for (planned, measured) in zip(plan.stages, run.report.stages) {
          #expect(
            planned.arenaByteCount == measured.arenaByteCount,
            "\(name) \(precision) \(limit): \(planned.name)")
        }
      }
    }
    func clip(_ rule: AbsentRule) throws -> StageEntry {
      let plan = try one.session.plan(one.photo, one.wording, try one.options(.int8, rule))
      return try #require(plan.stages.first { $0.name == "clip" })
    }
    let (keep, gate, purify) = (try clip(.keep), try clip(.gate), try clip(.purify))
    #expect(keep.arenaByteCount == gate.arenaByteCount && keep.work == gate.work)
    #expect(purify.arenaByteCount > keep.arenaByteCount && purify.work.float > keep.work.float)
  }

  @Test func failingReservations() throws {
    let one = try PurityCase("square")
    let options = try one.options()
    var failures = 0
    for reservation in stride(from: 0, to: 400, by: Effort.isEmulated ? 37 : 7) {
      do {
        _ = try GoldenRun.run(one.session, one.photo, one.wording, options, failingReservation: reservation)
      } catch is ComputeError { failures += 1 }
    }
    #expect(failures > 5)
  }

  /// A class that one tile keeps is kept everywhere.
  @Test func tiles() throws {
    let one = try PurityCase("square")
    var options = try one.options()
    let whole = try GoldenRun.run(one.session, one.photo, one.wording, options)
    (options.tile, options.overlap) = (64, 16)
    let tiled = try GoldenRun.run(one.session, one.photo, one.wording, options)
    #expect(purities(tiled).contains { $0 > 0 } && purities(tiled) != purities(whole))
    options.tile = 512
    let single = try GoldenRun.run(one.session, one.photo, one.wording, options)
    #expect(purities(single) == purities(whole) && single.labels == whole.labels)
    let other = try PurityCase("square", threads: 1)
    options.tile = 64
    let again = try GoldenRun.run(other.session, other.photo, other.wording, options)
    #expect(purities(again) == purities(tiled) && again.labels == tiled.labels)
  }

  // MARK: Options

  @Test func othersRefuse() throws {
    var options = SegmentOptions(method: .pnpOVSS)
    let error = thrownError(SegmentationError.self) { try options.set("absent", "purify") }
    let text = error?.description ?? ""
    #expect(
      text.contains("--absent means nothing to --method pnp-ovss") && text.contains("--presence"), "\(text)")
  }

  @Test func edges() throws {
    #expect(SegmentOptions().redundancy == 0.1)
    #expect(SegmentOptions(preset: .voc21).redundancy == 0.15)
    #expect(SegmentOptions(preset: .ade, method: .scCLIP).redundancy == 0.05)
    #expect(SegmentOptions(preset: .stuff, method: .radseg).redundancy == 0.1)
    // A benchmark's edge is in no fingerprint, and in no other method's way.
    var options = SegmentOptions(preset: .stuff)
    #expect(!options.named.contains { $0.key == "redundancy" })
    options.absent = .purify
    #expect(options.named.contains { $0.key == "redundancy" })
    options.absent = .keep
    try options.set("method", "radseg")
    var gate = ClassRules(absent: .purify, redundancy: 0.2)
    #expect(gate.keptByPatches([0.2, 0.21, 0]) == [false, true, false])
    #expect(gate.keptByPatches([0.1, 0.2]) == [true, true])
    gate.hasNegatives = true
    #expect(gate.keptByPatches([0.1, 0.2, 0]) == [false, false, true])
  }

  /// Trials that differ in the edge alone share their networks' run; the rule itself is no such option.
  @Test func trials() {
    var (a, b) = (SegmentOptions(), SegmentOptions())
    (a.absent, b.absent, b.redundancy) = (.purify, .purify, 0.3)
    #expect(a.seenByNetworks == b.seenByNetworks && a.seenByNetworks != SegmentOptions().seenByNetworks)
    a.absent = .gate
    #expect(a.seenByNetworks == SegmentOptions().seenByNetworks)
  }
}
