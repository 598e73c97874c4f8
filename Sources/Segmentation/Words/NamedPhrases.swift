// The phrases of a run: those of its classes, then those whose pixels are of no class.

/// Classes and negative phrases.
///
/// - Memory: the strings.
package struct NamedPhrases {
  package let classes: ClassList
  /// Compete with the classes for every pixel; what they win is of no class.
  package let negatives: [String]

  /// All phrases, class by class, negative ones last.
  package let all: [String]
  /// Class of each phrase; negative ones share the number behind the last class.
  package let phraseClass: [Int]

  private init(_ classes: ClassList, checked negatives: [String]) {
    (self.classes, self.negatives) = (classes, negatives)
    all = classes.phrases + negatives
    phraseClass =
      classes.classIndex.map { Int($0) } + Array(repeating: classes.count, count: negatives.count)
  }

  /// Negative phrases are checked as the synonyms of a class are; they may hold `;` themselves.
  ///
  /// - Errors: `.classes`, also for a phrase that is both.
  package init(_ classes: ClassList, negatives: [String]) throws(SegmentationError) {
    guard !negatives.isEmpty else {
      self.init(classes)
      return
    }
    let list = try ClassList(arguments: [negatives.joined(separator: ";")], background: false)
    let taken = Set(classes.phrases)
    if let both = list.phrases.first(where: { taken.contains($0) }) {
      throw SegmentationError(.classes("'\(both)' is a class and negative, too; remove one"))
    }
    self.init(classes, checked: list.phrases)
  }

  /// Of a vocabulary file, which has no negative phrases.
  package init(_ classes: ClassList) { self.init(classes, checked: []) }

  /// One class an argument. Without negative phrases, those that the rule of absence brings.
  init(
    _ classes: [String], background: Bool, negatives: [String], _ options: SegmentOptions
  ) throws(SegmentationError) {
    try self.init(
      try ClassList(arguments: classes, background: background),
      negatives: negatives.isEmpty ? options.absent.phrases : negatives)
  }

  /// - Parameter present: classes that are known to be in the photo.
  /// What results call each label: the classes' titles, and one behind them where pixels may be of no class.
  package func titles(_ options: SegmentOptions) -> [String] {
    let mayBeNone = !negatives.isEmpty || options.unknownThreshold > 0
    return classes.titles + (mayBeNone ? ["unknown"] : [])
  }

  package func wording(_ source: TextSource, present: [Int]? = nil) -> Wording {
    Wording(
      source: source, phraseClass: phraseClass, background: classes.background,
      hasNegatives: !negatives.isEmpty, phrases: all, present: present)
  }
}
