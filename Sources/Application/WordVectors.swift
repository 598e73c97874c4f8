// Text vectors of a run's words: from another vocabulary, from the cache, or encoded now.
import Segmentation
import System

/// Vectors, and where they come from.
struct WordVectors {
  /// Shapes: [phrases, embedWidth].
  var vectors: [Float]
  /// Of what had to be encoded, without vectors; nil where nothing had.
  var report: TextReport?
  /// Phrases whose vectors another vocabulary had.
  var takenCount = 0
  /// Texts of descriptions that were looked for.
  var textCount = 0
}

extension Words {
  /// How texts are encoded.
  private struct Manner {
    let precision: PrecisionChoice
    let measures: Bool
    let listener: any JobListener
    let isCancelled: (() -> Bool)?
  }

  /// Unit vectors of all phrases; what had to be encoded is stored and reported.
  ///
  /// `old`: a vocabulary of the same tower, templates and encoding; what it has of these words is taken.
  ///
  /// - Memory: the vectors, and twice those that are encoded while they are put in their places.
  func vectors(
    _ precision: PrecisionChoice, measures: Bool, _ listener: any JobListener,
    extending old: Vocabulary? = nil,
    isCancelled: (() -> Bool)? = nil
  ) throws -> WordVectors {
    if let stored { return WordVectors(vectors: stored) }
    let manner = Manner(
      precision: precision, measures: measures, listener: listener, isCancelled: isCancelled)
    let width = session.embedWidth
    var made = WordVectors(vectors: [Float](repeating: 0, count: named.all.count * width))
    let taken = old.map { take($0, into: &made.vectors) } ?? []
    made.takenCount = taken.count
    made.report = try fill(
      &made.vectors, named.all, named.all.indices.filter { !taken.contains($0) }, templates, manner)
    let described = named.described.filter { label in
      classes.phrases(ofClass: label).indices.contains { !taken.contains($0) }
    }
    if !described.isEmpty {
      let texts = named.texts(of: described)
      made.textCount = texts.count
      var vectors = [Float](repeating: 0, count: texts.count * width)
      if let later = try fill(&vectors, texts, Array(texts.indices), .plain, manner) {
        if made.report == nil { made.report = later } else { made.report?.add(later) }
      }
      named.mix(&made.vectors, with: vectors, of: described, width: width) { !taken.contains($0) }
    }
    Heap.trim()
    return made
  }

  /// Copies the vectors of phrases that another vocabulary has under the same description; returns which.
  private func take(_ old: Vocabulary, into vectors: inout [Float]) -> Set<Int> {
    let width = old.width
    var rows: [[String]: Int] = [:]
    for (row, label) in old.allClassIndex.enumerated() {
      rows[[old.allPhrases[row], old.classes.descriptions[Int(label)]?.line ?? ""]] = row
    }
    var taken: Set<Int> = []
    for (index, label) in named.phraseClass.enumerated() {
      guard let row = rows[[named.all[index], classes.descriptions[label]?.line ?? ""]] else { continue }
      vectors.replaceSubrange(
        index * width..<(index + 1) * width, with: old.vectors[row * width..<(row + 1) * width])
      taken.insert(index)
    }
    return taken
  }

  /// Puts the vectors of those texts that stand at `places` there; equal texts are encoded once.
  private func fill(
    _ vectors: inout [Float], _ texts: [String], _ places: [Int], _ templates: TemplateList, _ manner: Manner
  ) throws -> TextReport? {
    let report = try fillFirst(&vectors, texts, places, templates, manner)
    let width = session.embedWidth
    var first: [String: Int] = [:]
    for index in places {
      guard let same = first[texts[index]] else {
        first[texts[index]] = index
        continue
      }
      for column in 0..<width { vectors[index * width + column] = vectors[same * width + column] }
    }
    first = [:]
    Heap.trim()
    return report
  }

  /// Puts the vector of each text where that text comes first.
  private func fillFirst(
    _ vectors: inout [Float], _ texts: [String], _ places: [Int], _ templates: TemplateList, _ manner: Manner
  ) throws -> TextReport? {
    let (width, precision) = (session.embedWidth, manner.precision)
    let (missing, cache) = lookUp(texts, places, templates, precision) { index, vector in
      vectors.replaceSubrange(index * width..<(index + 1) * width, with: vector)
    }
    if missing.isEmpty { return nil }
    let display = manner.listener.progressDisplay()
    let source = try source(of: missing.map { texts[$0] }, templates)
    Heap.trim()
    let plan = try session.planText(source, precision)
    try session.checkTime(plan, precision)
    defer { display?.finish() }
    var report = try session.encodeText(
      source, precision, plan: plan, measures: manner.measures,
      progress: { display?.show($0, $1, detail: "") }, isCancelled: manner.isCancelled)
    // What is kept under the model's identity must be of that model.
    if cache != nil { try session.proveIdentity() }
    for (row, index) in missing.enumerated() {
      let vector = Array(report.vectors[row * width..<(row + 1) * width])
      vectors.replaceSubrange(index * width..<(index + 1) * width, with: vector)
      cache?.store(vector, for: texts[index])
    }
    report.vectors = []
    return report
  }

  /// Planned text stage of what is missing; nil where nothing is.
  func planText(_ precision: PrecisionChoice, within limit: MemoryLimit) throws -> MemoryPlan? {
    if stored != nil { return nil }
    let names = try planText(named.all, templates, precision, limit)
    let described = named.described
    if described.isEmpty { return names }
    var texts = try planText(named.texts(of: described), .plain, precision, limit)
    if let names, texts != nil { texts?.precede(with: names) }
    return texts ?? names
  }

  private func planText(
    _ texts: [String], _ templates: TemplateList, _ precision: PrecisionChoice, _ limit: MemoryLimit
  ) throws -> MemoryPlan? {
    let missing = lookUp(texts, Array(texts.indices), templates, precision) { _, _ in }.missing
    guard !missing.isEmpty else { return nil }
    let source = try source(of: missing.map { texts[$0] }, templates)
    Heap.trim()
    return try session.planText(source, precision, within: limit)
  }

  func source(of phrases: [String], _ templates: TemplateList) throws -> PromptSource {
    PromptSource(phrases: phrases, tokenizer: try session.makeTokenizer(), templates: templates)
  }

  /// Hands over what the cache has, and names the texts that it lacks, by their place in the list; a text
  /// that comes more than once counts where it comes first.
  private func lookUp(
    _ texts: [String], _ places: [Int], _ templates: TemplateList, _ precision: PrecisionChoice,
    _ found: (_ index: Int, _ vector: [Float]) -> Void
  ) -> (missing: [Int], cache: TextVectorCache?) {
    let cache: TextVectorCache? = usesCache ? session.textCache(precision, templates) : nil
    var seen: Set<String> = []
    var missing: [Int] = []
    for index in places where seen.insert(texts[index]).inserted {
      if let vector = cache?.vector(of: texts[index]) {
        found(index, vector)
      } else {
        missing.append(index)
      }
    }
    return (missing, cache)
  }
}
