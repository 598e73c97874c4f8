// A plan is what a run reserves, stage by stage; too little memory is a clean error, whenever it strikes.
import Compute
import Segmentation
import System
import TestSupport
import Testing

/// A photo of a size, made up as it is read.
final class DrawnPhoto: PhotoPixels {
  let width: Int
  let height: Int
  private let pixels: UnsafeMutablePointer<UInt8>
  private let photo: PhotoInMemory

  init(_ width: Int, _ height: Int) {
    (self.width, self.height) = (width, height)
    pixels = .allocate(capacity: width * height * 3)
    for index in 0..<width * height {
      let (x, y) = (index % width, index / width)
      pixels[3 * index] = UInt8((x * 7 + y * 3) % 256)
      pixels[3 * index + 1] = UInt8((x / 9 % 2) * 120 + (y / 7 % 2) * 90)
      pixels[3 * index + 2] = UInt8((x * y / 5) % 256)
    }
    photo = PhotoInMemory(pixels: pixels, width: width, height: height)
  }

  deinit { pixels.deallocate() }
  func load(_ copies: [CopyRequest]) throws { try photo.load(copies) }
  func workingByteCount(_ copies: [CopyRequest]) -> Int { photo.workingByteCount(copies) }
}

@Suite("Memory of runs", .serialized)
struct InvarianceMemoryTests {
  typealias Change = (name: String, change: @Sendable (inout SegmentOptions) -> Void)

  private static let changes: [Change] = [
    ("as it is", { _ in }), ("no refinement", { $0.refinement = .none }),
    ("PAMR", { $0.refinement = .pamr }), ("CRF", { $0.refinement = .crf }),
    ("attention", { $0.affinity = .attention }), ("cosine", { $0.affinity = .cosine }),
    ("no affinity", { $0.affinity = .none }),
    ("no affinity, no refinement", { ($0.affinity, $0.refinement) = (.none, .none) }),
    ("windows", { $0.paradigm = .window }), ("no DINO", { $0.usesDINO = false }),
    ("halves", { $0.halves = true }),
    ("halves, no refinement", { ($0.halves, $0.refinement) = (true, .none) }),
    ("float32", { $0.precision = .float32 }),
  ]

  private func check(
    _ session: Session, _ photo: PhotoPixels, _ wording: Wording, _ options: SegmentOptions, _ what: String,
    limits: [MemoryLimit] = [.ofRuntime]
  )
    throws
  {
    for limit in limits {
      let plan = try session.plan(photo, wording, options, scores: true, within: limit)
      let run = try GoldenRun.run(session, photo, wording, options, plan: plan)
      // The run also hands over its scores, which a plan does not count as a stage.
      let stages = run.report.stages.enumerated().filter { index, stage in
        !(stage.name == "scores" && !plan.stages.contains { $0.name == "scores" })
      }.map(\.element)
      #expect(run.labels.count == photo.width * photo.height, "\(what)")
      #expect(run.scores.allSatisfy { $0.isFinite && abs($0) < 1.01 }, "\(what)")
      guard stages.count == plan.stages.count else {
        // Several stages are called scores where SAM does not aggregate: compare up to them.
        #expect(
          stages.map(\.name).filter { $0 != "scores" } == plan.stages.map(\.name).filter { $0 != "scores" },
          "\(what)")
        continue
      }
      for (planned, measured) in zip(plan.stages, stages) {
        #expect(planned.name == measured.name, "\(what)")
        #expect(planned.arenaByteCount == measured.arenaByteCount, "\(what): \(planned.name)")
      }
    }
  }

  @Test("plan and high-water mark agree", arguments: ToyModel.names)
  func plans(_ name: String) throws {
    let toy = try ToyModel(name)
    let session = try toy.session(threads: 2)
    let wording = try toy.vectors(session)
    let prompts = try GoldenRun.prompts(session, toy.golden.classLines)
    var sizes = name == "toy-b" ? [(1, 1), (30, 400), (301, 233)] : [(1, 1), (97, 41)]
    if Effort.isEmulated { sizes = [(97, 41)] }
    for (width, height) in sizes {
      let photo = DrawnPhoto(width, height)
      try check(
        session, photo, prompts, toy.options, "\(name) \(width)x\(height) with text",
        limits: [.ofRuntime, .smallest])
      for change in Self.changes {
        var options = toy.options
        change.change(&options)
        if options.precision == .float32 && !Effort.hasOpenBLAS { continue }
        try check(session, photo, wording, options, "\(name) \(width)x\(height) \(change.name)")
      }
    }
  }

  /// Where a reservation fails, the run ends with an error; the session goes on as if nothing had been.
  @Test("the n-th reservation fails")
  func failingReservations() throws {
    let toy = try ToyModel()
    let session = try toy.session(threads: 2)
    let photo = DrawnPhoto(41, 33)
    let wording = try GoldenRun.prompts(session, ["sofa"])
    let plan = try session.plan(photo, wording, toy.options, scores: true)
    let whole = try GoldenRun.run(session, photo, wording, toy.options, plan: plan)
    func fails(_ number: Int) throws -> Bool {
      do {
        let run = try GoldenRun.run(
          session, photo, wording, toy.options, plan: plan, failingReservation: number)
        #expect(run.labels == whole.labels)
        return false
      } catch let error as ComputeError {
        guard case .arenaExhausted = error.reason else { throw error }
        return true
      }
    }
    var (low, high) = (0, 1)
    while try fails(high) { (low, high) = (high, high * 2) }
    while high - low > 1 {
      let middle = (low + high) / 2
      if try fails(middle) { low = middle } else { high = middle }
    }
    let step = max(1, high / (Effort.isEmulated ? 10 : 300))
    var count = 0
    for number in stride(from: 0, to: high, by: step) {
      let failed = try fails(number)
      #expect(failed, "reservation \(number) of \(high)")
      count += 1
      if number % 50 == 0 {
        #expect(try GoldenRun.run(session, photo, wording, toy.options, plan: plan).labels == whole.labels)
      }
    }
    let after = try GoldenRun.run(session, photo, wording, toy.options, plan: plan)
    #expect(after.labels == whole.labels)
    #expect(after.scores == whole.scores)
    print("failing reservations: \(count) of \(high) tried")
  }

  @Test("a limit that is too small names one that works")
  func tooSmall() throws {
    let toy = try ToyModel()
    let wording = try GoldenRun.prompts(try toy.session(), toy.golden.classLines)
    let tiny = try toy.session(limit: 1 << 20)
    // Other tests allocate in this process, and a plan counts all of it: the named limit may be outdated by
    // the time it is tried. What the process grew by meanwhile is added, and there are several tries.
    var works = false
    for _ in 0..<20 where !works {
      let before = ProcessMemory.now().anonymous
      do {
        _ = try tiny.plan(toy.photo, wording, toy.options, scores: true)
        Issue.record("1 MiB was enough")
        return
      } catch let error as SegmentationError {
        guard case .memory(let limit, let needed, let stage) = error.reason else { throw error }
        #expect(error.exitCode == 5)
        #expect(limit == 1 << 20)
        #expect(!stage.isEmpty)
        let enough = try toy.session(limit: needed + max(0, ProcessMemory.now().anonymous - before) + 1 << 20)
        guard let plan = try? enough.plan(toy.photo, wording, toy.options, scores: true) else { continue }
        _ = try GoldenRun.run(enough, toy.photo, wording, toy.options, plan: plan)
        works = true
      }
    }
    #expect(works)
  }
}
