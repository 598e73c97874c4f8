// What the labels of an evaluation look like: what a mean would hide.
import System

/// Which numbers label maps hold, before their meaning is looked up.
///
/// - Memory: 64 KiB.
final class LabelNumbers {
  private(set) var seen = [Bool](repeating: false, count: 65_536)

  /// Shapes: [count].
  func add(_ row: [UInt16]) { for number in row { seen[Int(number)] = true } }

  /// Those that occur, from 0.
  var all: [Int] { seen.indices.filter { seen[$0] } }
}

/// Pixels of one true class that got another.
package struct Confusion: Equatable, Sendable {
  package let truth: Int
  package let predicted: Int
  package let count: Int
}

/// Counts of one run that a results file does not keep.
///
/// - Memory: 8 bytes a pair of classes, for up to `classLimit` classes; for more, pairs are not counted.
package struct EvaluationFindings: Sendable {
  package static let classLimit = 256

  private let classCount: Int
  /// [true, predicted]; empty above the limit.
  private var pairs: [Int]
  /// Photos that these counts are of.
  package private(set) var photoCount = 0
  package private(set) var pixelCount = 0
  package private(set) var ignoredCount = 0
  /// Photos that were turned, the first by name.
  private var turned: (count: Int, first: String) = (0, "")
  /// Numbers of all label maps, where they are as stored classes.
  private var numbers: [Int] = []

  package init(classCount: Int) {
    self.classCount = classCount
    pairs = classCount <= Self.classLimit ? [Int](repeating: 0, count: classCount * classCount) : []
  }

  /// Counts a row. Shapes: both [count].
  mutating func add(
    predicted: UnsafePointer<UInt16>, truth: UnsafePointer<UInt16>, count: Int
  ) {
    pixelCount += count
    for index in 0..<count {
      let wanted = Int(truth[index])
      if wanted == Int(LabelRule.ignored) { ignoredCount += 1 }
      if wanted < classCount && !pairs.isEmpty { pairs[wanted * classCount + Int(predicted[index])] += 1 }
    }
  }

  /// Counts a photo. `turned`: it was not seen as it is stored.
  mutating func add(_ photo: LabelledPhoto, turned isTurned: Bool) {
    photoCount += 1
    guard isTurned else { return }
    turned = (turned.count + 1, turned.count == 0 ? photo.photo : turned.first)
  }

  mutating func set(_ numbers: LabelNumbers) { self.numbers = numbers.all }

  /// Pixels of a true class that got a label; nil where pairs are not counted.
  package func count(truth: Int, predicted: Int) -> Int? {
    pairs.isEmpty ? nil : pairs[truth * classCount + predicted]
  }

  /// The pairs of different classes with the most pixels, the largest first.
  package func mostConfused(_ limit: Int) -> [Confusion] {
    var found: [Confusion] = []
    for (index, count) in pairs.enumerated() where count > 0 && index / classCount != index % classCount {
      if found.count == limit, count <= found[limit - 1].count { continue }
      let place = found.firstIndex { $0.count < count } ?? found.count
      found.insert(
        Confusion(truth: index / classCount, predicted: index % classCount, count: count), at: place)
      if found.count > limit { found.removeLast() }
    }
    return found
  }

  /// Of all pixels, those whose label is ignored.
  package var ignoredShare: Double { pixelCount == 0 ? 0 : Double(ignoredCount) / Double(pixelCount) }

  /// What is likely wrong with the labels. `rule`: how numbers were read; `orientationIsSaid`: the user said
  /// how photos lie.
  package func warnings(_ rule: LabelRule, orientationIsSaid: Bool) -> [String] {
    var warnings: [String] = []
    if numbers == [0, 255] || numbers == [255] {
      warnings.append(
        "the label maps hold 0 and 255 alone, and 255 is ignored: \(EvaluationText.percent(ignoredShare)) % "
          + "of the pixels were not counted; store a class as its number (1), not as white")
    } else if let first = numbers.first, first > 0, first != 255, rule == .plain {
      warnings.append(
        "no label map holds a 0, the number of the first class; where classes are counted from 1, "
          + "--reduce-zero-label makes 1 the first")
    } else if ignoredShare > 0.3 {
      warnings.append("\(EvaluationText.percent(ignoredShare)) % of the pixels are ignored (255)")
    }
    if turned.count > 0 && !orientationIsSaid {
      warnings.append(
        "\(turned.count) photo\(turned.count == 1 ? "" : "s") (\(printable(turned.first, limit: 400))) "
          + "\(turned.count == 1 ? "was" : "were") turned as EXIF says; label maps may lie on the unturned "
          + "ones: --orientation stored reads photos as they are stored, --orientation exif says that they "
          + "do not"
      )
    }
    return warnings
  }
}
