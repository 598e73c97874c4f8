// `trident merge`: the parts of all shards in, one table, data set and statistics out.
import Application
import ArgumentParser
import Segmentation
import System

struct MergeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "merge", abstract: "Puts the parts of a run in shards together.",
    discussion: """
      Example:
        trident segment -m demo.gguf --classes words.txt --list photos.txt \\
          --shard 1/2 --parts parts --annotations
        trident segment -m demo.gguf --classes words.txt --list photos.txt \\
          --shard 2/2 --parts parts --annotations
        trident merge parts --csv all.csv --coco all.coco.json --statistics all.json

      Parts must be of one model, one list, the same words and options, complete and \\
      disjoint. The files are the same, byte for byte, for any number of shards. Ends \\
      with 6 while a shard is missing, with 2 where parts do not belong together.
      """)

  @Argument(help: "The folder of --parts.", completion: .directory) var folder: String
  @Option(help: "A line a photo and class (.csv).", completion: .file()) var csv: String?
  @Option(help: "A COCO data set of all photos; parts need --annotations.", completion: .file())
  var coco: String?
  @Option(help: "Counts of photos, failures and pixels by class (.json).", completion: .file())
  var statistics: String?
  @Option(help: "A list of the photos that could not be segmented, for --list.", completion: .file())
  var failures: String?
  @Flag(help: "One JSON object on standard output: what it took.") var json = false

  func run() throws {
    var outputs = MergeJob.Outputs()
    (outputs.csv, outputs.coco, outputs.statistics) = (csv, coco, statistics)
    outputs.failures = failures
    let job = try MergeJob(folder)
    try job.run(outputs)
    print(json ? job.effort.text() : job.summary)
  }
}
