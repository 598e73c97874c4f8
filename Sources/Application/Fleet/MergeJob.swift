// Parts of one run put together: what `trident merge` does.
import Raster
import Segmentation
import System

/// Reads the parts of all shards and writes what one run over the whole list would have given.
///
/// Photos come in the order of the list, whatever the number of shards: photo k is the next of shard k mod N.
/// So a photo that is missing, or that two shards hold, shows as a number out of turn.
///
/// - Memory: a record, and for each shard 4 to 64 KiB, together at most 32 MiB above that.
/// - Errors: `.usage` for parts of different runs, lists or numbers of shards; `.output` for parts that are
///   missing, damaged or still being made, with which.
package final class MergeJob {
  static let statisticsBeginning = "{\n  \"trident_statistics\": 1,"
  static let failureBeginning = "{\"failed\":\""

  /// Files to write.
  package struct Outputs: Sendable {
    package var csv: String?
    package var coco: String?
    package var statistics: String?
    /// Photos that could not be done, as a list.
    package var failures: String?

    package init() {}

    var paths: [String] { [csv, coco, statistics, failures].compactMap { $0 } }
  }

  private let folder: String
  private let parts: [Part]
  private let head: PartHead
  private let list: (photos: Int, sha256: String)
  /// Of all photos; complete after `run`.
  package private(set) var tally: RecordTally

  private struct Part {
    let journals: [String]
    let head: PartHead
    /// Seconds of work.
    let seconds: Double
  }

  /// Finds the parts of a folder and checks that they belong together.
  package init(_ folder: String) throws(SegmentationError) {
    self.folder = folder
    let count = try Self.shardCount(folder)
    allowOpenFiles(count + 64)
    var parts: [Part] = []
    var list: (photos: Int, sha256: String)?
    for index in 0..<count {
      let files = PartFiles(folder: folder, index: index)
      let (part, own) = try Self.part(files)
      if let first = parts.first {
        if let difference = part.head.difference(from: first.head, comparesOutputs: false) {
          throw SegmentationError(
            .usage("was made with \(difference) than shard 1/\(count); merge only parts of one run"),
            path: files.statistics)
        }
      }
      if let list, list != own {
        throw SegmentationError(
          .usage("is of another list than shard 1/\(count); merge only parts of one run"),
          path: files.statistics)
      }
      list = own
      parts.append(part)
    }
    guard let first = parts.first, let list else { preconditionFailure("at least one shard is there") }
    (self.parts, head, self.list) = (parts, first.head, list)
    tally = RecordTally(labelCount: first.head.titles.count)
  }

  /// How many shards the parts of a folder are of.
  ///
  /// - Errors: `.output` for shards that are not done.
  private static func shardCount(_ folder: String) throws(SegmentationError) -> Int {
    let names: [String]
    do throws(SystemError) { names = try Folder.names(in: folder, endings: ["_stats.json"]) } catch {
      throw SegmentationError(.usage(error.reason.description), path: folder)
    }
    guard let first = names.first else {
      throw SegmentationError(.usage("holds no parts of 'trident segment --parts'"), path: folder)
    }
    let path = PartFiles(folder: folder, index: 0).folder + first
    guard case .int(let count)? = try statistics(path).member("of"), (1...Shard.countLimit).contains(count)
    else { throw SegmentationError(.usage("is no part's statistics"), path: path) }
    var missing: [String] = []
    for index in 0..<count where !fileExists(PartFiles(folder: folder, index: index).sums) {
      missing.append(String(index + 1))
    }
    guard missing.isEmpty else {
      let some = missing.prefix(20).joined(separator: ", ")
      let more = missing.count > 20 ? " and \(missing.count - 20) more" : ""
      throw SegmentationError(
        .output("shard \(some)\(more) of \(count) not done yet; merge when they are"), path: folder)
    }
    guard names.count == count else {
      throw SegmentationError(
        .usage("holds \(names.count) parts, but they are of \(count) shards; one run a folder"), path: folder)
    }
    return count
  }

  private static func statistics(_ path: String) throws(SegmentationError) -> JSON {
    do throws(SystemError) {
      return try JSONReader.parse(try FileBytes.read(path, limit: 1 << 28))
    } catch { throw SegmentationError(.output(error.reason.description), path: path) }
  }

  /// One part, whose files are what its sums say.
  private static func part(
    _ files: PartFiles
  ) throws(SegmentationError) -> (part: Part, list: (photos: Int, sha256: String)) {
    let journals = files.journals
    let stored = (try? FileBytes.read(files.sums, limit: 1 << 24)) ?? []
    guard let sums = try? files.sumsText(journals), Array(sums.utf8) == stored else {
      throw SegmentationError(
        .output("does not have the sums of its files; run the shard again, which mends it"), path: files.sums)
    }
    let json = try statistics(files.statistics)
    guard let head = try PartReader(journals).head,
      PartFiles(folder: files.folder, index: head.shard.index) == files,
      let list = json.member("list"), case .int(let photos)? = list.member("photos"),
      case .string(let sum)? = list.member("sha256"), case .int(head.shard.count)? = json.member("of")
    else { throw SegmentationError(.usage("is no part's statistics"), path: files.statistics) }
    var seconds = 0.0
    if case .number(let value)? = json.member("seconds") { seconds = value }
    return (Part(journals: journals, head: head, seconds: seconds), (photos, sum))
  }

  /// Writes what is asked for; all files get their names in the end, or none.
  ///
  /// - Errors: `.usage` for outputs that would replace a part, each other, or what was not made here, and for
  ///   COCO of parts without annotations.
  package func run(_ outputs: Outputs) throws {
    var files = JobFiles(reading: parts.flatMap(\.journals))
    for path in outputs.paths { try files.write(path) }
    if outputs.coco != nil && !head.hasAnnotations {
      throw SegmentationError(.usage("--coco: the parts hold no annotations; segment with --annotations"))
    }
    try namingOutput {
      let csv = try outputs.csv.map { try AtomicFile(path: $0) }
      let coco = try outputs.coco.map { try AtomicFile(path: $0) }
      let failures = try outputs.failures.map { try AtomicFile(path: $0) }
      let statistics = try outputs.statistics.map { try AtomicFile(path: $0) }
      try coco?.write(cocoHead)
      try forEachRecord { record in
        tally.add(record)
        switch record.outcome {
        case .failed(let failure): try failures?.write(failure.line(of: record.photo.path) + "\n")
        case .done(let found):
          // One head for all.
          let head = found.table.utf8.firstIndex(of: 0x0A).map { found.table.utf8.index(after: $0) }
          try csv?.write(
            tally.done > 1 ? String(found.table[(head ?? found.table.startIndex)...]) : found.table)
          try coco?.write((tally.done > 1 ? ",\n" : "\n") + image(record.photo, found).text(indent: -1))
        }
      }
      if let coco {
        try coco.write("\n],\n\"annotations\": [")
        try writeAnnotations(coco)
        try coco.write("\n]}\n")
      }
      try statistics?.write(json.text() + "\n")
      let all = [csv, coco, statistics, failures].compactMap { $0 }
      for file in all { try file.sync() }
      for file in all { try file.finish() }
    }
  }

  private var cocoHead: String {
    "{\n  \"info\": {\"description\": \"trident \(head.version)\"},\n\"categories\": "
      + categories.text(indent: -1) + ",\n\"images\": ["
  }

  /// As in a data set of one photo.
  private var categories: JSON {
    .array(
      head.titles.enumerated().map { label, title in
        .object([("id", .int(label)), ("name", .string(title)), ("supercategory", .string(""))])
      })
  }

  private func image(_ photo: ListedPhoto, _ found: PhotoRecord.Findings) -> JSON {
    .object([
      ("id", .int(tally.done)), ("file_name", .string(photo.path)), ("width", .int(found.width)),
      ("height", .int(found.height)),
    ])
  }

  private func writeAnnotations(_ coco: AtomicFile) throws {
    var (image, number) = (0, 0)
    try forEachRecord { record in
      guard case .done(let found) = record.outcome else { return }
      image += 1
      for case .object(let members) in found.annotations ?? [] {
        number += 1
        let whole = JSON.object([("id", .int(number)), ("image_id", .int(image))] + members)
        try coco.write((number > 1 ? ",\n" : "\n") + whole.text(indent: -1))
      }
    }
  }

  /// All records in the order of the list.
  private func forEachRecord(_ body: (PhotoRecord) throws -> Void) throws {
    let chunk = max(4096, min(1 << 16, (32 << 20) / parts.count))
    let readers = try parts.map { try PartReader($0.journals, chunk: chunk) }
    for line in 0..<list.photos {
      let index = line % parts.count
      guard let record = try readers[index].next(), record.photo.line == line else {
        throw SegmentationError(
          .usage("photo \(line) of the list is not where it belongs; run shard \(index + 1) anew"),
          path: parts[index].journals.first ?? folder)
      }
      try body(record)
    }
    for (index, reader) in readers.enumerated() {
      guard try reader.next() != nil else { continue }
      throw SegmentationError(
        .usage("holds more photos than the list; run shard \(index + 1) anew"),
        path: parts[index].journals.first ?? folder)
    }
  }

  /// The same for every number of shards.
  private var json: JSON {
    .object([
      ("trident_statistics", .int(1)),
      ("list", .object([("photos", .int(list.photos)), ("sha256", .string(list.sha256))])),
      ("done", .int(tally.done)), ("failed", .int(tally.failed)), ("failures", tally.failuresJSON),
      ("version", .string(head.version)), ("model_id", .string(head.model)),
      ("settings", .string(head.settings)),
      ("options", (try? JSONReader.parse(Array(head.options.utf8))) ?? .null),
      ("classes", tally.classesJSON(head.titles)),
    ])
  }

  /// What it took, which no two runs have alike.
  package var effort: JSON {
    .object([
      ("shards", .int(parts.count)), ("photos", .int(list.photos)), ("done", .int(tally.done)),
      ("failed", .int(tally.failed)), ("failures", tally.failuresJSON), ("seconds", .number(tally.seconds)),
      ("slowest_shard_seconds", .number(parts.map(\.seconds).max() ?? 0)),
      ("peak_resident_bytes", .int(tally.peakResident)),
    ])
  }

  /// A line for people.
  package var summary: String {
    let failures = tally.failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
    return "\(parts.count) shards, \(list.photos) photos: \(tally.done) done, \(tally.failed) failed"
      + (failures.isEmpty ? "" : " (\(failures.joined(separator: ", ")))")
      + "; \(fixed(tally.seconds, 1)) s of work, peak \(mebibytes(tally.peakResident)) MiB"
  }
}
