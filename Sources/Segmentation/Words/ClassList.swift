// The classes of a segmentation and the phrases that stand for them.
import System

/// Named classes, each with one or more phrases.
///
/// A class is one line, its synonyms separated by `;`; spaces around a synonym are dropped (the published
/// code splits at `"; "` only and keeps other spaces, which its tokenizer then ignores). The first synonym
/// is the class's name. Two classes may share a synonym, as the published COCO-Object list does, and a name
/// (`crane; bird`, `crane; machine`), but not all of them.
///
/// - Memory: the strings.
/// - Errors: `.classes` with the line number, or the number of the argument as line; `.limit`.
package struct ClassList: Equatable, Sendable {
  /// Labels have 16 bits, and the largest means none.
  package static let classLimit = 65_534
  package static let synonymLimit = 1000
  package static let phraseLimit = 262_144
  package static let phraseByteLimit = 1000
  package static let fileByteLimit = 64 << 20

  /// Name of each class: its first phrase.
  package private(set) var names: [String] = []
  /// All phrases, class by class.
  package private(set) var phrases: [String] = []
  /// Class of each phrase, rising by 0 or 1; [phrases].
  package private(set) var classIndex: [Int32] = []
  /// What some classes mean, by class.
  package private(set) var descriptions: [Int: ClassDescription] = [:]
  /// Whether class 0 is what is left over.
  package let background: Bool

  package var count: Int { names.count }

  /// What results call each class: its name, with its synonyms where two share that, but `background` for
  /// class 0 where it is that.
  package var titles: [String] {
    var counts: [String: Int] = [:]
    for name in names { counts[name, default: 0] += 1 }
    let own = names.indices.map { index in
      counts[names[index]] == 1 ? names[index] : phrases(ofClass: index).joined(separator: "; ")
    }
    return background ? ["background"] + own.dropFirst() : own
  }

  /// The phrases of one class.
  package func phrases(ofClass index: Int) -> ArraySlice<String> {
    phrases[firstPhrase(ofClass: index)..<firstPhrase(ofClass: index + 1)]
  }

  /// A class as a class file has it; equal classes have equal lines.
  package func line(ofClass index: Int) -> String {
    let phrases = phrases(ofClass: index).joined(separator: "; ")
    return descriptions[index].map { "\(phrases) \($0.line)" } ?? phrases
  }

  /// Where a class's phrases begin; the end for the class behind the last.
  private func firstPhrase(ofClass index: Int) -> Int {
    var (low, high) = (0, classIndex.count)
    while low < high {
      let middle = (low + high) / 2
      if classIndex[middle] < Int32(index) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// One class an argument, as `--class "cat; kitten"`.
  package init(arguments: [String], background: Bool) throws(SegmentationError) {
    self.background = background
    for (index, text) in arguments.enumerated() {
      try append(Array(text.utf8)[...], line: index + 1, unit: "--class")
    }
    try checkWhole(unit: "--class")
  }

  /// One class a line of UTF-8: a byte order mark, CR LF and blank lines at the end are accepted.
  package init(bytes: [UInt8], background: Bool) throws(SegmentationError) {
    self.background = background
    var rest = bytes[...]
    if rest.starts(with: [0xFF, 0xFE]) || rest.starts(with: [0xFE, 0xFF]) {
      throw SegmentationError(.classes("UTF-16; save the list as UTF-8"))
    }
    if rest.starts(with: [0xEF, 0xBB, 0xBF]) { rest = rest.dropFirst(3) }
    while let last = rest.last, Self.isBlank(last) { rest = rest.dropLast() }
    var line = 1
    while !rest.isEmpty {
      let end = rest.firstIndex(of: 0x0A) ?? rest.endIndex
      try append(rest[rest.startIndex..<end], line: line, unit: "line")
      rest = rest[min(end + 1, rest.endIndex)...]
      line += 1
    }
    try checkWhole(unit: "file")
  }

  /// Reads a class file; `-` is standard input.
  package init(path: String, background: Bool) throws(SegmentationError) {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try FileBytes.readOrStandardInput(path, limit: Self.fileByteLimit)
    } catch {
      throw SegmentationError(.classes(error.reason.description), path: path)
    }
    do throws(SegmentationError) {
      try self.init(bytes: bytes, background: background)
    } catch {
      throw error.at(path: path == "-" ? "standard input" : path)
    }
  }

  /// The list with a class for what nothing else is as class 0: the one that is called `named`, or
  /// `background`, or a new one of that name in front of all others. `isNew`: the numbers of all classes went
  /// up by one.
  ///
  /// - Errors: `.usage` where that class is there but is not the first, or has no such name.
  package func withBackground(_ named: String?) throws(SegmentationError) -> (list: ClassList, isNew: Bool) {
    if background && named == nil { return (self, false) }
    let wanted = (named ?? Self.backgroundName).lowercased()
    let place = (0..<count).first { index in
      phrases(ofClass: index).contains { $0.lowercased() == wanted }
    }
    if place == 0 { return (try ClassList(phrases, classIndex, descriptions, background: true), false) }
    if let place {
      throw SegmentationError(
        .usage(
          "'\(names[place])' is class \(place), and the background must be class 0; name it first"))
    }
    if let named {
      throw SegmentationError(
        .usage("--background-class '\(named)' is none of the classes; the first is '\(names[0])'"))
    }
    let list = try ClassList(
      [Self.backgroundName] + phrases, [0] + classIndex.map { $0 + 1 },
      Dictionary(uniqueKeysWithValues: descriptions.map { ($0 + 1, $1) }), background: true)
    return (list, true)
  }

  private static let backgroundName = "background"

  private init(
    _ phrases: [String], _ classIndex: [Int32], _ descriptions: [Int: ClassDescription], background: Bool
  ) throws(SegmentationError) {
    try self.init(phrases: phrases, classIndex: classIndex.map { Int($0) }, background: background)
    self.descriptions = descriptions
  }

  /// Puts in what a vocabulary file says of its classes: lines from `:=` on.
  ///
  /// - Errors: `.vocabulary`.
  mutating func describe(_ lines: [(label: Int, line: String)]) throws(SegmentationError) {
    for (label, line) in lines {
      let bytes = Array(line.utf8)
      guard (0..<count).contains(label), descriptions[label] == nil, bytes.starts(with: [0x3A, 0x3D]) else {
        throw SegmentationError(.vocabulary("a description of no class"), field: "descriptions")
      }
      do throws(SegmentationError) {
        descriptions[label] = try ClassDescription(bytes[...], line: label + 1)
      } catch {
        guard case .classes(let text) = error.reason else { throw error }
        throw SegmentationError(.vocabulary("class \(label): \(text)"), field: "descriptions")
      }
    }
  }

  /// Phrases and their classes as stored in a vocabulary file; the same rules hold.
  ///
  /// - Errors: `.vocabulary` where a list would be at fault: nobody wrote these lines.
  init(phrases: [String], classIndex: [Int], background: Bool) throws(SegmentationError) {
    do throws(SegmentationError) {
      try self.init(stored: phrases, classIndex, background: background)
    } catch {
      guard case .classes(let text) = error.reason else {
        throw SegmentationError(error.reason, field: "phrases")
      }
      throw SegmentationError(.vocabulary(text), field: "phrases")
    }
  }

  private init(stored phrases: [String], _ classIndex: [Int], background: Bool) throws(SegmentationError) {
    self.background = background
    guard phrases.count == classIndex.count else {
      throw SegmentationError(.classes("\(phrases.count) phrases, \(classIndex.count) classes of phrases"))
    }
    var start = 0
    while start < phrases.count {
      guard classIndex[start] == names.count else {
        throw SegmentationError(
          .classes("phrase \(start) is out of order; classes must rise from 0 without gaps"))
      }
      var end = start + 1
      while end < phrases.count, classIndex[end] == classIndex[start] { end += 1 }
      let synonyms = phrases[start..<end].map { Array($0.utf8)[...] }
      for synonym in synonyms where synonym.contains(0x3B) || Self.trimmed(synonym).count != synonym.count {
        throw SegmentationError(.classes("a phrase of class \(names.count) holds ';' or outer spaces"))
      }
      for synonym in synonyms where ClassDescription.start(in: synonym) != nil {
        throw SegmentationError(.classes("a phrase of class \(names.count) holds ' :='"))
      }
      try append(synonyms, line: names.count + 1)
      start = end
    }
    try checkWhole(unit: "file")
  }

  private mutating func append(_ line: ArraySlice<UInt8>, line number: Int, unit: String)
    throws(SegmentationError)
  {
    guard !Self.trimmed(line).isEmpty else {
      throw SegmentationError(.classes("empty \(unit); name a class or remove it"), line: number)
    }
    let mark = ClassDescription.start(in: line)
    let own = line[..<(mark ?? line.endIndex)]
    guard !Self.trimmed(own).isEmpty else {
      throw SegmentationError(.classes("no name in front of ':='"), line: number)
    }
    let synonyms = own.split(separator: 0x3B, maxSplits: Self.synonymLimit, omittingEmptySubsequences: false)
    try append(synonyms.map(Self.trimmed), line: number)
    if let mark { descriptions[count - 1] = try ClassDescription(Self.trimmed(line[mark...]), line: number) }
  }

  private mutating func append(_ synonyms: [ArraySlice<UInt8>], line: Int) throws(SegmentationError) {
    try Self.check(names.count + 1, "classes", Self.classLimit, line)
    try Self.check(synonyms.count, "synonyms in a class", Self.synonymLimit, line)
    try Self.check(phrases.count + synonyms.count, "phrases", Self.phraseLimit, line)
    let first = phrases.count
    var seen: Set<String> = []
    for synonym in synonyms {
      let phrase = try Self.phrase(synonym, line)
      guard seen.insert(phrase).inserted else {
        throw SegmentationError(.classes("'\(phrase)' stands twice in one class; remove one"), line: line)
      }
      phrases.append(phrase)
      classIndex.append(Int32(names.count))
    }
    names.append(phrases[first])
  }

  static func phrase(_ bytes: ArraySlice<UInt8>, _ line: Int) throws(SegmentationError) -> String {
    guard !bytes.isEmpty else {
      throw SegmentationError(.classes("empty synonym; remove the extra ';'"), line: line)
    }
    try check(bytes.count, "bytes in a phrase", phraseByteLimit, line)
    guard let phrase = String(validating: bytes, as: UTF8.self) else {
      throw SegmentationError(.classes("not UTF-8; save the list as UTF-8"), line: line)
    }
    guard !phrase.unicodeScalars.contains("\t") else {
      throw SegmentationError(
        .classes("a tab in a phrase; a class is a line of synonyms between ';', without numbers or columns"),
        line: line)
    }
    guard !phrase.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) else {
      throw SegmentationError(.classes("control character in a phrase; remove it"), line: line)
    }
    return phrase
  }

  private func checkWhole(unit: String) throws(SegmentationError) {
    guard !names.isEmpty else { throw SegmentationError(.classes("no class; name at least one")) }
    var lines: [[String]: Int] = [:]
    for (index, name) in names.enumerated() {
      if let earlier = lines.updateValue(index, forKey: Array(phrases(ofClass: index))) {
        let problem = "class '\(name)' was named before, as number \(earlier + 1); remove one"
        throw SegmentationError(.classes(problem), line: index + 1)
      }
    }
  }

  private static func check(_ value: Int, _ what: String, _ limit: Int, _ line: Int) throws(SegmentationError)
  {
    if value > limit {
      throw SegmentationError(.limit(what: what, value: value, limit: limit), field: "classes", line: line)
    }
  }

  /// A line or a phrase without the spaces, tabs and line breaks around it.
  package static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var rest = bytes
    while let byte = rest.first, isBlank(byte) { rest = rest.dropFirst() }
    while let byte = rest.last, isBlank(byte) { rest = rest.dropLast() }
    return rest
  }

  private static func isBlank(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
  }
}
