// Results on disk: a header, then a line a photo, appended as photos are done.
import Segmentation
import System

/// A results file that is being added to.
///
/// A run that was ended, or a board that lost power, leaves at most half a line, which the next run drops:
/// every line is on disk before the next photo. A file belongs to one process at a time.
///
/// - Memory: a read buffer of 64 KiB, the longest line and, while it is opened, the names of its photos.
/// - Errors: `.usage` where the file was made with something else; `.output` where it is damaged, locked or
///   cannot be written.
package final class ResultsFile {
  package let path: String
  private let file: LogFile

  /// Opens or creates the file; hands every stored line to `each`, no photo twice.
  package init(
    path: String, header: ResultsHeader, each: (PhotoResult) throws(SegmentationError) -> Void
  ) throws(SegmentationError) {
    self.path = path
    do throws(SystemError) {
      file = try LogFile(path: path)
      if !Self.holdsMore(than: header.text, path) {
        try file.cut(to: 0)
        try file.append(header.text)
        return
      }
    } catch { throw .results(error, path) }
    let reader = try ResultsReader(path: path)
    if let difference = reader.header.difference(from: header) {
      throw SegmentationError(
        .usage("was made with '\(difference.own)', this run has '\(difference.other)'; name another file"),
        path: path)
    }
    var names: Set<String> = []
    while let (result, _) = try reader.next() {
      guard names.insert(result.name).inserted else {
        throw SegmentationError(
          .output("holds '\(result.name)' twice; delete one of the lines"), path: path, line: reader.line)
      }
      try each(result)
    }
    do throws(SystemError) { try file.cut(to: reader.wholeByteCount) } catch { throw .results(error, path) }
  }

  /// Whether the file is something else than the beginning of this header.
  private static func holdsMore(than header: String, _ path: String) -> Bool {
    guard let bytes = try? FileBytes.read(path, limit: header.utf8.count - 1) else { return true }
    return !header.utf8.starts(with: bytes)
  }

  /// Adds a line; it is on disk when this returns.
  package func append(_ result: PhotoResult) throws(SegmentationError) {
    do throws(SystemError) { try file.append(result.line + "\n") } catch { throw .results(error, path) }
  }
}

/// Reads a results file line by line.
package final class ResultsReader {
  package let header: ResultsHeader
  private let path: String
  private let lines: LineReader

  package init(path: String) throws(SegmentationError) {
    self.path = path
    let lines: LineReader
    do throws(SystemError) { lines = try LineReader(path: path) } catch { throw .results(error, path) }
    self.lines = lines
    do throws(SegmentationError) {
      header = try ResultsHeader { () throws(SegmentationError) in try Self.next(lines, path) }
    } catch {
      throw error.at(path: path)
    }
  }

  /// The next photo and its line; nil at the end, or where the last line has no end.
  package func next() throws(SegmentationError) -> (result: PhotoResult, line: String)? {
    guard let line = try Self.next(lines, path) else { return nil }
    guard let result = PhotoResult(line: line[...], classCount: header.classes.count) else {
      throw SegmentationError(
        .output("is damaged; delete this line, its photo is then done again"), path: path, line: lines.number)
    }
    return (result, line)
  }

  private static func next(_ lines: LineReader, _ path: String) throws(SegmentationError) -> String? {
    do throws(SystemError) { return try lines.next() } catch { throw .results(error, path) }
  }

  /// Number of the line read last, from 1.
  package var line: Int { lines.number }

  /// Bytes of all lines read so far: those that have an end.
  package var wholeByteCount: Int { lines.wholeByteCount }
}

extension SegmentationError {
  fileprivate static func results(_ error: SystemError, _ path: String) -> SegmentationError {
    let text =
      switch error.reason {
      case .notAFile: "is not a regular file; name another"
      case .system("lock", _): "another run is adding to it; give each run its own file and merge them"
      case .tooLarge(_, _, let limit): "has a line of more than \(limit) bytes; it is no results file"
      default: error.reason.description
      }
    return SegmentationError(.output(text), path: path)
  }
}

/// Puts the parts of a split together.
///
/// - Memory: the names of all photos, so that none counts twice.
/// - Errors: `.usage` for files of different runs, and for a photo that two files hold.
package struct ResultsMerge {
  package private(set) var header: ResultsHeader
  package private(set) var summary: EvaluationSummary

  /// Reads `paths`; all lines go to `output` as well, where there is one.
  package init(paths: [String], output: AtomicFile?) throws {
    var header: ResultsHeader?
    var summary = EvaluationSummary(classCount: 0)
    var origin: [String: Int] = [:]
    for (index, path) in paths.enumerated() {
      let reader = try ResultsReader(path: path)
      if let header {
        if let difference = reader.header.difference(from: header) {
          throw SegmentationError(
            .usage(
              "has '\(difference.own)' where \(paths[0]) has '\(difference.other)'; "
                + "merge only parts of one run"),
            path: path)
        }
      } else {
        header = reader.header
        summary = EvaluationSummary(classCount: reader.header.classes.count)
        try output?.write(reader.header.text)
      }
      while let (result, line) = try reader.next() {
        if let earlier = origin.updateValue(index, forKey: result.name) {
          throw SegmentationError(
            .usage("holds '\(result.name)', which \(paths[earlier]) holds too; leave one of them out"),
            path: path)
        }
        summary.add(result)
        try output?.write(line + "\n")
      }
    }
    guard let header else { throw SegmentationError(.usage("--merge needs results files")) }
    self.header = header
    self.summary = summary
  }
}
