// `trident bench`: placeholder
import ArgumentParser
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "bench", abstract: "Measures kernels and whole runs.")
  func run() throws {}
}
