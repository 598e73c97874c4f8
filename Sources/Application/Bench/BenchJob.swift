// Kernels by shape, attention, whole runs: what `trident bench` does.
import Compute
import Segmentation
import System

/// Measures this machine.
package struct BenchJob {
  package let path: CPUPath
  package let threads: Int
  /// Multiply-accumulates a second that the product instructions reach on registers.
  package let peakRate: Double
  package private(set) var results: [BenchResult] = []
  private let repeats: Int
  private let bench: KernelBench

  /// Measures the peak.
  ///
  /// - Errors: `.usage` for numbers out of range.
  package init(threads: Int?, repeats: Int) throws {
    guard (1...1000).contains(repeats), (1...256).contains(threads ?? 1) else {
      throw SegmentationError(.usage("--repeat is 1 to 1000, --threads 1 to 256"))
    }
    self.threads = threads ?? RuntimeOptions.availableCores
    self.repeats = repeats
    path = try CPUPath.choose(forced: environment("TRIDENT_CPU"))
    bench = KernelBench(
      engine: try Engine(path: path, threadCount: self.threads, precision: .int8), repeats: repeats)
    peakRate = bench.peakRate()
  }

  /// Measures products, three kinds of attention and, with a model, a photo; hands over each result as it
  /// comes.
  package mutating func run(
    _ shapes: [ProductShape], model: String?, photo: String?, each: (BenchResult) -> Void
  ) throws {
    func note(_ result: BenchResult) {
      results.append(result)
      each(result)
    }
    for shape in shapes { note(try bench.product(shape)) }
    note(try bench.attention(keys: 196, gridSide: 14, heads: 60, strip: 196, name: "sam, five windows"))
    note(
      try bench.attention(keys: 442, gridSide: 0, heads: 48, strip: 64, name: "clip and dino, four windows"))
    note(try bench.attention(keys: 4096, gridSide: 64, heads: 2, strip: 64, name: "sam"))
    if let model, let photo { for result in try whole(model, photo) { note(result) } }
  }

  package var json: JSON {
    .object([
      ("cpu_path", .string(path.name)), ("threads", .int(threads)),
      ("peak_macs_per_second", .number(peakRate)),
      ("mhz", cpuMegahertz().map { .int($0) } ?? .null), ("results", .array(results.map(\.json))),
    ])
  }

  /// One photo, 21 stand-in classes with made-up vectors: everything but text. Its stages, then all of it.
  private func whole(_ model: String, _ photo: String) throws -> [BenchResult] {
    var runtime = RuntimeOptions()
    runtime.threads = threads
    runtime.cpuPath = environment("TRIDENT_CPU")
    let session = try Session(modelPath: model, runtime: runtime)
    let file = try PhotoFile(path: photo)
    let (count, width) = (21, session.embedWidth)
    var state: UInt64 = 1
    var vectors: [Float] = []
    for _ in 0..<count {
      let row = (0..<width).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Float(Int32(truncatingIfNeeded: state >> 33)) / 1e9
      }
      let length = row.reduce(0) { $0 + $1 * $1 }.squareRoot()
      vectors += row.map { $0 / length }
    }
    let wording = Wording(source: .vectors(vectors), phraseClass: Array(0..<count))
    let options = SegmentOptions(method: session.method)
    let plan = try session.plan(file, wording, options)
    var stages: [BenchResult] = []
    var result = BenchResult(name: "photo \(file.width) x \(file.height)", macs: 0)
    for _ in 0..<min(repeats, 5) {
      var digest = Digest()
      let report = try session.run(
        file, wording, options, plan: plan, measures: false,
        RunSinks { _, row in
          digest.add(UnsafeRawBufferPointer(start: row, count: file.width * 2))
          return true
        })
      if stages.isEmpty { stages = report.stages.map { BenchResult(name: "stage \($0.name)", macs: 0) } }
      for (index, stage) in report.stages.enumerated() { stages[index].add(stage.seconds, digest.value) }
      result.add(report.seconds, digest.value)
    }
    return stages + [result]
  }
}
