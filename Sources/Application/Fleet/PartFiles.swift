// The files of a shard's part: journal, statistics and sums, and who they belong to.
import Segmentation
import System

/// What all records of a part have in common; its text is the first line of each of its journals.
package struct PartHead: Equatable {
  static let beginning = "{\"trident_part\":1,"

  package let shard: Shard
  /// Of the program.
  package let version: String
  /// SHA-256 over model, options and classes.
  package let settings: String
  package let model: String
  /// Files a photo that the part was asked for beside its own.
  package let outputs: [String]
  /// Records hold COCO annotations.
  package let hasAnnotations: Bool
  /// What results call each label.
  package let titles: [String]
  /// As JSON in one line.
  package let options: String

  package init(
    shard: Shard, version: String, settings: String, model: String, outputs: [String], hasAnnotations: Bool,
    titles: [String], options: JSON
  ) {
    (self.shard, self.version, self.settings, self.model) = (shard, version, settings, model)
    (self.outputs, self.hasAnnotations, self.titles) = (outputs, hasAnnotations, titles)
    self.options = options.text(indent: -1)
  }

  package var line: String {
    let members: [(String, JSON)] = [
      ("trident_part", .int(1)), ("shard", .int(shard.index)), ("of", .int(shard.count)),
      ("version", .string(version)), ("model_id", .string(model)), ("settings", .string(settings)),
      ("outputs", .array(outputs.map { .string($0) })), ("annotations", .bool(hasAnnotations)),
      ("classes", .array(titles.map { .string($0) })), ("options", .string(options)),
    ]
    return JSON.object(members).text(indent: -1)
  }

  /// Reads a first line; nil where it is none.
  package init?(line: String) {
    guard line.hasPrefix(Self.beginning), let json = try? JSONReader.parse(Array(line.utf8)),
      case .int(let index)? = json.member("shard"), case .int(let count)? = json.member("of"),
      let shard = Shard("\(index &+ 1)/\(count)"), case .array(let outputs)? = json.member("outputs"),
      case .bool(let hasAnnotations)? = json.member("annotations"),
      case .array(let titles)? = json.member("classes")
    else { return nil }
    func text(_ key: String) -> String? {
      guard case .string(let value)? = json.member(key) else { return nil }
      return value
    }
    func texts(_ values: [JSON]) -> [String] {
      var texts: [String] = []
      for case .string(let text) in values { texts.append(text) }
      return texts
    }
    guard let version = text("version"), let model = text("model_id"), let settings = text("settings"),
      let options = text("options")
    else { return nil }
    (self.shard, self.version, self.settings, self.model) = (shard, version, settings, model)
    (self.hasAnnotations, self.options) = (hasAnnotations, options)
    (self.outputs, self.titles) = (texts(outputs), texts(titles))
  }

  /// In what another head is of another run; nil for parts of one.
  package func difference(from other: PartHead, comparesOutputs: Bool) -> String? {
    if model != other.model { return "another model" }
    if options != other.options { return "other options" }
    if titles != other.titles { return "other classes" }
    if settings != other.settings { return "other words or settings" }
    if version != other.version { return "version \(version) of this program" }
    if hasAnnotations != other.hasAnnotations {
      return hasAnnotations ? "annotations" : "no annotations"
    }
    if comparesOutputs && outputs != other.outputs { return "other outputs" }
    return nil
  }
}

/// Where the files of a part are.
package struct PartFiles: Equatable {
  static let sumsBeginning = "# trident part: sums\n"
  /// With its slash.
  package let folder: String
  package let stem: String

  package init(folder: String, index: Int) {
    self.folder = folder.hasSuffix("/") ? folder : folder + "/"
    stem = Shard.stem(index)
  }

  package var journal: String { folder + stem + ".jsonl" }
  /// A journal that is written in whole pieces.
  package func journal(piece: Int) -> String { folder + stem + "-" + Shard.stem(piece) + ".jsonl" }
  package var statistics: String { folder + stem + "_stats.json" }
  /// Written last: a part that has it is whole.
  package var sums: String { folder + stem + ".sha256" }

  /// The journals that are there, in order.
  package var journals: [String] {
    if fileExists(journal) { return [journal] }
    var found: [String] = []
    while fileExists(journal(piece: found.count)) { found.append(journal(piece: found.count)) }
    return found
  }

  /// What the sums of the files that are there should be, as `sha256sum --check` reads them.
  ///
  /// - Errors: the system's, for a file that cannot be read.
  func sumsText(_ journals: [String]) throws(SystemError) -> String {
    var text = Self.sumsBeginning
    for path in journals + [statistics] { text += "\(try contentDigest(path))  \(fileName(of: path))\n" }
    return text
  }
}

/// Reads the records of a part, over all its journals.
///
/// - Memory: the longest line and `chunk` bytes.
/// - Errors: `.usage` for a file that is no journal, `.output` for one that is damaged or cannot be read.
package final class PartReader {
  package let files: [String]
  private let chunk: Int
  private var index = 0
  private var lines: LineReader?
  /// Of the first journal.
  package private(set) var head: PartHead?
  /// Bytes of the whole lines of the last journal that was read.
  package private(set) var wholeByteCount = 0

  package init(_ files: [String], chunk: Int = 1 << 16) throws(SegmentationError) {
    (self.files, self.chunk) = (files, chunk)
    if !files.isEmpty { try open() }
  }

  private func open() throws(SegmentationError) {
    let path = files[index]
    do throws(SystemError) {
      let lines = try LineReader(path: path, chunk: chunk)
      self.lines = lines
      if let first = try lines.next() {
        guard let head = PartHead(line: first) else {
          throw SystemError(.malformed("is no journal of a part; move it away or name another folder"))
        }
        if self.head == nil { self.head = head }
        wholeByteCount = lines.wholeByteCount
      } else {
        wholeByteCount = 0
      }
    } catch { throw SegmentationError(.output(error.reason.description), path: path) }
  }

  /// The next record; nil behind the last whole line.
  package func next() throws(SegmentationError) -> PhotoRecord? {
    while let lines {
      let line: String?
      do throws(SystemError) { line = try lines.next() } catch {
        throw SegmentationError(.output(error.reason.description), path: files[index])
      }
      if let line {
        guard let record = PhotoRecord(line: line) else {
          throw SegmentationError(
            .output("is damaged; delete the part's files, it is then done again"), path: files[index],
            line: lines.number)
        }
        wholeByteCount = lines.wholeByteCount
        return record
      }
      self.lines = nil
      index += 1
      if index < files.count { try open() }
    }
    return nil
  }
}
