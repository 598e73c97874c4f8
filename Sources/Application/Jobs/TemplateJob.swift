// Class names and photos without labels in, a vocabulary with the templates that suit each class out.
import Segmentation
import System

/// Chooses templates by class, and writes what they give.
///
/// - Memory: a vector for every phrase in each of 80 templates, and what one photo takes.
package struct TemplateJob {
  private let source: ClassSource
  private let photos: PhotoList
  private let output: String
  private let start = monotonicSeconds()

  /// `photos`: a folder, or one photo; `model`: the file that the session opens.
  ///
  /// - Errors: those of `TextJob`; `.photo` for a folder without photos.
  package init(
    _ source: ClassSource, photos: String, output: String, model: String? = nil
  ) throws(SegmentationError) {
    guard source.templates == nil else {
      throw SegmentationError(
        .usage("--choose-templates chooses among the 80 itself; leave out --templates"))
    }
    guard source.negatives.isEmpty else {
      throw SegmentationError(.usage("--choose-templates chooses for classes; leave out --negative"))
    }
    _ = try TextJob(source, output: output, model: model)
    self.photos = PhotoList([photos])
    guard !self.photos.photos.isEmpty else {
      throw SegmentationError(.photo("holds no photo"), path: photos)
    }
    (self.source, self.output) = (source, output)
  }

  /// Writes the vocabulary.
  ///
  /// - Errors: `.usage` for a method without scores of patches, and for a CLIP whose blocks must be named;
  ///   `.limit` for more phrases than 16-bit labels
  ///   tell apart in 80 templates; those of the words, the photos (the first bad one ends the work),
  ///   `.memory` and `.output`.
  package func run(
    _ session: Session, _ options: SegmentOptions, listener: any JobListener = SilentListener()
  ) throws -> TemplateReport {
    guard [.trident, .scCLIP].contains(options.method) else {
      throw SegmentationError(
        .usage("--choose-templates works with CLIP's words: --method trident and sc-clip"))
    }
    do throws(SegmentationError) { _ = try session.usedBlocks(options) } catch {
      throw SegmentationError(
        .usage(
          "--choose-templates looks at the photos by sc-clip: \(error.description). Write low_block, "
            + "mid_block, levels and class_weight to a preset file and give --preset FILE: "
            + #"{"trident_preset": 1, "options": {"low_block": 2, ...}}"#))
    }
    let words = try Words(source, session)
    if let first = words.named.described.first {
      throw SegmentationError(
        .usage("'\(words.classes.names[first])' has a description; --choose-templates takes names alone"))
    }
    words.tell(listener)
    let templates = PromptTemplates.imageNet.count
    let limit = TemplateRequest.phraseLimit(templates: templates)
    guard words.phraseClass.count <= limit else {
      throw SegmentationError(.limit(what: "phrases", value: words.phraseClass.count, limit: limit))
    }
    if !photos.leftOut.text.isEmpty { listener.note("left out: \(photos.leftOut.text)") }
    try session.proveIdentity()
    let vectors = try vectors(words, session, options, templates, listener)
    let choice = try look(words, session, options, vectors, templates, listener)
    let vocabulary = Vocabulary(
      classes: words.classes, width: session.embedWidth,
      vectors: choice.mixed(vectors, phraseClass: words.phraseClass, width: session.embedWidth),
      modelID: session.textIdentity, encoding: words.encoding(options.precision),
      templates: TemplateList.byClass)
    try VocabularyFile.write(vocabulary, path: output)
    return TemplateReport(
      output: output, classes: words.classes, choice: choice, photoCount: photos.photos.count,
      seconds: monotonicSeconds() - start)
  }

  /// Vectors of all phrases, template by template.
  ///
  /// - Shapes: [templates, phrases, embedWidth].
  private func vectors(
    _ words: Words, _ session: Session, _ options: SegmentOptions, _ templates: Int,
    _ listener: any JobListener
  ) throws -> [Float] {
    let tokenizer = try session.makeTokenizer()
    let display = listener.progressDisplay()
    defer { display?.finish() }
    var vectors: [Float] = []
    vectors.reserveCapacity(templates * words.phraseClass.count * session.embedWidth)
    for template in 0..<templates {
      display?.show("templates", Double(template) / Double(templates), detail: "")
      let source = PromptSource(
        phrases: words.named.all, tokenizer: tokenizer,
        templates: TemplateList(imageNet: [template]))
      let plan = try session.planText(source, options.precision)
      vectors += try session.encodeText(source, options.precision, plan: plan, measures: false).vectors
    }
    return vectors
  }

  private func look(
    _ words: Words, _ session: Session, _ options: SegmentOptions, _ vectors: [Float], _ templates: Int,
    _ listener: any JobListener
  ) throws -> TemplateChoice {
    var choice = TemplateChoice(templates: templates, classes: words.count)
    let display = listener.progressDisplay()
    defer { display?.finish() }
    for (index, path) in photos.photos.enumerated() {
      display?.show("photos", Double(index) / Double(photos.photos.count), detail: "")
      let photo = try PhotoFile(path: path, ceilings: session.runtime.photoCeilings)
      let request = TemplateRequest(
        photo, options, phraseClass: words.phraseClass, vectors: vectors, templates: templates)
      let plan = try session.plan(request)
      try session.checkTime(plan, options.precision)
      try session.look(request, plan: plan, &choice)
    }
    return choice
  }
}

/// What was chosen, in words and in JSON.
package struct TemplateReport {
  let output: String
  let classes: ClassList
  package let choice: TemplateChoice
  let photoCount: Int
  let seconds: Double

  package var summary: String {
    let unseen = (0..<classes.count).filter { choice.experts(of: $0).isEmpty }.count
    let rest = unseen == 0 ? "" : ", of which \(unseen) were in no photo and keep all templates"
    let photos = photoCount == 1 ? "1 photo" : "\(photoCount) photos"
    return "\(output): \(classes.count) classes\(rest); templates from \(photos), \(fixed(seconds, 2)) s"
  }

  package var json: JSON {
    let chosen = (0..<classes.count).map { label in
      JSON.object([
        ("id", .int(label)), ("name", .string(classes.titles[label])),
        ("templates", .array(choice.experts(of: label).map { .string(PromptTemplates.imageNet[$0]) })),
        ("patches", .int(choice.votes(of: label))),
      ])
    }
    return .object([
      ("output", .string(output)), ("photos", .int(photoCount)), ("seconds", .number(seconds)),
      ("classes", .array(chosen)),
    ])
  }
}
