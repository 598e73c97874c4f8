// RADSeg stage by stage against an independent computation in Python (Tests/Reference/radseg.py).
import Compute
import Foundation
import Quantization
import Segmentation
import TestSupport
import Testing

/// One folder of Tests/Fixtures/golden-radseg.
struct RADSegCase {
  static let names =
    Effort.isEmulated
    ? ["square", "patch-sides"] : ["square", "wide", "one-pass", "patch-sides", "ema-v1", "spectral"]
  static let folder = GoldenCase.folder.replacingOccurrences(of: "/golden/", with: "/golden-radseg/")

  let name: String
  let golden: GoldenCase

  init(_ name: String) throws {
    self.name = name
    golden = try GoldenCase(name, folder: Self.folder)
  }

  func options(_ precision: PrecisionChoice) throws -> SegmentOptions {
    var options = SegmentOptions(method: .radseg)
    options.precision = precision
    (options.shortSide, options.longSide) = (try golden.int("short_side"), try golden.int("long_side"))
    (options.window, options.stride) = (try golden.int("window"), try golden.int("stride"))
    options.windows = try #require(WindowChoice(rawValue: try golden.text("windows")))
    options.sideRounding = try #require(SideRounding(rawValue: try golden.text("round_sides")))
    (options.scraScale, options.scgaScale) = (try golden.float("scra_scale"), try golden.float("scga_scale"))
    (options.logitScale, options.classGate) = (
      try golden.float("logit_scale"), try golden.float("class_gate")
    )
    guard try golden.refines else { return options }
    options.refinement = .sam
    (options.coarseThreshold, options.minimalArea) = (
      try golden.float("coarse_threshold"), try golden.int("minimal_area")
    )
    (options.iouThreshold, options.maskAlpha) = (
      try golden.float("iou_threshold"), try golden.float("mask_alpha")
    )
    return options
  }

  func model() throws -> String {
    let refines = try golden.refines
    return try GoldenModels.path("radseg \(refines) " + golden.text("radio")) { path in
      let source = try GoldenModels.unpack(golden.text("radio"), in: Self.folder)
      let sam = refines ? try GoldenModels.unpack(golden.text("sam"), in: Self.folder) : nil
      _ = try ModelQuantizer(QuantizationRequest(radio: source, sam: sam, output: path)) { _ in }.run()
    }
  }

  func session(threads: Int = 2, limit: Int? = nil) throws -> Session {
    var runtime = RuntimeOptions()
    (runtime.threads, runtime.memoryLimit) = (threads, limit)
    return try Session(modelPath: try model(), runtime: runtime)
  }

  /// Words with the reference's vectors: the text tower is a file of its own.
  func wording() throws -> Wording {
    let reference = try #require(try golden.reference()["text.vectors"])
    let classes = try ClassList(arguments: golden.classLines, background: false)
    return Wording(source: .vectors(reference.values), phraseClass: classes.classIndex.map { Int($0) })
  }

  func run(_ precision: PrecisionChoice, _ session: Session, plan: MemoryPlan? = nil, taps: Taps? = nil)
    throws -> GoldenRun
  {
    let photo = try PhotoFile(path: try golden.photoPath)
    return try GoldenRun.run(session, photo, wording(), options(precision), plan: plan, taps: taps)
  }
}

@Suite("RADSeg", .serialized)
struct RADSegTests {
  /// A file with positions for one window gives what the whole table gives, bit for bit; other windows are
  /// refused before any work.
  @Test func positionsOfOneWindow() throws {
    let test = try RADSegCase("square")
    let options = try test.options(.int8)
    let path = try GoldenModels.path("radseg of one window") { path in
      let source = try GoldenModels.unpack(test.golden.text("radio"), in: RADSegCase.folder)
      var request = QuantizationRequest(radio: source, output: path)
      request.radioWindow = options.window
      _ = try ModelQuantizer(request) { _ in }.run()
    }
    let (whole, one) = (try test.session(), try Session(modelPath: path, runtime: RuntimeOptions()))
    #expect(one.model.config.radio?.vision.grid == options.window / 16)
    let runs = try [whole, one].map { try test.run(.int8, $0) }
    #expect(runs[0].labels == runs[1].labels)
    #expect(runs[0].scores.map(\.bitPattern) == runs[1].scores.map(\.bitPattern))
    for window in [0, -16, 24, 1 << 20] {
      let source = try GoldenModels.unpack(test.golden.text("radio"), in: RADSegCase.folder)
      var request = QuantizationRequest(radio: source, output: path + ".none")
      request.radioWindow = window
      let error = thrownError(QuantizationFailure.self) { _ = try ModelQuantizer(request) { _ in } }
      #expect("\(error.map { "\($0)" } ?? "")".contains("--radio-window \(window)"))
    }
    var other = options
    (other.window, other.stride) = (options.window + 16, 16)
    var onePass = options
    onePass.windows = .none
    for options in [other, onePass] {
      let photo = try PhotoFile(path: try test.golden.photoPath)
      let error = thrownError(SegmentationError.self) { _ = try one.plan(photo, try test.wording(), options) }
      #expect(error?.exitCode == 2)
      #expect("\(error.map { "\($0)" } ?? "")".contains("quantize without --radio-window"))
    }
  }

  /// Rules of absence go by a softmax over classes on the grid; negative phrases are the last class.
  @Test func absence() throws {
    let test = try RADSegCase("square")
    let (session, plain) = (try test.session(), try test.options(.int8))
    let photo = try PhotoFile(path: try test.golden.photoPath)
    func run(_ words: Wording, _ change: (inout SegmentOptions) -> Void) throws -> GoldenRun {
      var options = plain
      change(&options)
      let plan = try session.plan(photo, words, options, scores: true)
      let run = try GoldenRun.run(session, photo, words, options, plan: plan)
      for (planned, measured) in zip(plan.stages, run.report.stages) {
        #expect(planned.arenaByteCount == measured.arenaByteCount, "\(planned.name)")
      }
      return run
    }
    var words = try test.wording()
    let open = try run(words) { $0.classGate = 0 }
    #expect(open.report.presence.isEmpty)
    let classes = (words.phraseClass.last ?? 0) + 1
    let cells = open.scores.count / classes
    var certainty = [Float](repeating: 0, count: classes)
    for cell in 0..<cells {
      let cosines = (0..<classes).map { open.scores[$0 * cells + cell] }
      let numerators = cosines.map { expf(100 * ($0 - cosines.max()!)) }
      for label in 0..<classes {
        certainty[label] = max(certainty[label], numerators[label] / numerators.reduce(0, +))
      }
    }
    let middle = (certainty.min()! + certainty.max()!) / 2
    let relative = try run(words) { ($0.classGate, $0.absent) = (0, .relative) }
    for (found, expected) in zip(relative.report.presence, certainty) {
      #expect(abs(found.certainty - expected) < 1e-3)
      #expect(found.isDropped == (expected <= middle))
    }
    #expect(relative.report.presence.contains { $0.isDropped })
    for label in relative.labels { #expect(certainty[Int(label)] > middle) }
    let unknown = try run(words) { ($0.classGate, $0.unknownThreshold) = (0, 0.6) }
    #expect(Set(unknown.labels).contains(UInt16(classes)))
    for (before, after) in zip(open.labels, unknown.labels) {
      #expect(after == before || after == UInt16(classes))
    }
    // The last class as negative phrases: it passes any gate, and no other does.
    words.hasNegatives = true
    let none = try run(words) { $0.classGate = 1 }
    #expect(none.report.isGated == (0..<classes).map { $0 < classes - 1 })
    #expect(Set(none.labels) == [UInt16(classes - 1)])
    #expect(throws: SegmentationError.self) { _ = try run(words) { $0.absent = .purify } }
  }

  private func stages(_ test: RADSegCase, _ run: GoldenRun) throws -> [StageAgreement] {
    let reference = try test.golden.reference()
    return reference.names.compactMap { name in reference[name].flatMap { StageAgreement(name, $0, run) } }
  }

  @Test(
    "float32, stage by stage",
    .needsOpenBLAS,
    arguments: RADSegCase.names)
  func float32(_ name: String) throws {
    let test = try RADSegCase(name)
    let run = try test.run(.float32, test.session(), taps: Taps())
    let stages = try stages(test, run)
    for stage in stages {
      let found = "\(stage.error), relative \(stage.relative), cosine \(stage.cosine)"
      print("radseg float32 \(name) \(stage.name): \(found)")
    }
    for wanted in [
      "scra.output.0", "radio.features.0", "splice.canvas", "scga.features", "head.features",
      "scores.classes",
    ] {
      #expect(stages.contains { $0.name == wanted }, "\(name): \(wanted) was not recorded")
    }
    let wrong = stages.first { $0.name == "scores.classes" ? $0.error > 2e-5 : $0.relative > 2e-4 }
    if let wrong { Issue.record("\(name): \(wrong.name) is the first stage out of tolerance: \(wrong)") }
    let agreement = share(run.labels, try test.golden.labels("coarse"))
    print("radseg float32 \(name) labels: \(agreement)")
    #expect(agreement == 1)
  }

  @Test("int8", arguments: RADSegCase.names) func int8(_ name: String) throws {
    let test = try RADSegCase(name)
    let run = try test.run(.int8, test.session(), taps: Taps())
    let stages = try stages(test, run)
    let head = try #require(stages.first { $0.name == "head.features" })
    let agreement = share(run.labels, try test.golden.labels("coarse"))
    print("radseg int8 \(name): head cosine \(head.cosine), labels \(agreement)")
    #expect(head.cosine >= 0.995)
    #expect(agreement >= 0.97)
  }

  /// RADSeg+: SAM's decoder on C-RADIO's own features.
  @Test(
    "masks in float32, stage by stage",
    .needsOpenBLAS)
  func masks() throws {
    let test = try RADSegCase("plus")
    let run = try test.run(.float32, test.session(), taps: Taps())
    let stages = try stages(test, run)
    for stage in stages {
      print("radseg+ float32 \(stage.name): \(stage.error), relative \(stage.relative)")
    }
    for wanted in [
      "radio.embed.sam", "radio.blocks.1.sam", "scra.first.sam", "scra.output.sam", "radio.blocks.2.sam",
      "sam.features", "sam.neck", "refine.iou", "refine.logits.0", "scores.classes",
    ] {
      #expect(stages.contains { $0.name == wanted }, "\(wanted) was not recorded")
    }
    // A point of one region ties along the flat border: its prompt and estimate differ, its labels do not.
    let wrong = stages.first {
      !$0.name.hasPrefix("refine.regions") && $0.relative > ($0.name == "refine.iou" ? 5e-3 : 2e-4)
    }
    if let wrong { Issue.record("\(wrong.name) is the first stage out of tolerance: \(wrong)") }
    let agreement = share(run.labels, try test.golden.labels("final"))
    print("radseg+ float32 labels: \(agreement)")
    #expect(agreement >= 0.999)
    let iou = try #require(try test.golden.reference()["refine.iou"])
    #expect(run.report.refinement.refined == iou.values.count { $0 > 0.8 })
  }

  @Test("masks in int8") func masksInt8() throws {
    let test = try RADSegCase("plus")
    let run = try test.run(.int8, test.session(), taps: Taps())
    let stages = try stages(test, run)
    let neck = try #require(stages.first { $0.name == "sam.neck" })
    print("radseg+ int8: neck \(neck.cosine), labels \(share(run.labels, try test.golden.labels("final")))")
    #expect(neck.cosine >= 0.995)
  }

  @Test("masks need SAM in the model file") func masksRefused() throws {
    let test = try RADSegCase("square")
    var options = try test.options(.int8)
    options.refinement = .sam
    let (session, photo) = (try test.session(), try PhotoFile(path: try test.golden.photoPath))
    let error = thrownError(SegmentationError.self) {
      try session.plan(photo, test.wording(), options)
    }
    #expect(error?.exitCode == 2 && error?.description.contains("--sam") == true)
    let plus = try RADSegCase("plus").session()
    let trident = thrownError(SegmentationError.self) {
      try plus.plan(photo, test.wording(), SegmentOptions())
    }
    #expect(trident?.exitCode == 4)
  }

  @Test("threads, tilings and limits change no bit", arguments: ["wide", "plus"])
  func invariance(_ name: String) throws {
    let test = try RADSegCase(name)
    let first = try test.run(.int8, test.session(threads: 1))
    func same(_ other: GoldenRun, _ what: String) {
      #expect(first.labels == other.labels, "labels differ: \(what)")
      #expect(first.scores.map(\.bitPattern) == other.scores.map(\.bitPattern), "scores differ: \(what)")
    }
    for threads in 2...3 { same(try test.run(.int8, test.session(threads: threads)), "\(threads) threads") }
    let session = try test.session()
    let photo = try PhotoFile(path: try test.golden.photoPath)
    let least = try session.plan(photo, test.wording(), test.options(.int8), scores: true, within: .smallest)
    same(try test.run(.int8, session, plan: least), "smallest plan")
  }
}
