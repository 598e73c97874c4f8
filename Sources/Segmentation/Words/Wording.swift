// The words of a run, and where their text vectors come from.
import Compute

/// Where text vectors come from.
package enum TextSource {
  /// Encoded in this run.
  case prompts(PromptSource)
  /// Made before: [phrases, embedWidth]. A plan does not look at them.
  case vectors([Float])
  /// Nobody asks for them.
  case unused
}

/// The words of a run.
package struct Wording {
  package var source: TextSource
  /// Class of each phrase, ascending.
  package var phraseClass: [Int]
  /// Class 0 is what nothing else is: rules of absence leave it alone.
  package var background: Bool
  /// The last class is what must not be mistaken for the others: its pixels are of no class.
  package var hasNegatives: Bool
  /// The phrases themselves, for methods that read them. Shapes: [phrases], or empty.
  package var phrases: [String]
  /// Classes that are known to be in the photo, ascending; nil: nobody said.
  package var present: [Int]?
  /// What another model gave every class of the photo's pixels, where it said what is present. Shapes:
  /// [classes].
  package var shares: [Double]?
  /// The photo is a tile: what is said to be present was said of the raster.
  package var isTile = false

  package init(
    source: TextSource, phraseClass: [Int], background: Bool = false, hasNegatives: Bool = false,
    phrases: [String] = [], present: [Int]? = nil
  ) {
    self.source = source
    self.phraseClass = phraseClass
    self.background = background
    self.hasNegatives = hasNegatives
    (self.phrases, self.present) = (phrases, present)
  }

  /// What said which classes are there; nil: nobody.
  var presenceRule: PresenceRule? { present == nil ? nil : shares == nil ? .given : .model }

  /// Unit vectors of all phrases.
  ///
  /// - Shapes: [phrases, width].
  /// - Memory: they stay reserved.
  func vectors(in run: RunContext, width: Int) throws -> Rows {
    if case .unused = source { return try run.arena.rows(0, width) }
    let vectors = try run.arena.rows(phraseClass.count, width)
    switch source {
    case .unused: break
    case .vectors(let stored):
      if run.isPlanning { return vectors }
      precondition(stored.count == vectors.count * width, "text vectors of another shape")
      vectors.base.update(from: stored, count: stored.count)
    case .prompts(let source):
      try run.encode(source, into: vectors)
    }
    return vectors
  }
}

extension RunContext {
  /// The text stage: phrases to unit vectors.
  ///
  /// - Errors: `.model` for a file without a text tower.
  func encode(_ source: PromptSource, into vectors: Rows) throws {
    if let config = model.config.siglip, let schema = model.siglip {
      try stage(.text) { try SigLIPTower(self, config, schema).encode(source, into: vectors) }
    } else if let config = model.config.bert, let schema = model.bert {
      try stage(.text) { try BERTTower(self, config, schema).encode(source, into: vectors) }
    } else if let config = model.config.text, let schema = model.text {
      try stage(.text) { try TextTower(self, config, schema).encode(source, into: vectors) }
    } else {
      throw SegmentationError(.model("\(model.file.path) holds no text tower"))
    }
    record("text.vectors", vectors)
  }
}
