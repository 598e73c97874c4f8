// Writing a part: records as they come, then statistics, then sums.
import Segmentation
import System

/// The part of one shard that is being made.
///
/// Its journal grows by whole lines, each on disk before the next photo, and belongs to one process at a
/// time. Where files are written whole it comes in pieces of at most 64 records instead.
///
/// - Memory: a record; in pieces at most 64 of them, 4 MiB with what is over it.
/// - Errors: `.usage` where the part was made with something else; `.output` where it is damaged, locked or
///   cannot be written.
package final class PartJournal {
  private static let pieceCount = 64
  private static let pieceByteCount = 4 << 20
  /// `LineReader` takes no longer ones.
  private static let lineLimit = 15 << 20

  package let files: PartFiles
  private let head: PartHead
  private let reader: PartReader
  private var file: LogFile?
  private var held: [String] = []
  private var heldByteCount = 0
  /// Pieces that are there.
  private var pieces: [String] = []
  private let isWhole: Bool
  private var isBehindRecords = false
  private var hasBegun = false
  /// Records were added.
  package private(set) var hasGrown = false

  /// `inPieces`: files are never added to.
  ///
  /// - Errors: `.usage` also for a part that was begun in the other way.
  package init(
    _ files: PartFiles, head: PartHead, inPieces: Bool = AtomicFile.writesWhole
  ) throws(SegmentationError) {
    (self.files, self.head, isWhole) = (files, head, inPieces)
    let other = inPieces ? files.journal : files.journal(piece: 0)
    if fileExists(other) {
      throw SegmentationError(
        .usage("was begun with --writes \(inPieces ? "rename" : "whole"); go on so, or name another folder"),
        path: other)
    }
    if !inPieces {
      do throws(SystemError) { file = try LogFile(path: files.journal) } catch {
        if case .system("lock", _) = error.reason {
          throw SegmentationError(.output("another process is doing this shard"), path: files.journal)
        }
        throw SegmentationError(.output(error.reason.description), path: files.journal)
      }
    }
    reader = try PartReader(files.journals)
    if inPieces { pieces = reader.files }
    if let other = reader.head {
      if let difference = other.difference(from: head, comparesOutputs: true) {
        throw SegmentationError(
          .usage("was made with \(difference); name another folder for parts"), path: reader.files[0])
      }
      guard other.shard == head.shard else {
        throw SegmentationError(
          .usage("is of shard \(other.shard.text), not \(head.shard.text); name another folder for parts"),
          path: reader.files[0])
      }
    }
  }

  /// The next record of an earlier run; nil behind the last.
  package func next() throws(SegmentationError) -> PhotoRecord? {
    if isBehindRecords { return nil }
    if let record = try reader.next() { return record }
    isBehindRecords = true
    return nil
  }

  /// Adds a record; all earlier ones must have been read.
  ///
  /// - Returns: what was added: a failure in the place of a record that no reader would take.
  @discardableResult
  package func append(_ record: PhotoRecord) throws(SegmentationError) -> PhotoRecord {
    precondition(isBehindRecords, "a record goes behind the last")
    var record = record
    var line = record.line
    if line.utf8.count > Self.lineLimit {
      let failure = PhotoRecord.Failure(kind: "photo", message: "its annotations take more than 15 MiB")
      record = PhotoRecord(record.photo, .failed(failure))
      line = record.line
    }
    hasGrown = true
    guard let file else {
      held.append(line)
      heldByteCount += line.utf8.count
      if held.count >= Self.pieceCount || heldByteCount >= Self.pieceByteCount { try flush() }
      return record
    }
    do throws(SystemError) {
      try begin(file)
      try file.append(line + "\n")
    } catch { throw SegmentationError(.output(error.reason.description), path: files.journal) }
    return record
  }

  /// Drops half a line and writes the head, once.
  private func begin(_ file: LogFile) throws(SystemError) {
    if hasBegun { return }
    hasBegun = true
    try file.cut(to: reader.wholeByteCount)
    if reader.wholeByteCount == 0 { try file.append(head.line + "\n") }
  }

  /// Writes what is held as a piece of its own.
  package func flush() throws(SegmentationError) {
    guard isWhole, !held.isEmpty || pieces.isEmpty else { return }
    let path = files.journal(piece: pieces.count)
    do throws(SystemError) {
      try FileBytes.replace(path, with: Array((head.line + "\n" + held.map { $0 + "\n" }.joined()).utf8))
    } catch { throw SegmentationError(.output(error.description)) }
    pieces.append(path)
    (held, heldByteCount) = ([], 0)
  }

  /// Ends the journal and writes statistics and sums, unless those that are there are right.
  package func finish(_ statistics: (_ old: JSON?) -> JSON?) throws(SegmentationError) {
    if let file {
      do throws(SystemError) { try begin(file) } catch {
        throw SegmentationError(.output(error.reason.description), path: files.journal)
      }
    } else {
      try flush()
    }
    let journals = isWhole ? pieces : [files.journal]
    let old =
      hasGrown
      ? nil
      : (try? FileBytes.read(files.statistics, limit: 1 << 28)).flatMap {
        try? JSONReader.parse($0)
      }
    let new = statistics(old)
    do throws(SystemError) {
      if let new { try FileBytes.replace(files.statistics, with: Array((new.text() + "\n").utf8)) }
      let sums = try files.sumsText(journals)
      if new == nil, let there = try? FileBytes.read(files.sums, limit: 1 << 24), there == Array(sums.utf8) {
        return
      }
      try FileBytes.replace(files.sums, with: Array(sums.utf8))
    } catch { throw SegmentationError(.output(error.description)) }
  }
}
