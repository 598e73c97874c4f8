// The classes of a run and their text vectors: from a vocabulary file, from the cache, or encoded now.
import Container
import Segmentation
import System

/// Where classes come from.
package struct ClassSource: Sendable {
  /// A class each: a phrase, or synonyms separated by "; ".
  package var phrases: [String] = []
  /// Class file: one class a line.
  package var file: String?
  /// Text vectors made by a `TextJob`.
  package var vocabulary: String?
  /// Which classes photos show: names, or a file that lists photos with theirs.
  package var present: String?
  /// A model file of another method that says so.
  package var presenceModel: String?
  /// Brings its own classes where none are named.
  package var preset: SegmentOptions.Preset?
  /// Class 0 is what nothing else is: the first class where that is called `background`, else a new one.
  package var background = false
  /// The first class, by one of its phrases, is that.
  package var backgroundClass: String?
  /// Lists that look wrong are refused.
  package var isStrict = false
  /// Phrases whose pixels are of no class.
  package var negatives: [String] = []
  /// May bring such phrases of its own.
  package var absent = AbsentRule.keep
  /// `all`, `seven`, `one`, or a file of templates; nil: all.
  package var templates: String?
  /// The same where it was read already; comes before `templates`.
  package var templateList: TemplateList?
  /// Vectors may be read from the user's cache and left there.
  package var usesCache = true

  package init() {}

  /// What words are placed in; nil: nobody said.
  ///
  /// - Errors: `.usage` for a file that is none.
  fileprivate func chosenTemplates() throws(SegmentationError) -> TemplateList? {
    if let templateList { return templateList }
    guard let templates else { return nil }
    return try TemplateList(argument: templates)
  }
}

/// Class names and phrases with the one way to their vectors.
///
/// - Memory: the phrases; after `wording` their vectors: 4 * embedWidth bytes a phrase.
package final class Words {
  package let named: NamedPhrases
  let session: Session
  let usesCache: Bool
  /// What phrases are placed in where they are encoded here.
  let templates: TemplateList
  /// Which classes photos show, where somebody said.
  let present: PresentClasses?
  /// Says so where nobody did.
  let presenceModel: PresenceModel?
  /// Vectors of a vocabulary file, [phrases, embedWidth], and how they were made.
  let stored: [Float]?
  private let storedEncoding: TextEncoding?
  private let storedTemplates: String?
  /// What `wording` made, and what it took until a report has it.
  private var prepared: [Float]?
  private var report: TextReport?
  /// What looks wrong in the list, and what was done to it; told once.
  package private(set) var remarks: [String] = []

  package var classes: ClassList { named.classes }
  /// Whether any of these labels is of a class that was looked for: neither background nor unknown.
  func isLooked(for labels: [Int]) -> Bool { labels.contains { classes.looked.contains($0) } }
  /// Whether vectors come from a file, to which nothing can be added.
  var isStored: Bool { stored != nil }
  /// Whether somebody says which classes a photo shows.
  var isPresenceTold: Bool { present != nil || presenceModel != nil }
  package var count: Int { classes.count }
  package var phraseClass: [Int] { named.phraseClass }

  /// `vocabulary`: its vectors are taken.
  private init(
    _ named: NamedPhrases, _ source: ClassSource, _ session: Session, vocabulary: Vocabulary? = nil
  ) throws(SegmentationError) {
    let (present, presenceModel) = (source.present, source.presenceModel)
    let chosen = try source.chosenTemplates()
    templates = chosen ?? .all
    try session.check(named, hasTemplates: chosen != nil)
    for (value, flag) in [(present, "--present"), (presenceModel, "--presence-model")] {
      guard value == nil || session.method == .pnpOVSS else {
        throw SegmentationError(.usage("\(flag) is for --method pnp-ovss and its model files"))
      }
    }
    guard present == nil || presenceModel == nil else {
      throw SegmentationError(.usage("give either --present or --presence-model, not both"))
    }
    self.present = try present.map { present throws(SegmentationError) in
      try PresentClasses(present, named.classes)
    }
    self.presenceModel = try presenceModel.map { path throws(SegmentationError) in
      try PresenceModel(path, named.classes, usesCache: source.usesCache, session.runtime)
    }
    (self.named, self.session, usesCache) = (named, session, source.usesCache)
    (stored, storedEncoding) = (vocabulary?.vectors, vocabulary?.encoding)
    storedTemplates = vocabulary?.templates
  }

  /// - Errors: `.usage` for missing or contradicting sources, `.classes`; `.otherModel` for a vocabulary of
  ///   another model;
  ///   `.memory` for a file that the limit has no room for.
  package convenience init(_ source: ClassSource, _ session: Session) throws(SegmentationError) {
    guard source.vocabulary == nil || (source.phrases.isEmpty && source.file == nil) else {
      throw SegmentationError(.usage("--vocabulary brings its own classes; leave out --class and --classes"))
    }
    guard source.phrases.isEmpty || source.file == nil else {
      throw SegmentationError(.usage("give either --class or --classes, not both"))
    }
    guard source.vocabulary == nil || (source.templates == nil && source.templateList == nil) else {
      throw SegmentationError(
        .usage(
          "a vocabulary was encoded with templates of its own; leave out --templates, or make it again with "
            + "'trident text --templates'"))
    }
    try Self.checkRoom(source, session)
    guard let path = source.vocabulary else {
      let (list, isNew) = try Self.list(source)
      let named = try NamedPhrases(list, negatives: source.negatives, absent: source.absent)
      try self.init(named, source, session)
      try check(source, isNew: isNew)
      return
    }
    guard source.negatives.isEmpty && source.absent.phrases.isEmpty else {
      let flag = source.negatives.isEmpty ? "--absent \(source.absent.rawValue)" : "--negative"
      throw SegmentationError(
        .usage(
          "\(flag) brings phrases that must be encoded, but --vocabulary brings vectors: 'trident text "
            + "--negative' keeps such phrases in the vocabulary, and --absent gate then does the rest"))
    }
    let vocabulary = try VocabularyFile.read(path: path)
    if (source.background || source.backgroundClass != nil) && !vocabulary.classes.background {
      throw SegmentationError(
        .usage(
          "the vocabulary has no background; make it again with 'trident text --background', "
            + "or leave out --background"), path: path)
    }
    do throws(SegmentationError) {
      try vocabulary.check(modelID: session.textIdentity, width: session.embedWidth)
    } catch {
      throw error.at(path: path)
    }
    let named = NamedPhrases(vocabulary.classes, stored: vocabulary.negatives)
    try self.init(named, source, session, vocabulary: vocabulary)
    try check(source, isNew: false)
    if vocabulary.isBackgroundUnsaid {
      remarks.append(
        "warning: the vocabulary does not say whether '\(classes.names[0])' is the background; it is taken "
          + "for a class like the others. An array 'background' of one bool says it")
    }
  }

  /// For plans: a file that is none may be a number of classes, and no source stands for 21 of them. Of such
  /// nothing is cached.
  package convenience init(planning source: ClassSource, _ session: Session) throws(SegmentationError) {
    var count: Int?
    if let file = source.file, !fileExists(file) { count = Int(file) }
    if source.phrases.isEmpty && source.file == nil && source.vocabulary == nil && source.preset == nil {
      count = 21
    }
    // A vocabulary beside a number is refused as one beside a file is.
    guard let count, source.vocabulary == nil else {
      try self.init(source, session)
      return
    }
    guard (1...ClassList.classLimit).contains(count) else {
      throw SegmentationError(.usage("--classes \(count) is outside 1...\(ClassList.classLimit)"))
    }
    let names = (1...count).map { "class number \($0)" }
    var made = source
    (made.usesCache, made.present) = (false, nil)
    try self.init(
      NamedPhrases(
        try ClassList(arguments: names, background: false), negatives: source.negatives,
        absent: source.absent), made, session)
  }

  /// Files of words are read whole, and held twice while they are taken apart. Small ones are left to the
  /// plan, which names the limit that the whole run needs.
  private static func checkRoom(_ source: ClassSource, _ session: Session) throws(SegmentationError) {
    guard let path = source.vocabulary ?? source.file, let size = fileSize(path), size > 1 << 20
    else { return }
    let limit = session.runtime.memoryCeiling
    let needed = ProcessMemory.now().anonymous + 2 * size
    if needed > limit { throw SegmentationError(.memory(limit: limit, needed: needed, stage: "'\(path)'")) }
  }

  /// `isNew`: a class for the background was put in front of the user's.
  private static func list(_ source: ClassSource) throws(SegmentationError) -> (list: ClassList, isNew: Bool)
  {
    let (list, isPreset) = try listed(source)
    guard source.background || source.backgroundClass != nil, !(isPreset && list.background) else {
      return (list, false)
    }
    return try list.withBackground(source.backgroundClass)
  }

  private static func listed(_ source: ClassSource) throws(SegmentationError) -> (
    list: ClassList, isPreset: Bool
  ) {
    if let file = source.file { return (try ClassList(path: file, background: false), false) }
    if !source.phrases.isEmpty { return (try ClassList(arguments: source.phrases, background: false), false) }
    if let preset = source.preset {
      let benchmark = Benchmark(preset)
      return (try ClassList(arguments: benchmark.classes, background: benchmark.background), true)
    }
    throw SegmentationError(
      .usage(
        "no classes: give --class PHRASE (repeatable), --classes FILE, --vocabulary FILE, "
          + "or --preset with its own"))
  }

  /// Looks at a list that somebody wrote; of the lists of presets and vocabularies, at the words alone.
  ///
  /// - Errors: `.classes` for one that looks wrong, where that was asked for.
  private func check(_ source: ClassSource, isNew: Bool) throws(SegmentationError) {
    let isPreset = source.file == nil && source.phrases.isEmpty
    let own = isPreset ? [] : classes.doubts + (session.hasText ? try session.doubts(classes, templates) : [])
    let doubts = try own + negativeDoubts() + session.untrained(classes)
    if let first = doubts.first, source.isStrict {
      throw SegmentationError(.classes(first + " (--strict)"), path: source.file)
    }
    remarks = doubts.map { "warning: " + $0 }
    if isNew && !isPreset {
      remarks.append(
        "--background adds class 0, 'background'; '\(classes.names[1])' is class 1. Where your first class "
          + "is the background, name it: --background-class '\(classes.names[1])'")
    }
  }

  /// What looks wrong in negative phrases that the user named.
  private func negativeDoubts() throws(SegmentationError) -> [String] {
    guard stored == nil, named.isAsked, !named.negatives.isEmpty else { return [] }
    let list = try ClassList(arguments: named.negatives, background: false)
    return list.doubts + (session.hasText ? session.doubts(negatives: named.negatives, of: classes) : [])
  }

  /// SHA-256 of the vectors of a vocabulary file; nil for words that are encoded here.
  var vocabularyDigest: String? {
    guard let stored else { return nil }
    var digest = SHA256Digest()
    stored.withUnsafeBytes { digest.update($0) }
    return digest.finishHex()
  }
}

extension Words {
  /// For plans: vectors that are there by then.
  package func planned(_ options: SegmentOptions) -> Wording {
    let most = present?.most ?? presenceModel.map { _ in classes.looked }
    return named.wording(readsVectors(options) ? .vectors([]) : .unused, present: most)
  }

  /// Whether a run asks for text vectors.
  func readsVectors(_ options: SegmentOptions) -> Bool {
    options.readsVectors(
      of: classes.count - (classes.background ? 1 : 0),
      isPresenceGiven: present != nil || presenceModel != nil)
  }

  /// What a run on `photo` reads: vectors that are made or found once for all photos, after the first photo's
  /// plan says that it can be done. With taps, words are encoded inside the run, past the cache.
  package func wording(
    for photo: any PhotoPixels, named name: String, _ options: SegmentOptions, _ needs: SinkNeeds,
    measures: Bool, _ listener: any JobListener, isCancelled: (() -> Bool)? = nil
  ) throws -> Wording {
    tell(listener)
    let labels = try present.map { present throws(SegmentationError) in try present.labels(of: name) }
    if let presenceModel {
      return try wording(of: presenceModel.find(photo, named: name, listener, isCancelled))
    }
    guard readsVectors(options) else { return named.wording(.unused, present: labels) }
    if needs.taps && stored == nil && named.described.isEmpty {
      return named.wording(.prompts(try source(of: named.all, templates)), present: labels)
    }
    if prepared == nil {
      if storedEncoding == .unstated { listener.note(Self.coarse) }
      _ = try session.plan(
        photo, planned(options), options, previewSide: needs.previewSide, scores: needs.scores,
        confidence: needs.confidence)
      let made = try vectors(options.precision, measures: measures, listener, isCancelled: isCancelled)
      (prepared, report) = (made.vectors, made.report)
    }
    return named.wording(.vectors(prepared ?? []), present: labels)
  }

  private func wording(of found: (present: [Int], shares: [Double])) -> Wording {
    var wording = named.wording(.unused, present: found.present)
    wording.shares = found.shares
    return wording
  }

  /// Says what looks wrong in the list, once.
  package func tell(_ listener: any JobListener) {
    for remark in remarks { listener.warn(printable(remark, limit: 1000)) }
    remarks = []
  }

  private static let coarse =
    "warning: the vocabulary does not say how its words were encoded: older programs did so more coarsely; "
    + "make it again with 'trident text'"

  /// How the vectors that a run reads are made.
  func encoding(_ precision: PrecisionChoice) -> TextEncoding { storedEncoding ?? TextEncoding(precision) }

  /// The templates that vectors are means over, where they are not the usual ones.
  var ownTemplates: String? {
    let name = storedTemplates ?? templates.identifier
    return name == TemplateList.all.identifier ? nil : name
  }

  /// What decides vectors beside the phrases, for identities of results.
  var marks: [(String, String)] {
    let lines = named.describedLines
    return (ownTemplates.map { [("templates", $0)] } ?? [])
      + (lines.isEmpty ? [] : [("descriptions", SHA256Digest.hex(of: lines.joined(separator: "\n")))])
  }

  /// What the encoding for `wording` took, once.
  func takeReport() -> TextReport? {
    defer { report = nil }
    return report
  }
}

/// The only places where jobs look into the model's configuration, beside `ModelListing`.
extension Session {
  /// Blocks of CLIP's photo side, which a published configuration may depend on.
  package var clipDepth: Int { model.config.clip?.vision.depth ?? 12 }

  /// Layers and heads of BLIP's text tower.
  var captionShape: (layers: Int, heads: Int)? {
    model.config.bert.map { ($0.blocks.depth, $0.blocks.heads) }
  }

  /// Whether the model file holds a text tower.
  var hasText: Bool {
    let config = model.config
    return config.siglip != nil || config.text != nil || config.bert != nil
  }

  /// Cached text vectors of this model in one precision.
  func textCache(_ precision: PrecisionChoice, _ templates: TemplateList) -> TextVectorCache {
    let prompts =
      model.config.bert != nil
      ? BLIPCaption.identifier
      : model.config.siglip == nil ? templates.identifier : SigLIPPrompts.identifier(templates)
    return TextVectorCache(
      modelID: modelIdentity, variant: prompts + "/" + TextEncoding(precision).rawValue, width: embedWidth)
  }
}
