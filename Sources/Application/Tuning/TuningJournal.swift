// What a search has found so far: a header that says what is searched, then a line a photo.
import Segmentation
import System

/// A journal that is being added to, beside the preset that the search will write.
///
/// A search that was ended goes on behind the last whole line. A file belongs to one process at a time.
///
/// - Memory: a read buffer and the longest line.
/// - Errors: `.usage` where the file belongs to another search; `.output` where it is damaged, locked or
///   cannot be written.
final class TuningJournal {
  static let firstLine = "trident-tuning 1"
  private static let separator = "\t"

  private let path: String
  private let file: LogFile
  private let trialCount: Int

  /// Opens or creates the file; hands over what is done, in the order of the photos.
  ///
  /// - Parameters:
  ///   - header: lines of what decides the rewards; `overwrites`: another search's journal is begun anew.
  ///   - names: of the photos.
  init(
    path: String, header: [String], names: [String], trialCount: Int, overwrites: Bool,
    each: (_ classes: Int, [Reward]) -> Void
  ) throws(SegmentationError) {
    (self.path, self.trialCount) = (path, trialCount)
    let text = ([Self.firstLine] + header).joined(separator: "\n") + "\n\n"
    do throws(SystemError) { file = try LogFile(path: path) } catch { throw Self.named(error, path) }
    let lines = try Self.lines(path)
    guard try matches(text, lines, overwrites: overwrites) else {
      try begin(text)
      return
    }
    var whole = text.utf8.count
    var done = 0
    while let line = try lines() {
      guard done < names.count, let (classes, rewards) = parse(line.text, name: names[done]) else {
        throw SegmentationError(
          .output("is damaged; delete this line and what follows, its photos are then done again"),
          path: path, line: line.number)
      }
      each(classes, rewards)
      (whole, done) = (line.end, done + 1)
    }
    try cut(to: whole)
  }

  /// Whether the file begins with this header; false where it has a part of it at most.
  ///
  /// - Errors: `.usage` for another header, unless that may go.
  private func matches(
    _ header: String, _ lines: () throws(SegmentationError) -> Line?, overwrites: Bool
  ) throws(SegmentationError) -> Bool {
    for wanted in header.dropLast().split(separator: "\n", omittingEmptySubsequences: false) {
      guard let line = try lines() else { return false }
      if line.text == wanted { continue }
      if overwrites { return false }
      let own = printable(line.text, limit: 200)
      let other = printable(String(wanted), limit: 200)
      throw SegmentationError(
        .usage("is of another search: '\(own)', not '\(other)'; name another --output, or --overwrite"),
        path: path)
    }
    return true
  }

  private func begin(_ text: String) throws(SegmentationError) {
    try cut(to: 0)
    try append(text)
  }

  private func cut(to count: Int) throws(SegmentationError) {
    do throws(SystemError) { try file.cut(to: count) } catch { throw Self.named(error, path) }
  }

  private func append(_ text: String) throws(SegmentationError) {
    do throws(SystemError) { try file.append(text) } catch { throw Self.named(error, path) }
  }

  /// Adds a photo; it is on disk when this returns.
  func add(_ name: String, classes: Int, _ rewards: [Reward]) throws(SegmentationError) {
    let wins = rewards.map { String($0.wins) }.joined(separator: " ")
    let margins = rewards.map { "\($0.margin)" }.joined(separator: " ")
    try append([JSON.quoted(name), String(classes), wins, margins].joined(separator: Self.separator) + "\n")
  }

  private func parse(_ line: String, name: String) -> (classes: Int, rewards: [Reward])? {
    let fields = line.split(separator: Character(Self.separator), omittingEmptySubsequences: false)
    guard fields.count == 4, fields[0] == JSON.quoted(name), let classes = Int(fields[1]), classes > 0 else {
      return nil
    }
    let wins = fields[2].split(separator: " ").compactMap { Int($0) }
    let margins = fields[3].split(separator: " ").compactMap { Double($0) }
    guard wins.count == trialCount, margins.count == trialCount, margins.allSatisfy(\.isFinite),
      wins.allSatisfy({ (0...classes).contains($0) })
    else { return nil }
    return (classes, zip(wins, margins).map { Reward(wins: $0, margin: $1) })
  }

  private typealias Line = (text: String, number: Int, end: Int)

  private static func lines(_ path: String) throws(SegmentationError) -> () throws(SegmentationError) -> Line?
  {
    let reader: LineReader
    do throws(SystemError) { reader = try LineReader(path: path) } catch { throw named(error, path) }
    return { () throws(SegmentationError) in
      do throws(SystemError) {
        return try reader.next().map { ($0, reader.number, reader.wholeByteCount) }
      } catch { throw named(error, path) }
    }
  }

  private static func named(_ error: SystemError, _ path: String) -> SegmentationError {
    if case .system("lock", _) = error.reason {
      return SegmentationError(.output("another search is adding to it"), path: path)
    }
    return SegmentationError(.output(error.reason.description), path: path)
  }
}
