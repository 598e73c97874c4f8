// What a vocabulary file holds: what `trident inspect` tells of one.
import Segmentation
import System

/// A vocabulary file in words and in JSON.
package struct VocabularyListing {
  private let path: String
  private let vocabulary: Vocabulary
  private var classes: ClassList { vocabulary.classes }

  /// - Errors: those of `VocabularyFile.read`.
  package init(_ path: String) throws(SegmentationError) {
    self.path = path
    vocabulary = try VocabularyFile.read(path: path)
  }

  /// Whether a file has a vocabulary's name; a model file has none of these.
  package static func isVocabulary(_ path: String) -> Bool {
    path.hasSuffix(".tvoc") || path.hasSuffix(".npz")
  }

  /// Lines for people.
  package var text: String {
    let background = classes.background ? ", class 0 is the background" : ""
    let negatives = vocabulary.negatives
    var lines = [
      "\(path): \(classes.count) classes, \(vocabulary.allPhrases.count) phrases of "
        + "\(vocabulary.width) numbers" + background,
      "model \(vocabulary.modelID)",
      "words encoded as \(vocabulary.encoding.rawValue), "
        + "templates \(TemplateList.flag(vocabulary.templates))",
    ]
    for label in 0..<classes.count {
      lines.append("\(label): " + printable(classes.line(ofClass: label), limit: 400))
    }
    if !negatives.isEmpty {
      lines.append(
        "\(classes.count): of no class: " + printable(negatives.joined(separator: "; "), limit: 400))
    }
    return lines.joined(separator: "\n")
  }

  package var json: JSON {
    let list = (0..<classes.count).map { label in
      var members: [(String, JSON)] = [
        ("id", .int(label)), ("name", .string(classes.titles[label])),
        ("phrases", .array(classes.phrases(ofClass: label).map { .string($0) })),
      ]
      members += classes.descriptions[label]?.members ?? []
      return JSON.object(members)
    }
    return .object([
      ("file", .string(path)), ("width", .int(vocabulary.width)), ("model_id", .string(vocabulary.modelID)),
      ("text_encoding", .string(vocabulary.encoding.rawValue)), ("templates", .string(vocabulary.templates)),
      ("background", .bool(classes.background)), ("classes", .array(list)),
      ("negatives", .array(vocabulary.negatives.map { .string($0) })),
    ])
  }
}

extension ClassDescription {
  /// In the JSON of a class.
  var members: [(String, JSON)] {
    [("description", .array(texts.map { .string($0) })), ("description_weight", .float(weight))]
  }
}
