// `trident pull`: published checkpoints by name.
import Application
import ArgumentParser
import Segmentation
import System

struct PullCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pull", abstract: "Fetches published checkpoints by name and makes models of them.",
    discussion: """
      Examples:
        trident pull
        trident pull trident-b16
        trident segment --class cat --class sofa photo.jpg --output labels.png

      Without a name it lists what there is. Files come from their publishers, each under its \
      licence, which is shown; they are checked against the SHA-256 that is published, or the \
      one found is printed. A download that was ended goes on where it stopped. The first model \
      becomes the one that is used where --model names none; --model also takes the name of a \
      model that was pulled. Proxies are as libcurl's environment says (https_proxy, no_proxy).
      """)

  @Option(
    help: "Address of a mirror: a folder with the files by their names (also TRIDENT_MIRROR).")
  var from: String?
  @Option(help: "Folder for models and checkpoints ($XDG_DATA_HOME/trident).", completion: .directory)
  var folder: String?
  @Option(help: "What the SHA-256 of a single checkpoint must be.") var sha256: String?
  @Flag(name: .customLong("default"), help: "This model is used where --model names none.")
  var becomesUsual = false
  @Flag(name: .shortAndLong, help: "No progress.") var quiet = false
  @Argument(help: "A model or a checkpoint.") var name: String?

  func run() throws {
    var request = PullJob.Request()
    (request.folder, request.sha256, request.becomesUsual) = (folder, sha256, becomesUsual)
    request.mirror = from ?? environment("TRIDENT_MIRROR").flatMap { $0.isEmpty ? nil : $0 }
    let job = try PullJob(request, listener: Console(quiet: quiet))
    guard let name else { return print(job.list) }
    print(try job.run(name))
  }
}
