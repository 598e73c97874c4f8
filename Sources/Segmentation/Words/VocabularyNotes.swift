// What a vocabulary file says of templates and descriptions, where there is anything to say.
import System

/// Templates and descriptions as a `.tvoc` file holds them behind its text.
///
/// - Errors: `.vocabulary`, `.truncated`, with the field.
struct VocabularyNotes {
  var templates = PromptTemplates.identifier
  /// Lines from `:=` on, by rising class.
  var descriptions: [(label: Int, line: String)] = []

  private static let templatesByteLimit = 100

  init() {}

  init(_ vocabulary: Vocabulary) {
    templates = vocabulary.templates
    descriptions = vocabulary.classes.descriptions.sorted { $0.key < $1.key }.map { ($0.key, $0.value.line) }
  }

  /// The usual templates, and nothing described: the file is as it was before there were notes.
  var isEmpty: Bool { templates == PromptTemplates.identifier && descriptions.isEmpty }

  /// None where there is nothing to say.
  var bytes: [UInt8] {
    if isEmpty { return [] }
    var out: [UInt8] = []
    out.append(little: UInt32(templates.utf8.count))
    out.append(contentsOf: Array(templates.utf8))
    out.append(little: UInt32(descriptions.count))
    for (label, line) in descriptions {
      out.append(little: UInt32(label))
      out.append(little: UInt32(line.utf8.count))
      out.append(contentsOf: Array(line.utf8))
    }
    return out
  }

  init(_ cursor: ByteCursor) throws(SegmentationError) {
    var reader = cursor
    templates = try Self.text(&reader, Self.templatesByteLimit)
    try Self.check(templates)
    let count = Int(try reader.uint32("notes"))
    for _ in 0..<count {
      let label = Int(try reader.uint32("notes"))
      descriptions.append((label, try Self.text(&reader, ClassDescription.byteLimit)))
    }
    guard reader.remaining == 0 else {
      throw SegmentationError(.vocabulary("\(reader.remaining) bytes too many"), field: "notes")
    }
  }

  private static func text(_ reader: inout ByteCursor, _ limit: Int) throws(SegmentationError) -> String {
    let count = Int(try reader.uint32("notes"))
    guard count <= limit else {
      throw SegmentationError(.limit(what: "bytes in a note", value: count, limit: limit), field: "notes")
    }
    guard let text = String(validating: reader.buffer[try reader.take(count, "notes")], as: UTF8.self) else {
      throw SegmentationError(.vocabulary("a note is not UTF-8"), field: "notes")
    }
    return text
  }

  /// A list's identifier is printable ASCII.
  static func check(_ templates: String) throws(SegmentationError) {
    let bytes = templates.utf8
    guard (1...templatesByteLimit).contains(bytes.count), bytes.allSatisfy({ (0x20..<0x7F).contains($0) })
    else { throw SegmentationError(.vocabulary("templates without a name"), field: "templates") }
  }
}
