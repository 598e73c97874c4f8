// Running totals of an evaluation.
import System

/// What is known of a split so far.
///
/// - Memory: 32 bytes a class and the names of the worst photos.
package struct EvaluationSummary: Sendable {
  /// How many of the worst photos are remembered.
  package static let worstLimit = 24

  package private(set) var areas: LabelAreas
  package private(set) var photoCount = 0
  package private(set) var seconds = 0.0
  /// Some photo's line does not say what is predicted where labels are ignored.
  package private(set) var lacksIgnored = false
  /// Photos with the lowest mean IoU, the lowest first.
  package private(set) var worst: [PhotoResult] = []

  package init(classCount: Int) { areas = LabelAreas(classCount: classCount) }

  package mutating func add(_ result: PhotoResult) {
    areas.add(result.areas)
    photoCount += 1
    lacksIgnored = lacksIgnored || result.lacksIgnored
    seconds += result.seconds
    let score = result.meanIoU
    guard worst.count < Self.worstLimit || score < worst[worst.count - 1].meanIoU else { return }
    worst.insert(result, at: worst.firstIndex { $0.meanIoU > score } ?? worst.count)
    if worst.count > Self.worstLimit { worst.removeLast() }
  }
}
