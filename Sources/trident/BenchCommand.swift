// `trident bench`: the machine's INT8 speed, kernels by shape, attention, whole runs.
import Application
import ArgumentParser
import Segmentation
import System

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measures kernels by shape, attention and, with a model, a whole photo.",
    discussion: """
      Example:
        trident bench --shapes Benchmarks/Shapes/trident-b.txt --threads 2 \\
          -m demo.gguf --photo photo.jpg

      A shape file has lines 'M N K [gelu|quickgelu|gelu_tanh|relu]  # network, layer'. Products \
      quantize their rows, scale, add a bias and activate; attention packs keys and \
      values. The peak is what the processor's product instructions reach on registers \
      alone, measured first. Every repeat must give the same answer, bit for bit.
      """)

  @Option(
    help: "Shape file: lines 'M N K  # network, layer' (default: the large layers of Trident-B).",
    completion: .file())
  var shapes: String?
  @Option(help: "Worker threads (default: the cores this process may use).") var threads: Int?
  @Option(help: "Times every row is measured.") var `repeat`: Int = 7
  @Option(name: .shortAndLong, help: "Also run a whole photo on this model.", completion: .file())
  var model: String?
  @Option(help: "Photo for the whole run.", completion: .file()) var photo: String?
  @Flag(help: "One JSON object on standard output.") var json = false

  func run() throws {
    guard (model == nil) == (photo == nil) else {
      throw SegmentationError(.usage("a whole run needs both --model and --photo"))
    }
    var job = try BenchJob(threads: threads, repeats: `repeat`)
    if !json {
      let peak = fixed(job.peakRate / 1e9, 0)
      print("\(job.path.name), \(job.threads) thread(s); peak of the product instructions \(peak) GMAC/s")
      print(BenchResult.head)
    }
    let peak = job.peakRate
    try job.run(
      try shapes.map { try ProductShape.read($0) } ?? ProductShape.standard,
      model: try model.map { try modelPath($0) }, photo: photo
    ) {
      if !json { print($0.line(peak: peak)) }
    }
    if json { print(job.json.text()) }
    if let wrong = job.results.first(where: { !$0.isSteady }) {
      standardError("trident: error: \(wrong.name): repeats gave different answers\n")
      throw ExitCode(1)
    }
  }
}
