// What a request asks for, checked before it waits for its turn.
import Segmentation
import System

/// Words, formats and options of one photo.
///
/// - Errors: 400 that names the field and what it takes, 413 for more words than the server takes.
package struct SegmentForm: Sendable {
  /// A class each; empty where the server's own vocabulary is asked for.
  package private(set) var classes: [String] = []
  package private(set) var negatives: [String] = []
  /// Class 0 is what nothing else is.
  package private(set) var background = false
  package private(set) var format = ServedFormat.json
  /// Files that the summary carries.
  package private(set) var include: [ServedFormat] = []
  package private(set) var options: SegmentOptions
  /// What words are placed in; nil: neither the request nor the server says it.
  package private(set) var templates: TemplateList?

  /// `templates`: those of requests that name none; `hasVocabulary`: the server has words of its own, and
  /// takes no others.
  package init(
    _ fields: FormFields, _ defaults: SegmentOptions, _ limits: ServeLimits,
    templates usual: TemplateList? = nil, hasVocabulary: Bool = false
  ) throws(Refusal) {
    options = defaults
    var seen: Set<String> = []
    for field in fields.list {
      let key = field.key == "class" ? "class" : String(field.key.map { $0 == "-" ? "_" : $0 })
      guard key == "class" || seen.insert(key).inserted else {
        throw Refusal(400, "'\(printable(key, limit: 60))' is given twice")
      }
      try take(key, field.value)
    }
    if format.name != ServedFormat.json.name && !include.isEmpty {
      throw Refusal(400, "include adds files to format=json; leave it out with format=\(format.name)")
    }
    do throws(SegmentationError) { try options.check(given: seen) } catch {
      throw Refusal(400, error.description)
    }
    try checkWords(limits, hasVocabulary)
    if templates == nil { templates = usual }
  }

  private mutating func take(_ key: String, _ value: String) throws(Refusal) {
    switch key {
    case "class": classes.append(value)
    case "classes": classes += value.split(whereSeparator: \.isNewline).map(String.init)
    case "background": background = try Self.flag(key, value)
    case "negative": negatives = value.split(separator: ";").map(String.init)
    case "templates": templates = try Self.templates(value)
    case "format": format = try ServedFormat.named(value, for: key)
    case "include":
      for name in value.split(separator: ",") where name != ServedFormat.json.name {
        let format = try ServedFormat.named(String(name), for: key)
        if !include.contains(where: { $0.name == format.name }) { include.append(format) }
      }
    default:
      do throws(SegmentationError) { try options.set(key, value) } catch {
        throw Refusal(400, printable(error.description, limit: 2000))
      }
    }
  }

  /// A list by its name; no file of the server can be named.
  private static func templates(_ name: String) throws(Refusal) -> TemplateList {
    if let list = TemplateList(name: name) { return list }
    let names = TemplateList.names.joined(separator: ", ")
    throw Refusal(400, "templates is '\(printable(name, limit: 60))', none of \(names)")
  }

  private static func flag(_ key: String, _ value: String) throws(Refusal) -> Bool {
    switch value {
    case "true", "1", "on": return true
    case "false", "0", "": return false
    default: throw Refusal(400, "\(key) is '\(printable(value, limit: 60))', neither true nor false")
    }
  }

  private func checkWords(_ limits: ServeLimits, _ hasVocabulary: Bool) throws(Refusal) {
    if hasVocabulary {
      guard options.absent.phrases.isEmpty else {
        throw Refusal(
          400,
          "absent is 'relevancy', whose phrases must be encoded, and this server has a vocabulary of its own")
      }
      if classes.isEmpty && negatives.isEmpty && !background && templates == nil { return }
      throw Refusal(
        400, "this server has a vocabulary of its own; leave out class, negative, background and templates")
    }
    if classes.isEmpty {
      throw Refusal(400, "no classes: give class (once for each) or classes (a line each)")
    }
    if classes.count > limits.phraseCount {
      throw Refusal(413, "\(classes.count) classes, at most \(limits.phraseCount) are taken here")
    }
    do throws(SegmentationError) {
      let list = try NamedPhrases(
        try ClassList(arguments: classes, background: false), negatives: negatives)
      let count = list.all.count + list.texts(of: list.described).count
      if count <= limits.phraseCount { return }
      throw SegmentationError(.limit(what: "phrases", value: count, limit: limits.phraseCount))
    } catch {
      if case .limit(_, let value, let limit) = error.reason {
        throw Refusal(
          413,
          "\(value) phrases (classes, synonyms, descriptions, negative ones), at most \(limit) are taken here"
        )
      }
      throw Refusal(400, printable(error.description, limit: 2000))
    }
  }

  /// Words, templates and precision as one value: equal ones have equal vectors.
  package var wordKey: [String] {
    [options.precision.rawValue, background ? "background" : "", templates?.identifier ?? ""] + classes
      + ["", ""]
      + (negatives.isEmpty ? [options.absentForWords.rawValue] : negatives)
  }

  /// Where the words come from, for a job.
  func source(_ vocabulary: String?) -> ClassSource {
    var source = ClassSource()
    (source.phrases, source.background, source.vocabulary) = (classes, background, vocabulary)
    (source.negatives, source.templateList) = (negatives, templates)
    if vocabulary == nil { source.absent = options.absentForWords }
    // Words of strangers are not kept on disk.
    source.usesCache = false
    return source
  }
}
