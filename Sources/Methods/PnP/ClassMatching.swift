// Which classes a photo shows, told by BLIP itself: the nearest ones in the space that images and texts share
// (ITC), then those whose own caption matches the photo (ITM).
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What said which classes are there.
package enum PresenceRule: String, Sendable {
  /// The user.
  case given
  /// A model of another method: how much of the photo it gives each class.
  case model
  /// ITM, behind ITC where there are many classes.
  case match
  /// Nothing: all take part.
  case all
}

/// What was found of a class.
package struct ClassMatch: Equatable, Sendable {
  package var label: Int
  /// Cosine of photo and name; nil where nobody asked.
  package var cosine: Float?
  /// Probability of the match; nil where nobody asked.
  package var probability: Float?
  /// Of the photo's pixels, by another model; nil where none was asked.
  package var share: Double?
  package var isPresent = false

  package init(label: Int, share: Double? = nil) { (self.label, self.share) = (label, share) }
}

/// Finds the classes of a photo.
///
/// - Source: this package; the published method asks another model (GPT-4o).
struct ClassMatching {
  /// Classes that are asked for one by one.
  static let shortList = 16
  /// Least probability of a match.
  static let edge: Float = 0.5

  let tower: BERTTower
  let words: CaptionWords
  /// Unit vectors of all phrases; none where there are few classes. Shapes: [phrases, embedWidth].
  let text: Rows
  let phraseClass: [Int]

  private var run: RunContext { tower.run }

  /// Looks at all candidates; marks those that are there, at least one.
  ///
  /// - Shapes: `image` [imageTokens, image width].
  /// - Memory: a `CaptionRoom` of 16 captions; given back.
  func find(_ candidates: [Int], image: Rows) throws -> [ClassMatch] {
    try run.scope {
      let count = min(Self.shortList, candidates.count)
      let size = words.alone(candidates, count: count)
      let room = try CaptionRoom(
        run, tower.config.blocks, rows: size.rows, longest: size.longest, image: (image.count, image.width))
      let vector = try run.arena.rows(1, tower.config.embedWidth)
      let stream = run.blocks(of: tower.schema)
      run.note(tower.work(rows: size.rows, longest: size.longest, imageTokens: image.count))
      if run.isPlanning { return candidates.prefix(count).map { ClassMatch(label: $0) } }
      var found = candidates.map { ClassMatch(label: $0) }
      var asked = Array(found.indices)
      if found.count > Self.shortList {
        tower.project(image: image.prefix(1), room, into: vector)
        compare(vector, &found)
        asked.sort { (found[$0].cosine ?? 0, $1) > (found[$1].cosine ?? 0, $0) }
        asked = asked.prefix(Self.shortList).sorted()
      }
      let batch = CaptionBatch(asked.map { words.caption([found[$0].label]).tokens })
      try tower.forward(batch, image: image, stream, room)
      for (index, logits) in zip(asked, tower.matchLogits(batch, room)) {
        found[index].probability = 1 / (1 + expf(logits.no - logits.yes))
      }
      choose(&found)
      return found
    }
  }

  private func compare(_ vector: Rows, _ found: inout [ClassMatch]) {
    precondition(text.count == phraseClass.count, "a vector a phrase")
    var first: [Int: Int] = [:]
    for (phrase, label) in phraseClass.enumerated() where first[label] == nil { first[label] = phrase }
    for index in found.indices {
      guard let phrase = first[found[index].label] else { continue }
      found[index].cosine = dot(vector.base, text.row(phrase), vector.width)
    }
  }

  private func choose(_ found: inout [ClassMatch]) {
    for index in found.indices { found[index].isPresent = (found[index].probability ?? 0) >= Self.edge }
    if found.contains(where: \.isPresent) { return }
    let best = found.indices.max { (found[$0].probability ?? -1, $1) < (found[$1].probability ?? -1, $0) }
    if let best { found[best].isPresent = true }
  }
}
