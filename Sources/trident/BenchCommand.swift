// `trident bench`: the machine's INT8 speed, kernels by shape, attention, whole runs.
import ArgumentParser
import Compute
import Segmentation

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measures kernels by shape, attention and, with a model, a whole photo.",
    discussion: """
      Example:
        trident bench --shapes Benchmarks/Shapes/trident-b.txt --threads 2 \\
          -m demo.gguf --photo photo.jpg

      A shape file has lines 'M N K [gelu|quickgelu|relu]  # network, layer'. Products \
      quantize their rows, scale, add a bias and activate; attention packs keys and \
      values. The peak is what the processor's product instructions reach on registers \
      alone, measured first. Every repeat must give the same answer, bit for bit.
      """)

  @Option(help: "Shape file: lines 'M N K  # network, layer' (default: the large layers of Trident-B).", completion: .file())
  var shapes: String?
  @Option(help: "Worker threads (default: the cores this process may use).")
  var threads: Int?
  @Option(help: "Times every row is measured.")
  var `repeat`: Int = 7
  @Option(name: .shortAndLong, help: "Also run a whole photo on this model.", completion: .file())
  var model: String?
  @Option(help: "Photo for the whole run.", completion: .file())
  var photo: String?
  @Flag(help: "One JSON object on standard output.")
  var json = false

  func run() throws {
    guard (1...1000).contains(`repeat`), (1...256).contains(threads ?? 1) else {
      throw SegmentationError(.usage("--repeat is 1 to 1000, --threads 1 to 256"))
    }
    guard (model == nil) == (photo == nil) else {
      throw SegmentationError(.usage("a whole run needs both --model and --photo"))
    }
    let count = threads ?? RuntimeOptions.availableCores
    let path = try CPUPath.choose(forced: environment("TRIDENT_CPU"))
    let bench = KernelBench(
      engine: try Engine(path: path, threadCount: count, precision: .int8), repeats: `repeat`)
    let peakRate = bench.peakRate()
    if !json {
      print("\(path.name), \(count) thread(s); peak of the product instructions \(fixed(peakRate / 1e9, 0)) GMAC/s")
      print(BenchResult.head)
    }
    var results: [BenchResult] = []
    func note(_ result: BenchResult) {
      results.append(result)
      if !json { print(result.line(peak: peakRate)) }
    }
    for shape in try shapeList() { note(try bench.product(shape)) }
    note(try bench.attention(keys: 196, gridSide: 14, heads: 60, strip: 196, name: "sam, five windows"))
    note(try bench.attention(keys: 442, gridSide: 0, heads: 48, strip: 64, name: "clip and dino, four windows"))
    note(try bench.attention(keys: 4096, gridSide: 64, heads: 2, strip: 64, name: "sam"))
    if let model, let photo { for result in try whole(model, photo, threads: count) { note(result) } }
    if json {
      print(
        JSON.object([
          ("cpu_path", .string(path.name)), ("threads", .int(count)),
          ("peak_macs_per_second", .number(peakRate)),
          ("mhz", cpuMegahertz().map { .int($0) } ?? .null), ("results", .array(results.map(\.json))),
        ]).text())
    }
    if let wrong = results.first(where: { !$0.isSteady }) {
      standardError("trident: error: \(wrong.name): repeats gave different answers\n")
      throw ExitCode(1)
    }
  }

  private func shapeList() throws -> [ProductShape] {
    guard let shapes else { return ProductShape.standard }
    let bytes: [UInt8]
    do throws(FileProblem) {
      bytes = try FileBytes.read(shapes, limit: 1 << 20)
    } catch {
      throw SegmentationError(.usage(error.message), path: shapes)
    }
    return try ProductShape.parse(String(decoding: bytes, as: UTF8.self), path: shapes)
  }

  /// One photo, 21 stand-in classes with made-up vectors: everything but text. Its stages, then all of it.
  private func whole(_ model: String, _ photo: String, threads: Int) throws -> [BenchResult] {
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
    let options = SegmentOptions()
    let plan = try session.plan(file, wording, options)
    var stages: [BenchResult] = []
    var result = BenchResult(name: "photo \(file.width) x \(file.height)", macs: 0)
    for _ in 0..<min(`repeat`, 5) {
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

/// FNV-1a, 64 bits.
struct Digest {
  private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325
  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
  }
}

/// One matrix product: [rows, depth] times [outputs, depth] transposed.
struct ProductShape {
  var rows: Int
  var outputs: Int
  var depth: Int
  var name: String
  var activation = Activation.none

  static let standard = [
    ProductShape(rows: 442, outputs: 2304, depth: 768, name: "window qkv"),
    ProductShape(rows: 4096, outputs: 2304, depth: 768, name: "sam qkv"),
    ProductShape(rows: 4096, outputs: 768, depth: 768, name: "sam out"),
    ProductShape(rows: 4096, outputs: 3072, depth: 768, name: "sam mlp in, GELU", activation: .gelu),
    ProductShape(rows: 4096, outputs: 768, depth: 3072, name: "sam mlp out"),
  ]

  private static let activations: [String: Activation] = ["gelu": .gelu, "quickgelu": .quickGELU, "relu": .relu]

  static func parse(_ text: String, path: String) throws -> [ProductShape] {
    var shapes: [ProductShape] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let parts = line.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
      let words = (parts.first ?? "").split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\r" })
      if words.isEmpty { continue }
      let sizes = words.compactMap { Int($0) }
      let activation = words.count == 4 ? activations[String(words[3])] : Activation.none
      guard sizes.count == 3, words.count <= 4, let activation, sizes.allSatisfy({ (1...65_536).contains($0) }) else {
        let wanted = "not 'M N K', each 1 to 65536, with gelu, quickgelu, relu or nothing behind"
        throw SegmentationError(.usage(wanted), path: path, line: index + 1)
      }
      let name = parts.count > 1 ? parts[1].drop { $0 == " " } : ""
      shapes.append(ProductShape(rows: sizes[0], outputs: sizes[1], depth: sizes[2], name: String(name), activation: activation))
    }
    return shapes
  }
}

/// Repeats of one measurement.
struct BenchResult {
  let name: String
  /// Multiply-accumulates of a repeat; 0: not counted.
  let macs: Double
  private(set) var seconds: [Double] = []
  private(set) var digest: UInt64 = 0
  private(set) var isSteady = true

  init(name: String, macs: Double) {
    self.name = name
    self.macs = macs
  }

  mutating func add(_ time: Double, _ answer: UInt64) {
    if !seconds.isEmpty && answer != digest { isSteady = false }
    digest = answer
    seconds.append(time)
  }

  private var sorted: [Double] { seconds.sorted() }
  private var median: Double { sorted[seconds.count / 2] }
  private var digestText: String {
    let text = String(digest, radix: 16)
    return String(repeating: "0", count: 16 - text.count) + text
  }

  static let head =
    padded("", 42) + padded("median ms", 10, right: true) + padded("spread", 8, right: true)
    + padded("GMAC/s", 8, right: true) + padded("of peak", 8, right: true) + "  digest"

  func line(peak: Double) -> String {
    let rate = macs / median
    let spread = (sorted[sorted.count - 1] - sorted[0]) / median * 100
    return padded(name, 42) + padded(fixed(median * 1e3, 2), 10, right: true)
      + padded(fixed(spread, 0) + " %", 8, right: true)
      + padded(macs > 0 ? fixed(rate / 1e9, 0) : "-", 8, right: true)
      + padded(macs > 0 ? fixed(rate / peak * 100, 0) + " %" : "-", 8, right: true)
      + "  \(digestText)\(isSteady ? "" : " CHANGED")"
  }

  var json: JSON {
    .object([
      ("name", .string(name)), ("median_seconds", .number(median)), ("least_seconds", .number(sorted[0])),
      ("most_seconds", .number(sorted[sorted.count - 1])), ("macs", .number(macs)),
      ("macs_per_second", .number(macs / median)), ("digest", .string(digestText)),
      ("steady", .bool(isSteady)),
    ])
  }
}
