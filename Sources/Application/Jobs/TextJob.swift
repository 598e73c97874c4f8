// Class names in, a file of text vectors out: what `trident text` does.
import Segmentation
import System

/// Encodes classes once, for later runs.
package struct TextJob {
  private let source: ClassSource
  private let output: String
  /// A vocabulary whose vectors are taken where they are those of these words.
  private let old: String?
  private let start = monotonicSeconds()

  /// - Errors: `.usage` for a source that is encoded already, for an output that is neither `.tvoc` nor
  ///   `.npz`, and for one that would replace what is read or was not made here.
  /// `model`: the file that the session opens; `extending`: a vocabulary to take vectors from.
  package init(
    _ source: ClassSource, output: String, model: String? = nil, extending old: String? = nil
  ) throws(SegmentationError) {
    guard output.hasSuffix(".tvoc") || output.hasSuffix(".npz") else {
      throw SegmentationError(.usage("--output '\(output)' ends in neither .tvoc nor .npz"))
    }
    guard source.vocabulary == nil else {
      throw SegmentationError(.usage("--vocabulary is what this command makes; give --class or --classes"))
    }
    var files = JobFiles(reading: [source.file, model, TemplateList.file(source.templates), old])
    try files.write(output)
    (self.source, self.output, self.old) = (source, output, old)
  }

  /// Writes the vocabulary. `measures`: the report has memory and faults.
  ///
  /// - Errors: those of `Words`, `.memory`, `.output`.
  package func run(
    _ session: Session, _ precision: PrecisionChoice = .int8, measures: Bool = false,
    listener: any JobListener = SilentListener()
  ) throws -> VocabularyReport {
    let words = try Words(source, session)
    words.tell(listener)
    try session.proveIdentity()
    let known = try old.map { try read($0, words, session, precision) }
    let made = try words.vectors(precision, measures: measures, listener, extending: known)
    let vocabulary = Vocabulary(
      classes: words.classes, negatives: words.named.negatives, width: session.embedWidth,
      vectors: made.vectors,
      modelID: session.textIdentity, encoding: words.encoding(precision),
      templates: words.templates.identifier)
    try VocabularyFile.write(vocabulary, path: output)
    let named = Set(words.named.all)
    return VocabularyReport(
      output: output, vocabulary: vocabulary, made: made, old: old,
      droppedCount: known?.allPhrases.count { !named.contains($0) } ?? 0,
      seconds: monotonicSeconds() - start)
  }

  /// The vocabulary to extend.
  ///
  /// - Errors: those of `VocabularyFile`; `.otherModel`; `.usage` for other templates or another precision.
  private func read(
    _ path: String, _ words: Words, _ session: Session, _ precision: PrecisionChoice
  ) throws(SegmentationError) -> Vocabulary {
    let old = try VocabularyFile.read(path: path)
    do throws(SegmentationError) {
      try old.check(modelID: session.textIdentity, width: session.embedWidth)
    } catch { throw error.at(path: path) }
    guard old.encoding == words.encoding(precision) else {
      throw SegmentationError(
        .usage(
          "was encoded as \(old.encoding.rawValue), this run does it as "
            + "\(words.encoding(precision).rawValue); give the same --precision, or make it again"),
        path: path)
    }
    guard old.templates == words.templates.identifier else {
      throw SegmentationError(
        .usage(
          "was made with templates \(TemplateList.flag(old.templates)), this run has "
            + "\(TemplateList.flag(words.templates.identifier)); give the same --templates or make it again"),
        path: path)
    }
    return old
  }
}

/// What a vocabulary took, in words and in JSON.
package struct VocabularyReport {
  let output: String
  let vocabulary: Vocabulary
  let made: WordVectors
  /// The vocabulary that vectors were taken from.
  let old: String?
  /// Its phrases that are in this list no more.
  package let droppedCount: Int
  let seconds: Double

  private var classes: ClassList { vocabulary.classes }
  /// Phrases, and texts of descriptions, that were encoded.
  package var encodedCount: Int { made.report?.phraseCount ?? 0 }
  /// Phrases whose vectors another vocabulary had.
  package var takenCount: Int { made.takenCount }

  package var summary: String {
    let described = classes.descriptions.count
    let known = vocabulary.allPhrases.count + made.textCount - encodedCount - takenCount
    var parts = ["\(encodedCount) encoded", "\(known) from the cache"]
    if let old { parts = ["\(takenCount) taken from \(old)"] + parts + ["\(droppedCount) dropped"] }
    let negatives = vocabulary.negatives.count
    let extra =
      (described == 0 ? "" : ", \(described) described") + (negatives == 0 ? "" : ", \(negatives) negative")
    let templates =
      vocabulary.templates == PromptTemplates.identifier
      ? "" : ", templates \(TemplateList.flag(vocabulary.templates))"
    return "\(output): \(classes.count) classes\(extra), \(vocabulary.allPhrases.count) phrases "
      + "(\(parts.joined(separator: ", ")))\(templates), \(fixed(seconds, 2)) s"
  }

  package var json: JSON {
    .object([
      ("output", .string(output)), ("classes", .int(classes.count)),
      ("phrases", .int(vocabulary.allPhrases.count)), ("negative", .int(vocabulary.negatives.count)),
      ("encoded", .int(encodedCount)), ("taken", .int(takenCount)), ("dropped", .int(droppedCount)),
      ("described", .int(classes.descriptions.count)), ("templates", .string(vocabulary.templates)),
      ("width", .int(vocabulary.width)), ("model_id", .string(vocabulary.modelID)),
      ("text_encoding", .string(vocabulary.encoding.rawValue)),
      ("seconds", .number(seconds)), ("stages", .array(made.report?.stages.map(\.json) ?? [])),
    ])
  }
}
