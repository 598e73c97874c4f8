// What a watch says of each frame, and at its end.
import Segmentation
import System

/// One class in one frame.
package struct WatchedClass: Sendable {
  package let label: Int
  package let name: String
  /// Of the frame's pixels, 0 to 1.
  package let share: Double
  /// By the rule of `PresenceTracker`; nil for pixels of no class.
  package let isPresent: Bool?
  /// It appeared or went with this frame.
  package let hasChanged: Bool
  /// How sure the scores are, where that was asked for and it has pixels: 0 to 1.
  package let surety: (mean: Double, best: Double)?

  fileprivate var json: JSON {
    var members: [(String, JSON)] = [
      ("id", .int(label)), ("name", .string(name)), ("share", .number(rounded(share))),
    ]
    if let isPresent { members.append(("present", .bool(isPresent))) }
    if let surety {
      members += [("confidence", .number(rounded(surety.mean))), ("best", .number(rounded(surety.best)))]
    }
    return .object(members)
  }
}

/// A frame that was done.
package struct WatchFrame: Sendable {
  package let name: String
  /// When it arrived: seconds since 1970.
  package let time: Double
  /// Counts the frames that were done, from 1.
  package let number: Int
  package let width: Int
  package let height: Int
  /// What it took.
  package let seconds: Double
  package let counts: WatchCounts
  package let classes: [WatchedClass]

  package var changes: [WatchedClass] { classes.filter(\.hasChanged) }

  package var json: JSON {
    .object(
      [
        ("time", .string(utcText(time))), ("photo", .string(name)), ("frame", .int(number)),
        ("width", .int(width)), ("height", .int(height)), ("seconds", .number(rounded(seconds))),
      ] + counts.members + [
        ("classes", .array(classes.map(\.json))), ("changes", .array(changes.map { change(of: $0) })),
      ])
  }

  /// A class that appeared or went, for who only wants that.
  package func change(of one: WatchedClass) -> JSON {
    .object([
      ("name", .string(one.name)), ("present", .bool(one.isPresent ?? false)),
      ("share", .number(rounded(one.share))),
    ])
  }
}

/// What became of everything that arrived.
package struct WatchCounts: Equatable, Sendable {
  /// Segmented.
  package fileprivate(set) var done = 0
  /// Whole, and no photo that could be segmented.
  package fileprivate(set) var failed = 0
  /// Given up for newer ones.
  package fileprivate(set) var dropped = 0
  /// Begun, and not whole.
  package fileprivate(set) var broken = 0
  /// Classes that appeared or went.
  package fileprivate(set) var changes = 0

  package init() {}

  mutating func finish(changes count: Int) {
    done += 1
    changes += count
  }
  mutating func fail() { failed += 1 }
  mutating func take(_ source: any ArrivalSource) {
    (dropped, broken) = (source.droppedCount, source.brokenCount)
  }

  fileprivate var members: [(String, JSON)] {
    [("dropped", .int(dropped)), ("broken", .int(broken)), ("failed", .int(failed))]
  }

  package var json: JSON { .object([("done", .int(done)), ("changes_seen", .int(changes))] + members) }

  /// One line for people.
  package var text: String {
    "\(done) photos: \(changes) changes; \(dropped) dropped for newer ones, \(broken) broken, "
      + "\(failed) failed"
  }
}

/// Six digits behind the point are enough for a share of any photo that arrives often.
private func rounded(_ value: Double) -> Double { (value * 1e6).rounded() / 1e6 }
