// Class names in, a file of text vectors out: what `trident text` does.
import Segmentation
import System

/// Encodes classes once, for later runs.
package struct TextJob {
  private let source: ClassSource
  private let output: String
  private let start = monotonicSeconds()

  /// - Errors: `.usage` for a source that is encoded already, for an output that is neither `.tvoc` nor
  ///   `.npz`, and for one that would replace what is read or was not made here.
  /// `model`: the file that the session opens.
  package init(_ source: ClassSource, output: String, model: String? = nil) throws(SegmentationError) {
    guard output.hasSuffix(".tvoc") || output.hasSuffix(".npz") else {
      throw SegmentationError(.usage("--output '\(output)' ends in neither .tvoc nor .npz"))
    }
    guard source.vocabulary == nil else {
      throw SegmentationError(.usage("--vocabulary is what this command makes; give --class or --classes"))
    }
    guard source.negatives.isEmpty else {
      throw SegmentationError(.usage("--negative is for 'segment'; a vocabulary has classes only"))
    }
    var files = JobFiles(reading: [source.file, model])
    try files.write(output)
    (self.source, self.output) = (source, output)
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
    let (vectors, report) = try words.vectors(precision, measures: measures, listener)
    let vocabulary = Vocabulary(
      classes: words.classes, width: session.embedWidth, vectors: vectors, modelID: session.textIdentity,
      encoding: words.encoding(precision))
    try VocabularyFile.write(vocabulary, path: output)
    return VocabularyReport(
      output: output, classes: words.classes, width: session.embedWidth, modelIdentity: session.textIdentity,
      encoding: vocabulary.encoding,
      encodedCount: report?.phraseCount ?? 0, stages: report?.stages ?? [],
      seconds: monotonicSeconds() - start)
  }
}

/// What a vocabulary took, in words and in JSON.
package struct VocabularyReport {
  let output: String
  let classes: ClassList
  let width: Int
  let modelIdentity: String
  let encoding: TextEncoding
  /// Phrases that were not in the cache.
  package let encodedCount: Int
  let stages: [StageEntry]
  let seconds: Double

  package var summary: String {
    let known = classes.phrases.count - encodedCount
    return "\(output): \(classes.count) classes, \(classes.phrases.count) phrases "
      + "(\(encodedCount) encoded, \(known) from the cache), \(fixed(seconds, 2)) s"
  }

  package var json: JSON {
    .object([
      ("output", .string(output)), ("classes", .int(classes.count)), ("phrases", .int(classes.phrases.count)),
      ("encoded", .int(encodedCount)), ("width", .int(width)), ("model_id", .string(modelIdentity)),
      ("text_encoding", .string(encoding.rawValue)),
      ("seconds", .number(seconds)), ("stages", .array(stages.map(\.json))),
    ])
  }
}
