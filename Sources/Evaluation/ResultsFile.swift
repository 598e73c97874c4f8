// Results on disk: a header, then a line a photo, appended as photos are done.
import Raster
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A results file that is being added to.
///
/// A run that was ended, or a board that lost power, leaves at most half a line, which the next run drops: every line is on
/// disk before the next photo. A file belongs to one process at a time.
///
/// - Memory: a read buffer of 64 KiB, the longest line and, while it is opened, the names of its photos.
/// - Errors: `.usage` where the file was made with something else; `.output` where it is damaged, locked or cannot be
///   written.
package final class ResultsFile {
  package let path: String
  private let descriptor: Int32

  /// Opens or creates the file; hands every stored line to `each`, no photo twice.
  package init(
    path: String, header: ResultsHeader, each: (PhotoResult) throws(SegmentationError) -> Void
  ) throws(SegmentationError) {
    self.path = path
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw .system("cannot open", path) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw SegmentationError(.output("is not a regular file; name another"), path: path)
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw SegmentationError(.output("another run is adding to it; give each run its own file and merge them"), path: path)
    }
    if !Self.holdsMore(than: header.text, path) {
      guard ftruncate(descriptor, 0) == 0 else { throw .system("cannot drop its half header", path) }
      try write(header.text)
      return
    }
    let reader = try ResultsReader(path: path)
    if let difference = reader.header.difference(from: header) {
      throw SegmentationError(
        .usage("was made with '\(difference.own)', this run has '\(difference.other)'; name another file"), path: path)
    }
    var names: Set<String> = []
    while let (result, _) = try reader.next() {
      guard names.insert(result.name).inserted else {
        throw SegmentationError(.output("holds '\(result.name)' twice; delete one of the lines"), path: path, line: reader.line)
      }
      try each(result)
    }
    guard ftruncate(descriptor, off_t(reader.wholeByteCount)) == 0,
      lseek(descriptor, 0, SEEK_END) >= 0
    else { throw .system("cannot drop its half line", path) }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Whether the file is something else than the beginning of this header.
  private static func holdsMore(than header: String, _ path: String) -> Bool {
    guard let bytes = try? FileBytes.read(path, limit: header.utf8.count - 1) else { return true }
    return !header.utf8.starts(with: bytes)
  }

  /// Adds a line; it is on disk when this returns.
  package func append(_ result: PhotoResult) throws(SegmentationError) { try write(result.line + "\n") }

  private func write(_ text: String) throws(SegmentationError) {
    let bytes = Array(text.utf8)
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { writeSome(descriptor, $0.baseAddress! + done, bytes.count - done) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw .system("cannot write", path) }
      done += count
    }
    guard fdatasync(descriptor) == 0 else { throw .system("cannot sync", path) }
  }
}

private func writeSome(_ file: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
  #if canImport(Glibc)
    Glibc.write(file, bytes, count)
  #else
    Musl.write(file, bytes, count)
  #endif
}

/// Reads a results file line by line.
package final class ResultsReader {
  package let header: ResultsHeader
  private let path: String
  private let lines: LineReader

  package init(path: String) throws(SegmentationError) {
    self.path = path
    let lines = try LineReader(path: path)
    self.lines = lines
    do throws(SegmentationError) {
      header = try ResultsHeader { () throws(SegmentationError) in try lines.next() }
    } catch {
      throw error.at(path: path)
    }
  }

  /// The next photo and its line; nil at the end, or where the last line has no end.
  package func next() throws(SegmentationError) -> (result: PhotoResult, line: String)? {
    guard let line = try lines.next() else { return nil }
    guard let result = PhotoResult(line: line[...], classCount: header.classes.count) else {
      throw SegmentationError(.output("is damaged; delete this line, its photo is then done again"), path: path, line: lines.number)
    }
    return (result, line)
  }

  /// Number of the line read last, from 1.
  package var line: Int { lines.number }

  /// Bytes of all lines read so far: those that have an end.
  package var wholeByteCount: Int { lines.wholeByteCount }
}

/// Lines of a text file that have an end.
final class LineReader {
  private static let lineLimit = 16 << 20
  private let path: String
  private let descriptor: Int32
  private var buffer: [UInt8] = []
  private var start = 0
  private(set) var number = 0
  private(set) var wholeByteCount = 0

  init(path: String) throws(SegmentationError) {
    self.path = path
    // O_NONBLOCK: opening a pipe that nobody writes to must not hang.
    descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .system("cannot open", path) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw SegmentationError(.output("is not a regular file; name another"), path: path)
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  func next() throws(SegmentationError) -> String? {
    var searched = start
    while true {
      if let end = buffer[searched...].firstIndex(of: 0x0A) {
        let line = String(decoding: buffer[start..<end], as: UTF8.self)
        wholeByteCount += end + 1 - start
        start = end + 1
        number += 1
        return line
      }
      buffer.removeFirst(start)
      start = 0
      searched = buffer.count
      guard searched < Self.lineLimit else {
        throw SegmentationError(.output("has a line of more than \(Self.lineLimit) bytes; it is no results file"), path: path)
      }
      var chunk = [UInt8](repeating: 0, count: 1 << 16)
      let count = read(descriptor, &chunk, chunk.count)
      if count < 0 { throw .system("cannot read", path) }
      if count == 0 { return nil }
      buffer.append(contentsOf: chunk[..<count])
    }
  }
}

extension SegmentationError {
  static func system(_ action: String, _ path: String) -> SegmentationError {
    SegmentationError(.output("\(action): \(String(cString: strerror(errno)).lowercased())"), path: path)
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
            .usage("has '\(difference.own)' where \(paths[0]) has '\(difference.other)'; merge only parts of one run"),
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
            .usage("holds '\(result.name)', which \(paths[earlier]) holds too; leave one of them out"), path: path)
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
