// Agreement of predicted and true labels, counted in pixels and summed over a split.
import System

/// Pixels of one class: where both say so, where the prediction does, where the truth does.
package struct ClassArea: Equatable, Sendable {
  package var label: Int
  package var intersection: Int
  package var predicted: Int
  package var truth: Int
  /// Pixels that got the class and whose true label is ignored: in none of the others.
  package var ignored: Int

  package init(label: Int, intersection: Int, predicted: Int, truth: Int, ignored: Int = 0) {
    self.label = label
    self.ignored = ignored
    self.intersection = intersection
    self.predicted = predicted
    self.truth = truth
  }

  package var union: Int { predicted + truth - intersection }
}

/// Areas of all classes, over one photo or many.
///
/// - Memory: 32 bytes a class.
/// - Source: mmsegmentation `IoUMetric`: areas are summed over the split first; a class that is neither
///   predicted nor true has no IoU, one that is not true no accuracy, and means leave it out. Differs: sums
///   are exact integers, not float32.
package struct LabelAreas: Equatable, Sendable {
  /// [classes].
  package private(set) var intersection: [Int]
  package private(set) var predicted: [Int]
  package private(set) var truth: [Int]
  /// [classes]: predicted where the true label is ignored.
  package private(set) var ignored: [Int]
  /// True labels past the last class: they count against the class that is predicted there, and for no class.
  package private(set) var strayCount = 0

  package var classCount: Int { truth.count }

  package init(classCount: Int) {
    intersection = [Int](repeating: 0, count: classCount)
    predicted = intersection
    truth = intersection
    ignored = intersection
  }

  /// Counts pixels. Shapes: both [count]; predictions are below `classCount`, ignored true labels
  /// `LabelRule.ignored`.
  package mutating func add(
    predicted labels: UnsafePointer<UInt16>, truth trueLabels: UnsafePointer<UInt16>, count: Int
  ) {
    for index in 0..<count {
      let wanted = Int(trueLabels[index])
      let found = Int(labels[index])
      if wanted == Int(LabelRule.ignored) {
        ignored[found] += 1
        continue
      }
      predicted[found] += 1
      if wanted < classCount {
        truth[wanted] += 1
        if wanted == found { intersection[found] += 1 }
      } else {
        strayCount += 1
      }
    }
  }

  /// Adds one photo's areas.
  package mutating func add(_ areas: [ClassArea]) {
    for area in areas {
      intersection[area.label] += area.intersection
      predicted[area.label] += area.predicted
      truth[area.label] += area.truth
      ignored[area.label] += area.ignored
    }
  }

  /// Classes that occur in prediction or truth.
  package var entries: [ClassArea] { (0..<classCount).map(area).filter { $0.union + $0.ignored > 0 } }

  package func area(_ label: Int) -> ClassArea {
    ClassArea(
      label: label, intersection: intersection[label], predicted: predicted[label], truth: truth[label],
      ignored: ignored[label])
  }

  /// Intersection over union; nil where the class occurs nowhere.
  package func iou(_ label: Int) -> Double? { Self.share(intersection[label], area(label).union) }

  /// Share of the class's true pixels that were found; nil where it has none.
  package func accuracy(_ label: Int) -> Double? { Self.share(intersection[label], truth[label]) }

  /// Mean IoU over classes that occur.
  package var meanIoU: Double? { Self.mean((0..<classCount).compactMap(iou)) }
  /// Mean accuracy over classes that are true somewhere.
  package var meanAccuracy: Double? { Self.mean((0..<classCount).compactMap(accuracy)) }
  /// Share of all labelled pixels that are right.
  package var pixelAccuracy: Double? { Self.share(intersection.reduce(0, +), truth.reduce(0, +)) }

  private static func share(_ part: Int, _ whole: Int) -> Double? {
    whole == 0 ? nil : Double(part) / Double(whole)
  }

  private static func mean(_ values: [Double]) -> Double? {
    values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
  }
}
