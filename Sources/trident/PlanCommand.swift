// `trident plan`: what a photo will take, before any work.
import Application
import ArgumentParser
import Segmentation
import System

struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan", abstract: "Memory by stage and estimated time, before any work.",
    discussion: """
      Examples:
        trident plan -m demo.gguf --size 4000x3000 --classes 21
        trident plan -m demo.gguf --photo photo.jpg --class cat --memory-limit 40M
        trident plan -m demo.gguf --smallest

      --classes takes a file, or a number of classes. The plan is made by the code that \
      reserves the memory.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags
  @Option(help: "Photo to plan for.", completion: .file()) var photo: String?
  @Option(help: "Or its size: WxH (448x448).") var size: String?
  @Flag(help: "Room for --overlay as well.") var overlay = false
  @Flag(help: "Find the smallest limit instead.") var smallest = false
  @Flag(help: "One JSON object on standard output.") var json = false

  func run() throws {
    try methodFlags.check(classFlags, tells: true)
    let choice = try methodFlags.choice()
    let session = try runtimeFlags.open()
    let pixels = try PlanJob.photo(photo, size: size, ceilings: session.runtime.photoCeilings)
    let options = try methodFlags.options(session, choice)
    let words = try Words(planning: classFlags.source(choice?.published, options), session)
    let report = try PlanJob(session, words, words.named.settle(options)).run(
      pixels, formats: overlay ? [.overlay] : [], smallest: smallest)
    print(json ? report.json.text() : smallest ? report.smallest : report.table)
  }
}
