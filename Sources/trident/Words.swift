// The classes of a run and their text vectors: from a vocabulary file, from the cache, or encoded now.
import Container
import Evaluation
import Segmentation

/// Class names and phrases, before anything is known about their vectors.
struct Words {
  let classes: ClassList
  let phraseClass: [Int]
  /// Vectors of a vocabulary file, [phrases, embedWidth].
  private let stored: [Float]?
  private let usesCache: Bool

  var names: [String] { classes.names }
  var phrases: [String] { classes.phrases }
  var background: Bool { classes.background }

  /// - Errors: `.usage` for missing or contradicting flags, `.classes`; `.otherModel` for a vocabulary of another model.
  ///
  /// `preset`: brings its own classes where the flags name none.
  init(_ flags: ClassFlags, preset: SegmentOptions.Preset? = nil, session: Session) throws {
    guard flags.vocabulary == nil || (flags.phrases.isEmpty && flags.file == nil) else {
      throw SegmentationError(.usage("--vocabulary brings its own classes; leave out --class and --classes"))
    }
    guard flags.phrases.isEmpty || flags.file == nil else {
      throw SegmentationError(.usage("give either --class or --classes, not both"))
    }
    usesCache = !flags.noCache
    try Self.checkRoom(flags, session)
    if let path = flags.vocabulary {
      let vocabulary = try VocabularyFile.read(path: path)
      do throws(SegmentationError) {
        try vocabulary.check(modelID: session.modelIdentity, width: session.embedWidth)
      } catch {
        throw error.at(path: path)
      }
      classes = vocabulary.classes
      stored = vocabulary.vectors
    } else {
      classes = try Self.list(flags, preset)
      stored = nil
    }
    phraseClass = classes.classIndex.map { Int($0) }
  }

  /// Files of words are read whole, and held twice while they are taken apart. Small ones are left to the plan, which names the
  /// limit that the whole run needs.
  ///
  /// - Errors: `.memory` for a file that the limit has no room for.
  private static func checkRoom(_ flags: ClassFlags, _ session: Session) throws(SegmentationError) {
    guard let limit = session.runtime.memoryLimit, let path = flags.vocabulary ?? flags.file,
      let size = FileBytes.size(path), size > 1 << 20
    else { return }
    let needed = ProcessMemory.now().anonymous + 2 * size
    if needed > limit { throw SegmentationError(.memory(limit: limit, needed: needed, stage: "'\(path)'")) }
  }

  /// Stand-ins for `count` classes, of which nothing is cached: for plans.
  init(count: Int) throws {
    classes = try ClassList(arguments: (1...max(1, count)).map { "class number \($0)" }, background: false)
    phraseClass = classes.classIndex.map { Int($0) }
    stored = nil
    usesCache = false
  }

  private static func list(_ flags: ClassFlags, _ preset: SegmentOptions.Preset?) throws -> ClassList {
    if let file = flags.file { return try ClassList(path: file, background: flags.background) }
    if !flags.phrases.isEmpty { return try ClassList(arguments: flags.phrases, background: flags.background) }
    if let preset {
      let benchmark = Benchmark(preset)
      return try ClassList(arguments: benchmark.classes, background: benchmark.background || flags.background)
    }
    throw SegmentationError(
      .usage("no classes: give --class PHRASE (repeatable), --classes FILE, --vocabulary FILE, or --preset with its own"))
  }

  /// SHA-256 of the vectors of a vocabulary file; nil for words that are encoded here.
  var vocabularyDigest: String? {
    guard let stored else { return nil }
    var digest = SHA256Digest()
    stored.withUnsafeBytes { digest.update($0) }
    return digest.finishHex()
  }

  /// For plans: vectors that are there by then.
  var planned: Wording { Wording(source: .vectors([]), phraseClass: phraseClass) }

  /// Encoded inside the photo's run, past the cache.
  func encodedInRun(_ session: Session) throws -> Wording {
    let source = PromptSource(phrases: phrases, tokenizer: try session.makeTokenizer())
    return Wording(source: .prompts(source), phraseClass: phraseClass)
  }

  /// What has to be encoded.
  struct Lookup {
    /// [phrases][embedWidth], nil where missing; a phrase that several classes share is missing once.
    var vectors: [[Float]?]
    var missing: [String]
    var cache: TextVectorCache?
  }

  /// Looks every phrase up in the cache.
  func lookUp(_ session: Session, _ precision: PrecisionChoice) -> Lookup {
    let cache = usesCache ? session.textCache(precision) : nil
    let vectors = phrases.map { cache?.vector(of: $0) }
    var missing: [String] = []
    var seen: Set<String> = []
    for (phrase, vector) in zip(phrases, vectors) where vector == nil {
      if seen.insert(phrase).inserted { missing.append(phrase) }
    }
    return Lookup(vectors: vectors, missing: missing, cache: cache)
  }

  /// Unit vectors of all phrases; what had to be encoded is stored and reported.
  ///
  /// - Shapes: [phrases, embedWidth].
  /// - Memory: the vectors twice while they are put together.
  func vectors(
    _ session: Session, _ precision: PrecisionChoice, measures: Bool, _ meter: ProgressMeter
  ) throws -> (vectors: [Float], report: TextReport?) {
    if let stored { return (stored, nil) }
    var found = lookUp(session, precision)
    var report: TextReport?
    if !found.missing.isEmpty {
      let source = PromptSource(phrases: found.missing, tokenizer: try session.makeTokenizer())
      Heap.trim()
      let plan = try session.planText(source, precision)
      let made = try session.encodeText(source, precision, plan: plan, measures: measures) { meter.show($0, $1) }
      meter.finish()
      fill(&found, made.vectors, width: session.embedWidth)
      report = made
    }
    Heap.trim()
    return (found.vectors.flatMap { $0 ?? [] }, report)
  }

  private func fill(_ found: inout Lookup, _ made: [Float], width: Int) {
    var fresh: [String: [Float]] = [:]
    for (index, phrase) in found.missing.enumerated() {
      let vector = Array(made[index * width..<(index + 1) * width])
      fresh[phrase] = vector
      found.cache?.store(vector, for: phrase)
    }
    for index in phrases.indices where found.vectors[index] == nil {
      found.vectors[index] = fresh[phrases[index]]
    }
  }

  /// Planned text stage of what is missing; nil where nothing is.
  func planText(
    _ session: Session, _ precision: PrecisionChoice, within limit: MemoryLimit = .ofRuntime
  ) throws -> MemoryPlan? {
    guard stored == nil else { return nil }
    let missing = lookUp(session, precision).missing
    guard !missing.isEmpty else { return nil }
    let source = PromptSource(phrases: missing, tokenizer: try session.makeTokenizer())
    Heap.trim()
    return try session.planText(source, precision, within: limit)
  }
}

extension Session {
  var embedWidth: Int { reader.config.embedWidth }

  /// Cached text vectors of this model in one precision; nil for a model without an identity.
  func textCache(_ precision: PrecisionChoice) -> TextVectorCache? {
    guard modelIdentity.utf8.count == 64 else { return nil }
    return TextVectorCache(
      modelID: modelIdentity, variant: PromptTemplates.identifier + "/" + precision.rawValue, width: embedWidth)
  }
}
