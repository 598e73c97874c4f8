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

  /// The rule of absence, settled: never `auto`.
  package let absent: AbsentRule
  /// False where nobody asked for the negative phrases: `auto` brought them, for there are so few words.
  package let isAsked: Bool

  private init(_ classes: ClassList, checked negatives: [String], absent: AbsentRule, isAsked: Bool = true) {
    (self.classes, self.negatives, self.absent) = (classes, negatives, absent)
    self.isAsked = isAsked
    all = classes.phrases + negatives
    phraseClass =
      classes.classIndex.map { Int($0) } + Array(repeating: classes.count, count: negatives.count)
  }

  /// Negative phrases are checked as the synonyms of a class are; they may hold `;` themselves.
  ///
  /// Without them, those that the rule of absence brings.
  ///
  /// - Errors: `.classes`, also for a phrase that is both.
  package init(
    _ classes: ClassList, negatives: [String], absent: AbsentRule = .keep
  ) throws(SegmentationError) {
    let settled = absent.settled(classes, mayAdd: negatives.isEmpty)
    let negatives = negatives.isEmpty ? settled.phrases : negatives
    guard !negatives.isEmpty else {
      self.init(classes, checked: [], absent: settled)
      return
    }
    if negatives.contains(where: { $0.allSatisfy(\.isWhitespace) }) {
      throw SegmentationError(.usage("--negative has an empty phrase; name one or leave it out"))
    }
    let list = try ClassList(arguments: [negatives.joined(separator: ";")], background: false)
    guard list.descriptions.isEmpty else {
      throw SegmentationError(.classes("negative phrases have no descriptions; leave out ' :='"))
    }
    let taken = Set(classes.phrases)
    if let both = list.phrases.first(where: { taken.contains($0) }) {
      throw SegmentationError(.classes("'\(both)' is a class and negative, too; remove one"))
    }
    self.init(
      classes, checked: list.phrases, absent: settled, isAsked: absent != .auto || settled != .relevancy)
  }

  /// Classes alone; or of a vocabulary file, which may hold negative phrases.
  package init(_ classes: ClassList, stored negatives: [String] = []) {
    self.init(classes, checked: negatives, absent: .keep)
  }

  /// One class an argument. Without negative phrases, those that the rule of absence brings.
  init(
    _ classes: [String], background: Bool, negatives: [String], _ options: SegmentOptions
  ) throws(SegmentationError) {
    try self.init(
      try ClassList(arguments: classes, background: background), negatives: negatives,
      absent: options.absentForWords)
  }

  /// The options of a run on these words.
  package func settle(_ options: SegmentOptions) -> SegmentOptions {
    var options = options
    if options.absent == .auto { options.absent = absent }
    return options
  }

  /// What results call each label: the classes' titles, and one behind them where pixels may be of no class.
  package func titles(_ options: SegmentOptions) -> [String] {
    let mayBeNone = !negatives.isEmpty || options.unknownThreshold > 0
    return classes.titles + (mayBeNone ? ["unknown"] : [])
  }

  /// - Parameter present: classes that are known to be in the photo.
  package func wording(_ source: TextSource, present: [Int]? = nil) -> Wording {
    Wording(
      source: source, phraseClass: phraseClass, background: classes.background,
      hasNegatives: !negatives.isEmpty, phrases: all, present: present)
  }
}
