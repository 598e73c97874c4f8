// `trident measure`: predicted against measured, stage by stage.
import Application
import ArgumentParser
import Segmentation
import System

struct MeasureCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "measure", abstract: "Segments, and compares what it took with the plan, stage by stage.",
    discussion: """
      Example:
        trident measure -m demo.gguf --class dog --class grass photo.jpg \\
          --cold --chart memory.svg

      Takes the arguments of 'segment'; --output is optional.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Output") var outputFlags: OutputFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags
  @Option(help: "Runs a photo; the table shows the last.") var `repeat`: Int = 1
  @Flag(help: "Drop the model's pages before every run, as after a restart.") var cold = false
  @Option(help: "Drawing of memory over time (.svg), of the last run.", completion: .file())
  var chart: String?
  @Argument(help: "Photos (JPEG, PNG, PPM) or folders of them.", completion: .file()) var photos: [String]

  func run() throws {
    try methodFlags.check(classFlags, tells: outputFlags.targets.map(\.format).tellConfidence)
    let measure = try MeasureJob(repeats: `repeat`, isCold: cold)
    let paths = try outputFlags.paths(
      photos, try classFlags.inputs(runtimeFlags, methodFlags), classFlags, drawing: chart)
    let job = try PhotoJob(runtimeFlags, classFlags, methodFlags, quiet: outputFlags.quiet)
    try measure.run(job, paths) { result in
      if let chart {
        try writeText(
          MemoryChart(report: result.report, limit: job.session.runtime.memoryLimit).svg, to: chart)
      }
      print(outputFlags.json ? result.json.text(indent: paths.isMany ? -1 : 0) : result.text)
    }
  }
}
