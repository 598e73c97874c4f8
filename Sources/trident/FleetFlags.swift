// Flags of runs that many processes share.
import Application
import ArgumentParser
import Segmentation
import System

/// A part of a list: I/N, or what the scheduler says.
enum ShardFlag: ExpressibleByArgument {
  case named(Shard)
  case scheduled

  init?(argument: String) {
    if argument == "auto" {
      self = .scheduled
    } else if let shard = Shard(argument) {
      self = .named(shard)
    } else {
      return nil
    }
  }

  /// - Errors: `.usage` where no scheduler says anything.
  func shard() throws(SegmentationError) -> Shard {
    if case .named(let shard) = self { return shard }
    if let found = try Shard.scheduled(environment) { return found.shard }
    throw SegmentationError(
      .usage(
        "--shard auto: neither JOB_COMPLETION_INDEX, AWS_BATCH_JOB_ARRAY_INDEX nor SLURM_ARRAY_TASK_ID is set"
      ))
  }
}

/// How files are written.
enum Writes: String, ExpressibleByArgument, CaseIterable {
  case rename, whole
}

/// What makes a run one of many.
struct FleetFlags: ParsableArguments {
  @Option(
    help: """
      Photos by a file instead: a line a path, or a JSON object with path and, if known, bytes and sha256; \
      '-' is standard input. Needs --parts; outputs name folders.
      """, completion: .file())
  var list: String?
  @Option(
    help: """
      Folder for this shard's part: a record a photo, statistics, sums; 'trident merge' puts parts together. \
      What is done is not done again.
      """, completion: .directory)
  var parts: String?
  @Option(
    help: """
      I/N: every N-th photo, from the I-th (default with --parts: as JOB_COMPLETION_INDEX, \
      AWS_BATCH_JOB_ARRAY_INDEX or SLURM_ARRAY_TASK_ID say; TRIDENT_SHARDS is N).
      """)
  var shard: ShardFlag?
  @Flag(help: "Records hold COCO annotations, for 'trident merge --coco'.") var annotations = false
  @Flag(help: "Every photo must have the sha256 that the list has, or it counts as bad.")
  var expectSums = false
  @Flag(help: "End with 3 if a photo was bad; else bad photos are recorded and the shard ends with 0.")
  var failOnPhoto = false
  @Option(
    help: """
      Photos in a WebDataset archive instead (.tar, '-' for standard input): results go to --tar-output, \
      under the photos' keys.
      """, completion: .file())
  var tar: String?
  @Option(help: "The archive of results (.tar, '-' for standard output).", completion: .file())
  var tarOutput: String?
  @Option(
    help: """
      What is in it, with commas: output, overlay, confidence, scores, csv, coco, instances, labelme, cvat.
      """)
  var tarFormats = "output"
  @Option(
    help: """
      rename: files appear at once, by a rename. whole: each is written from first byte to last under its \
      name, for mounts of object stores; nothing is renamed, added to or deleted.
      """)
  var writes: Writes = .rename

  /// Called before any file is written.
  ///
  /// - Errors: `.usage` for flags that need each other.
  func prepare(_ photos: [String], overwrites: Bool) throws(SegmentationError) {
    AtomicFile.writesWhole = writes == .whole
    if writes == .whole && overwrites {
      throw SegmentationError(
        .usage("--writes whole deletes nothing, --overwrite would; name another folder"))
    }
    if [list != nil, tar != nil, !photos.isEmpty].count(where: { $0 }) > 1 {
      throw SegmentationError(.usage("photos, --list and --tar stand for each other; give one of them"))
    }
    if list == nil && tar == nil && photos.isEmpty {
      throw SegmentationError(.usage("no photo: name photos or folders of them, a --list or a --tar"))
    }
    guard (tar == nil) == (tarOutput == nil) else {
      throw SegmentationError(.usage("--tar and --tar-output go together"))
    }
    if tar != nil && (parts != nil || shard != nil) {
      throw SegmentationError(.usage("--tar is one archive a process; --parts and --shard are for lists"))
    }
    if parts != nil {
      if list == nil && expectSums {
        throw SegmentationError(.usage("--expect-sums needs --list, with sums"))
      }
      return
    }
    let flags = [
      ("--list", list != nil), ("--shard", shard != nil), ("--annotations", annotations),
      ("--expect-sums", expectSums), ("--fail-on-photo", failOnPhoto && tar == nil),
    ]
    if let flag = flags.first(where: { $0.1 })?.0 {
      throw SegmentationError(
        .usage("\(flag) needs --parts FOLDER, where the shard keeps what is done; 'trident merge' reads it"))
    }
  }
}

extension SegmentCommand {
  /// Does one shard.
  func runShard(_ folder: String) throws {
    let console = Console(quiet: outputFlags.quiet)
    var chosen = Shard.whole
    if let flag = fleetFlags.shard {
      chosen = try flag.shard()
    } else if let found = try Shard.scheduled(environment) {
      chosen = found.shard
      console.note("shard \(chosen.text), as \(found.variable) says")
    }
    var rules = ShardJob.Rules()
    (rules.expectsSums, rules.failsOnPhoto) = (fleetFlags.expectSums, fleetFlags.failOnPhoto)
    let outputs = try ListedOutputs(
      outputFlags.targets, inputs: try classFlags.inputs(runtimeFlags, methodFlags),
      overwrites: outputFlags.overwrite)
    let job = try ShardJob(chosen, parts: folder, rules, listener: console)
    let photos = try PhotoJob(
      runtimeFlags, classFlags, methodFlags, pictureFlags.style(), quiet: outputFlags.quiet)
    let work = PhotoShard(
      photos, outputs, wantsAnnotations: fleetFlags.annotations, measures: outputFlags.json
    ) { [outputFlags] report in
      if outputFlags.json {
        print(report.json.text(indent: -1))
      } else if !outputFlags.quiet {
        print(report.line)
      }
    }
    let list: ListedPhotos
    if let path = fleetFlags.list {
      list = try ListedPhotos(path: path, shard: chosen)
    } else {
      try classFlags.checkWords(self.photos)
      let found = try OutputPaths(
        photos: self.photos, recursive: outputFlags.recursive, others: [], targets: [])
      if !found.leftOut.text.isEmpty { console.note("left out: \(found.leftOut.text)") }
      list = ListedPhotos(names: found.photos, shard: chosen)
    }
    guard let verdict = job.verdict(try job.run(list, work)) else { return }
    if verdict.code == 0 { return console.warn(verdict.text) }
    complain(verdict.text)
    throw ExitCode(verdict.code)
  }
}

extension SegmentCommand {
  /// Does one archive.
  func runTar(_ input: String, _ output: String) throws {
    let console = Console(quiet: outputFlags.quiet)
    var request = TarJob.Request()
    (request.input, request.output, request.overwrites) = (input, output, outputFlags.overwrite)
    request.formats = try TarJob.formats(fleetFlags.tarFormats)
    request.inputs = try classFlags.inputs(runtimeFlags, methodFlags)
    guard outputFlags.targets.isEmpty else {
      throw SegmentationError(
        .usage("--tar-formats says what goes into an archive; leave out --output and its like"))
    }
    let prints = !outputFlags.quiet && output != "-"
    let photos = try PhotoJob(
      runtimeFlags, classFlags, methodFlags, pictureFlags.style(), quiet: outputFlags.quiet)
    let job = try TarJob(photos, request) { [outputFlags] report in
      if outputFlags.json && output != "-" {
        print(report.json.text(indent: -1))
      } else if prints {
        print(report.line)
      }
    }
    guard try job.run() else { return console.note("'\(output)' is done already; --overwrite does it again") }
    guard job.tally.failed > 0 || job.damaged > 0 else { return }
    let text =
      "\(job.tally.failed) of \(job.tally.done + job.tally.failed) photos could not be segmented, "
      + "\(job.damaged) damaged members; members KEY.failed.json say why"
    let code: Int32 = job.tally.last[5] != nil ? 5 : 3
    if code == 3 && !fleetFlags.failOnPhoto { return console.warn(text) }
    complain(text)
    throw ExitCode(code)
  }
}

extension SegmentReport {
  /// One of many photos, in a line.
  fileprivate var line: String {
    "\(printable(photo, limit: 400)): \(run.width) x \(run.height), \(fixed(run.seconds, 2)) s"
  }
}
