// What a setting is worth without any true label: whether CLIP knows a class better behind the setting's mask
// of it than in the dark. Equations 4 and 5 of PnP-OVSS.
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Over which classes CLIP's softmax runs.
package enum RewardRule: String, Sendable, CaseIterable {
  /// As the public code has it: the photo's own. A photo that shows one class can never count: 1 is not more
  /// than 1. PnP-OVSS's masks have a blur of 0.04, whatever the setting says.
  case published
  /// As the paper's equation 5 has it: all classes. PnP-OVSS's masks have the setting's blur.
  case repaired

  package var maskBlur: Float? { self == .published ? 0.04 : nil }
}

/// Worth of one setting.
package struct Reward: Equatable, Sendable {
  /// Classes, photo by photo, that CLIP knows better behind their mask than in the dark.
  package var wins = 0
  /// Sum of Pr(class | mask) - Pr(class | all but the mask): settles ties, and punishes masks that are too
  /// small as well as those that are too large. Not a part of the published reward.
  package var margin = 0.0

  package init(wins: Int = 0, margin: Double = 0) { (self.wins, self.margin) = (wins, margin) }

  package static func < (a: Reward, b: Reward) -> Bool { (a.wins, a.margin) < (b.wins, b.margin) }

  package static func + (a: Reward, b: Reward) -> Reward {
    Reward(wins: a.wins + b.wins, margin: a.margin + b.margin)
  }
}

/// CLIP's opinion of vectors of photos.
///
/// - Source: PnP-OVSS (arXiv 2311.17095), equation 5: Pr(I, k) = softmax over classes of 100 cos(CLIP(I),
///   CLIP(k)). Differs: names stand in the 80 templates that the rest of the program uses; a class with
///   synonyms has the cosine of its best phrase.
package struct RewardScale: Sendable {
  private static let scale = 100.0
  let rule: RewardRule
  /// Unit vectors. Shapes: [phrases, width].
  private let text: [Float]
  private let width: Int
  /// Class of each phrase, ascending from 0.
  private let phraseClass: [Int]

  package init(_ rule: RewardRule, text: [Float], phraseClass: [Int]) {
    precondition(!phraseClass.isEmpty && text.count % phraseClass.count == 0, "a vector a phrase")
    (self.rule, self.text, self.phraseClass) = (rule, text, phraseClass)
    width = text.count / phraseClass.count
  }

  /// Probabilities of some classes.
  ///
  /// - Shapes: `vector` [width], unit; `shown`: the photo's own classes; the result [shown].
  package func probabilities(of shown: [Int], _ vector: ArraySlice<Float>) -> [Double] {
    var logits = [Double](repeating: -.infinity, count: phraseClass[phraseClass.count - 1] + 1)
    for (phrase, label) in phraseClass.enumerated() {
      var dot = 0.0
      for (own, other) in zip(text[phrase * width..<(phrase + 1) * width], vector) {
        dot += Double(own) * Double(other)
      }
      logits[label] = max(logits[label], Self.scale * dot)
    }
    let rivals = rule == .published ? shown.map { logits[$0] } : logits
    let top = rivals.max() ?? 0
    let sum = rivals.reduce(0) { $0 + exp($1 - top) }
    return shown.map { exp(logits[$0] - top) / sum }
  }
}

/// The masks of one photo under all settings, each looked at once.
struct PhotoMasks {
  /// The classes that the photo shows.
  let shown: [Int]
  /// All masks, their complements, and nothing at all; each once.
  let all: [PixelMask]
  /// Shapes: [settings, shown]: where a mask and its complement stand in `all`.
  private let places: [[(mask: Int, rest: Int)]]
  private let dark: Int

  /// Shapes: `masks` [settings, shown].
  init(_ masks: [[PixelMask]], of shown: [Int], side: Int) {
    var known: [PixelMask: Int] = [:]
    var all: [PixelMask] = []
    func place(_ mask: PixelMask) -> Int {
      if let place = known[mask] { return place }
      known[mask] = all.count
      all.append(mask)
      return all.count - 1
    }
    let dark = place(PixelMask(side: side, all: false))
    var pairs: [PixelMask: (mask: Int, rest: Int)] = [:]
    var places: [[(mask: Int, rest: Int)]] = []
    for row in masks {
      var own: [(mask: Int, rest: Int)] = []
      for mask in row {
        let pair = pairs[mask] ?? (place(mask), place(mask.complement))
        pairs[mask] = pair
        own.append(pair)
      }
      places.append(own)
    }
    (self.shown, self.all, self.places, self.dark) = (shown, all, places, dark)
  }

  /// What every setting earns. Shapes: `vectors` [all, width]; the result [settings].
  func rewards(_ vectors: [Float], _ scale: RewardScale) -> [Reward] {
    let width = vectors.count / all.count
    let known = all.indices.map { index in
      scale.probabilities(of: shown, vectors[index * width..<(index + 1) * width])
    }
    return places.map { row in
      var reward = Reward()
      for (index, pair) in row.enumerated() {
        let own = known[pair.mask][index]
        if own > known[dark][index] { reward.wins += 1 }
        reward.margin += own - known[pair.rest][index]
      }
      return reward
    }
  }
}
