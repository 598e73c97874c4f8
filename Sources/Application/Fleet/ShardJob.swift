// One shard of a list: what `trident segment --parts` does.
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a shard does with one photo, and what it calls itself.
package protocol ShardWork {
  func head(of shard: Shard) throws -> PartHead
  /// Segments a photo that is what its list says.
  ///
  /// - Errors: `.photo`, `.memory` and `.time` are the photo's; any other ends the shard.
  func findings(_ photo: ListedPhoto) throws -> PhotoRecord.Findings
}

/// The photos of a shard, one after another; what is done is kept, so that a process that was killed is
/// followed by one that goes on, and one that was not by one that finds nothing to do.
///
/// - Memory: what one photo takes and one record, whatever the length of the list.
/// - Errors: a photo that is bad, or does not fit in memory, is recorded and told to the listener. Everything
///   else ends the run; what is done stays. `.output` (code 6) also for storage that fails while a photo is
///   read: another run may succeed.
package final class ShardJob {
  /// How a shard ends.
  package struct Rules: Sendable {
    /// The list has sums, and photos must have them.
    package var expectsSums = false
    /// Bad photos are an error in the end, not only recorded.
    package var failsOnPhoto = false

    package init() {}
  }

  private let shard: Shard
  private let files: PartFiles
  private let rules: Rules
  private let listener: any JobListener

  /// - Errors: `.usage` for files in the folder of parts that something else made; `.output` where it cannot
  ///   be made.
  package init(
    _ shard: Shard, parts folder: String, _ rules: Rules = Rules(),
    listener: any JobListener = SilentListener()
  ) throws(SegmentationError) {
    (self.shard, self.rules, self.listener) = (shard, rules, listener)
    files = PartFiles(folder: folder, index: shard.index)
    do throws(SystemError) { try Folder.makeAll(files.folder) } catch {
      throw SegmentationError(.output(error.description))
    }
    for path in files.journals + [files.journal, files.statistics, files.sums] { try OwnWork.check(path) }
  }

  /// Does the photos of the list that are not done.
  ///
  /// - Returns: what became of all photos of the shard, in this run and before.
  @discardableResult
  package func run(_ list: ListedPhotos, _ work: some ShardWork) throws -> RecordTally {
    let head = try work.head(of: shard)
    let journal = try PartJournal(files, head: head)
    var tally = RecordTally(labelCount: head.titles.count)
    do {
      while let photo = try list.next() {
        if let earlier = try journal.next() {
          guard earlier.photo.line == photo.line, earlier.photo.path == photo.path else {
            throw otherList(photo)
          }
          tally.add(earlier)
          continue
        }
        tally.add(try journal.append(try record(photo, work)))
      }
      if let more = try journal.next() { throw otherList(more.photo) }
    } catch {
      // What is done is worth more than the second error.
      if journal.hasGrown { try? journal.flush() }
      throw error
    }
    let counted = (photos: list.count, sha256: list.sha256)
    try journal.finish { old in
      if let list = old?.member("list"), case .string(counted.sha256)? = list.member("sha256") { return nil }
      return PartStatistics.json(head, tally, photos: counted.photos, list: counted.sha256)
    }
    if !journal.hasGrown {
      listener.note("shard \(shard.text): \(tally.done + tally.failed) photos were done already")
    }
    return tally
  }

  private func otherList(_ photo: ListedPhoto) -> SegmentationError {
    SegmentationError(
      .usage("'\(photo.path)', photo \(photo.line) of its list, is not in this one; name another folder"),
      path: files.stem)
  }

  private func record(_ photo: ListedPhoto, _ work: some ShardWork) throws -> PhotoRecord {
    var found = photo
    do {
      try check(&found, photo)
      return PhotoRecord(found, .done(try work.findings(photo)))
    } catch let error as SegmentationError {
      let isSum = error.field == Self.sumField
      guard var failure = PhotoRecord.Failure(error) else { throw error }
      if isSum { failure.kind = "sum" }
      listener.fail(error.path == nil && error.exitCode == 5 ? error.at(path: photo.path) : error)
      return PhotoRecord(found, .failed(failure))
    }
  }

  private static let sumField = "sum"

  /// Reads the photo's file once: its size and digest go into the record.
  ///
  /// - Errors: `.photo` for one that cannot be read or is another than the list says, `.output` for storage
  ///   that fails.
  private func check(_ found: inout ListedPhoto, _ photo: ListedPhoto) throws(SegmentationError) {
    if rules.expectsSums && photo.sha256 == nil {
      throw SegmentationError(
        .usage("--expect-sums: the list has no \"sha256\" of '\(photo.path)', photo \(photo.line)"))
    }
    (found.byteCount, found.sha256) = (nil, nil)
    do throws(SystemError) {
      let file = try InputFile<SystemError>.open(path: photo.path)
      found.byteCount = file.byteCount
      found.sha256 = try file.sha256Hex()
    } catch {
      if error.isPassing {
        throw SegmentationError(
          .output("\(error.reason.description); the storage failed, run this again"), path: photo.path)
      }
      throw SegmentationError(.photo(error.reason.description), path: photo.path)
    }
    guard rules.expectsSums else { return }
    if let wanted = photo.byteCount, let have = found.byteCount, wanted != have {
      throw SegmentationError(
        .photo("has \(have) bytes, the list says \(wanted)"), path: photo.path, field: Self.sumField)
    }
    if found.sha256 != photo.sha256 {
      throw SegmentationError(
        .photo("SHA-256 \(found.sha256 ?? ""), the list says \(photo.sha256 ?? "")"), path: photo.path,
        field: Self.sumField)
    }
  }

  /// What a scheduler is told of a shard that came to its end: nil for nothing, else an exit code and why.
  ///
  /// Photos that do not fit are an error, which only more memory mends; bad ones only by the rules.
  package func verdict(_ tally: RecordTally) -> (code: Int32, text: String)? {
    guard tally.failed > 0 else { return nil }
    let counts = tally.failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
    var text =
      "shard \(shard.text): \(tally.failed) of \(tally.done + tally.failed) photos could not be segmented "
      + "(\(counts.joined(separator: ", "))); lines with \"error\" in \(files.folder)\(files.stem)*.jsonl"
    let code: Int32 = tally.last[5] != nil ? 5 : rules.failsOnPhoto ? 3 : 0
    if let last = tally.last[5] { text += "; the last that does not fit: \(last.message)" }
    return (code, text)
  }
}

/// What a part says about itself.
enum PartStatistics {
  static let beginning = "{\n  \"trident_part\": 1,"

  /// `photos` and `list`: of the whole list.
  static func json(_ head: PartHead, _ tally: RecordTally, photos: Int, list: String) -> JSON {
    let options = (try? JSONReader.parse(Array(head.options.utf8))) ?? .null
    return .object([
      ("trident_part", .int(1)), ("shard", .int(head.shard.index)), ("of", .int(head.shard.count)),
      ("list", .object([("photos", .int(photos)), ("sha256", .string(list))])),
      ("photos", .int(tally.done + tally.failed)), ("done", .int(tally.done)), ("failed", .int(tally.failed)),
      ("failures", tally.failuresJSON), ("seconds", .number(tally.seconds)),
      ("peak_resident_bytes", .int(tally.peakResident)), ("version", .string(head.version)),
      ("model_id", .string(head.model)), ("settings", .string(head.settings)), ("options", options),
      ("outputs", .array(head.outputs.map { .string($0) })), ("classes", tally.classesJSON(head.titles)),
    ])
  }
}

extension SystemError {
  /// Storage or network that failed, not a file that is bad: another try may succeed.
  var isPassing: Bool {
    guard case .system(_, let code) = reason else { return false }
    return code != ENOENT && code != EACCES && code != EPERM && code != ENOTDIR && code != ELOOP
      && code != ENAMETOOLONG && code != EISDIR && code != EINVAL && code != ENXIO
  }
}
