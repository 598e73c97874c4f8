// Class names as captions: which word pieces stand for a class, and which classes share a caption.
import Compute

/// The word pieces of every class, ready to be put into captions.
///
/// A class with synonyms is its first phrase. Spaces stay in names; rows of each class's pieces are known.
///
/// - Errors: `.classes` for a class without pieces, or with more than the text tower has room for; `.usage`
///   for negative phrases.
struct CaptionWords {
  /// Most classes in a caption.
  static let classLimit = 25
  /// Most tokens in a caption, unless one class alone has more.
  static let tokenLimit = 64

  /// A piece list a class.
  let pieces: [[Int32]]
  private let opening: [Int32]
  private let end: Int32
  private let limit: Int
  /// Tokens of a caption without names.
  private var frame: Int { opening.count + 1 }

  init(_ words: Wording, _ model: Model) throws(SegmentationError) {
    if words.hasNegatives {
      throw SegmentationError(.usage("--method pnp-ovss knows no negative phrases; leave out --negative"))
    }
    guard case .wordPieces(let list)? = try model.makeTokenizer() else {
      throw SegmentationError(.model("\(model.file.path) holds no word list"))
    }
    let tokenizer = try list.starting(with: .encode)
    opening = [tokenizer.startToken] + tokenizer.encode(BLIPCaption.opening)
    end = tokenizer.endToken
    limit = min(Self.tokenLimit, tokenizer.contextLength)
    var pieces: [[Int32]] = []
    for (phrase, label) in zip(words.phrases, words.phraseClass) where label == pieces.count {
      let found = tokenizer.encode(phrase)
      let room = tokenizer.contextLength - opening.count - 1
      guard (1...room).contains(found.count) || words.background && label == 0 else {
        let problem = found.isEmpty ? "no word pieces" : "\(found.count) word pieces, at most \(room) fit"
        throw SegmentationError(.classes("'\(phrase)' has \(problem); name it otherwise"))
      }
      pieces.append(found)
    }
    guard !pieces.isEmpty else {
      throw SegmentationError(.usage("--method pnp-ovss reads names; a vocabulary without any is none"))
    }
    self.pieces = pieces
  }

  /// Runs of classes that share a caption, in their order.
  func groups(_ classes: [Int]) -> [[Int]] {
    var groups: [[Int]] = []
    var used = 0
    for label in classes {
      let count = pieces[label].count
      if groups.isEmpty || groups[groups.count - 1].count == Self.classLimit
        || used + count > limit
      {
        groups.append([])
        used = frame
      }
      groups[groups.count - 1].append(label)
      used += count
    }
    return groups
  }

  /// A caption of some classes, and the rows of each one's pieces.
  func caption(_ classes: [Int]) -> (tokens: [Int32], rows: [Range<Int>]) {
    var tokens = opening
    var rows: [Range<Int>] = []
    for label in classes {
      rows.append(tokens.count..<tokens.count + pieces[label].count)
      tokens += pieces[label]
    }
    return (tokens + [end], rows)
  }

  /// Tokens of the longest caption and of all of them together, where some `count` of `classes` have one
  /// each.
  func alone(_ classes: [Int], count: Int) -> (longest: Int, rows: Int) {
    let longest = classes.map { pieces[$0].count }.sorted(by: >).prefix(count)
    return (frame + (longest.first ?? 0), longest.reduce(0) { $0 + frame + $1 })
  }

  /// Tokens of the longest caption of these classes.
  func longest(_ classes: [Int]) -> Int { groups(classes).map { caption($0).tokens.count }.max() ?? frame }

  /// Tokens that the longest caption of any `count` of `classes` has at most: others stand beside each other.
  func longest(ofAny count: Int, _ classes: [Int]) -> Int {
    let sizes = classes.map { pieces[$0].count }.sorted(by: >).prefix(count)
    return min(frame + sizes.reduce(0, +), max(limit, frame + (sizes.first ?? 0)))
  }
}
