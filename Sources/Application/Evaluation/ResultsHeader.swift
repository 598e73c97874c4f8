// The head of a results file: which model, options, labels, photos and classes its lines belong to.

import Segmentation
import System

/// What makes results comparable. Two files with equal headers may be merged.
package struct ResultsHeader: Equatable, Sendable {
  private static let firstLine = "trident-evaluation 1"

  /// Keys and values in the order of the file.
  private var lines: [(key: String, value: String)]
  /// Phrases of each class, separated by `; `.
  package let classes: [String]
  /// Photos of the whole split.
  package let photoCount: Int

  /// - Errors: `.usage` for a value with a line break.
  package init(
    model: String, options: [(String, String)], set: String, labels: String, photoCount: Int,
    photoDigest: String,
    background: Bool, classes: [String]
  ) throws(SegmentationError) {
    lines = [("model", model)] + options.map { (key: "option", value: "\($0.0) \($0.1)") }
    lines += [("set", set), ("labels", labels), ("photos", "\(photoCount) \(photoDigest)")]
    lines += [("background", background ? "yes" : "no")] + classes.map { (key: "class", value: $0) }
    self.classes = classes
    self.photoCount = photoCount
    if let bad = lines.first(where: { $0.value.contains { $0.isNewline } }) {
      throw SegmentationError(.usage("a line break in the \(bad.key) '\(bad.value)'"))
    }
  }

  /// Names for tables.
  package var classNames: [String] {
    classes.enumerated().map { index, phrases in
      index == 0 && background
        ? "background" : phrases.split(separator: ";", maxSplits: 1).first.map(String.init) ?? phrases
    }
  }

  /// Class 0 is what nothing else is.
  package var background: Bool { value("background") == "yes" }
  package var model: String { value("model") }
  package var set: String { value("set") }
  /// How numbers in label maps are read.
  var labelRule: String { value("labels") }
  package var options: [(name: String, value: String)] {
    lines.filter { $0.key == "option" }.map { line in
      let parts = line.value.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
      return (name: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : "")
    }
  }

  private func value(_ key: String) -> String { lines.first { $0.key == key }?.value ?? "" }

  /// The header with the empty line that ends it.
  package var text: String {
    ([Self.firstLine] + lines.map { "\($0.key) \($0.value)" }).joined(separator: "\n") + "\n\n"
  }

  /// Reads a header, up to and with its empty line.
  ///
  /// - Errors: `.output`: the file is something else; it is left alone.
  package init(reading next: () throws(SegmentationError) -> String?) throws(SegmentationError) {
    let other = SegmentationError(.output("is no results file of 'trident evaluate'; name another"))
    guard try next() == Self.firstLine else { throw other }
    var lines: [(key: String, value: String)] = []
    while true {
      guard let line = try next() else { throw other }
      if line.isEmpty { break }
      guard let space = line.firstIndex(of: " ") else { throw other }
      lines.append((key: String(line[..<space]), value: String(line[line.index(after: space)...])))
    }
    self.lines = lines
    classes = lines.filter { $0.key == "class" }.map(\.value)
    let photos = lines.first { $0.key == "photos" }?.value.split(separator: " ")
    guard let count = photos?.first.flatMap({ Int($0) }), count > 0, !classes.isEmpty else { throw other }
    photoCount = count
  }

  /// The first line in which two headers differ, of each; nil where they agree.
  package func difference(from other: ResultsHeader) -> (own: String, other: String)? {
    for index in 0..<max(lines.count, other.lines.count) {
      let pair = [self, other].map {
        index < $0.lines.count ? "\($0.lines[index].key) \($0.lines[index].value)" : "nothing"
      }
      if pair[0] != pair[1] { return (own: pair[0], other: pair[1]) }
    }
    return nil
  }

  package static func == (a: ResultsHeader, b: ResultsHeader) -> Bool { a.difference(from: b) == nil }
}
