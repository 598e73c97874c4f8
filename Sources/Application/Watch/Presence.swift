// Which classes are there, from how much of each frame they take.
//
// A share that hovers around one threshold would come and go with every frame. So a class appears above one
// share and goes below another, and does so only if as many frames in a row agree as were asked for.
import Segmentation

/// When a class is there.
package struct PresenceBounds: Equatable, Sendable {
  /// Shares of the pixels, 0 to 1: present from this on, and absent below this.
  package let above: Double
  package let below: Double
  /// Frames in a row that must agree.
  package let hold: Int

  /// `below`: half of `above` where it is nil.
  ///
  /// - Errors: `.usage` for numbers out of range.
  package init(above: Double = 0.005, below: Double? = nil, hold: Int = 1) throws(SegmentationError) {
    (self.above, self.below, self.hold) = (above, below ?? above / 2, hold)
    guard above > 0, above <= 1 else {
      throw SegmentationError(.usage("--present-above \(above) is outside 0...1, 0 left out"))
    }
    guard self.below > 0, self.below <= above else {
      throw SegmentationError(
        .usage("--absent-below \(self.below) must be above 0 and at most --present-above"))
    }
    guard (1...100_000).contains(hold) else {
      throw SegmentationError(.usage("--hold \(hold) is outside 1...100000"))
    }
  }
}

/// Follows classes from frame to frame. Every class begins absent.
///
/// - Memory: 16 B a class.
package struct PresenceTracker: Sendable {
  private let rule: PresenceBounds
  private var states: [(isPresent: Bool, against: Int)]

  package init(_ rule: PresenceBounds, classes count: Int) {
    self.rule = rule
    states = Array(repeating: (false, 0), count: count)
  }

  package func isPresent(_ label: Int) -> Bool { states[label].isPresent }

  /// Takes a frame's shares, 0 to 1. Returns the classes that appeared or went.
  package mutating func take(_ shares: [Double]) -> [Int] {
    var changed: [Int] = []
    for label in states.indices {
      let (share, wasPresent) = (shares[label], states[label].isPresent)
      let speaksAgainst = wasPresent ? share < rule.below : share >= rule.above
      states[label].against = speaksAgainst ? states[label].against + 1 : 0
      guard states[label].against >= rule.hold else { continue }
      states[label] = (!wasPresent, 0)
      changed.append(label)
    }
    return changed
  }
}
