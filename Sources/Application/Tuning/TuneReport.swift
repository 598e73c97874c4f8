// What a search found, in words and in JSON.
import Segmentation
import System

/// Settings and what they earned.
package struct TuneReport: Sendable {
  let rule: RewardRule
  let space: SearchSpace
  /// The first is the one that the search started from.
  package let trials: [SegmentOptions]
  package let rewards: [Reward]
  /// Classes that photos show, photo by photo: as many wins are possible.
  package let classCount: Int
  package let photoCount: Int
  let gridCount: Int
  let output: String

  /// The setting of the largest reward; of equal ones the first.
  package var best: Int {
    var best = 0
    for trial in rewards.indices where rewards[best] < rewards[trial] { best = trial }
    return best
  }

  private func cells(of trial: Int) -> [String] { space.values(trials[trial]).map(\.value.text) }

  /// A line a setting, the best first.
  package var table: String {
    let order = trials.indices.sorted {
      if rewards[$0] < rewards[$1] { return false }
      return rewards[$1] < rewards[$0] || $0 < $1
    }
    var rows = [["trial", "wins", "margin"] + space.axes.map(\.key)]
    rows += order.map { trial in
      [String(trial), String(rewards[trial].wins), fixed(rewards[trial].margin, 4)] + cells(of: trial)
    }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    var lines = rows.map { row in
      row.indices.map { padded(row[$0], widths[$0], right: true) }.joined(separator: "  ")
    }
    lines.append(
      "\(trials.count) of \(max(gridCount, trials.count)) settings on \(photoCount) photos, "
        + "which show \(classCount) classes; "
        + "reward \(rule.rawValue); trial 0 is the start")
    lines.append("-> \(printable(output, limit: 400)): trial \(best)")
    return lines.joined(separator: "\n")
  }

  /// One setting.
  func json(of trial: Int) -> JSON {
    .object(
      [
        ("trial", .int(trial)), ("wins", .int(rewards[trial].wins)),
        ("margin", .number(rewards[trial].margin)),
      ] + space.values(trials[trial]).map { ($0.key, $0.value.json) })
  }

  package var json: JSON {
    .object([
      ("reward", .string(rule.rawValue)), ("photos", .int(photoCount)), ("classes_shown", .int(classCount)),
      ("grid", .int(gridCount)), ("best", .int(best)), ("output", .string(output)),
      ("trials", .array(trials.indices.map { json(of: $0) })),
    ])
  }
}
