// Which photos of a list one process does, as a caller or a scheduler says.
import Segmentation

/// A part of a list: the lines whose number, counted from 0, leaves `index` when divided by `count`.
///
/// Every line is in one shard, sizes differ by one at most, and the length of the list need not be known.
package struct Shard: Equatable, Sendable {
  /// From 0.
  package let index: Int
  package let count: Int

  package static let countLimit = 100_000
  package static let whole = Shard(index: 0, count: 1)

  private init(index: Int, count: Int) { (self.index, self.count) = (index, count) }

  /// `I/N`, I from 1 to N.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 2, let number = parts[0], let count = parts[1],
      (1...Self.countLimit).contains(count), (1...count).contains(number)
    else { return nil }
    (index, self.count) = (number - 1, count)
  }

  package func holds(_ line: Int) -> Bool { line % count == index }

  /// `I/N`, as it is asked for.
  package var text: String { "\(index + 1)/\(count)" }

  /// What names of its files begin with: its index, from 0, in five digits.
  package var stem: String { Self.stem(index) }

  package static func stem(_ index: Int) -> String {
    let digits = String(index)
    return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
  }

  /// What a scheduler says to each process of an array; nil where none does. `variable` names what was read.
  ///
  /// Kubernetes counts from 0 and does not say how many there are: TRIDENT_SHARDS does. Where it is set it
  /// counts for the others, too, so that a single task of an array that is sent again stays what it was.
  ///
  /// - Errors: `.usage` for numbers that contradict each other or leave a shard out.
  package static func scheduled(
    _ variable: (String) -> String?
  ) throws(SegmentationError) -> (shard: Shard, variable: String)? {
    func number(_ name: String) throws(SegmentationError) -> Int? {
      guard let text = variable(name), !text.isEmpty else { return nil }
      guard let value = Int(text), (0...1_000_000_000).contains(value) else {
        throw SegmentationError(.usage("'\(text)' is no number of a shard"), field: name)
      }
      return value
    }
    let total = try number("TRIDENT_SHARDS")
    for name in ["JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID"] {
      guard var index = try number(name) else { continue }
      var count = total
      if count == nil, name == "AWS_BATCH_JOB_ARRAY_INDEX" { count = try number("AWS_BATCH_JOB_ARRAY_SIZE") }
      if count == nil, name == "SLURM_ARRAY_TASK_ID" {
        let tasks = try number("SLURM_ARRAY_TASK_COUNT")
        let step = try number("SLURM_ARRAY_TASK_STEP") ?? 1
        let first = try number("SLURM_ARRAY_TASK_MIN") ?? 0
        let last = try number("SLURM_ARRAY_TASK_MAX") ?? index
        if let tasks, step < 1 || last - first != (tasks - 1) * step || (index - first) % step != 0 {
          throw SegmentationError(
            .usage("the tasks of the array are no even row of numbers; set TRIDENT_SHARDS, tasks from 0 on"),
            field: name)
        }
        (index, count) = ((index - first) / max(1, step), tasks)
      }
      guard let count else {
        throw SegmentationError(.usage("is set, but not of how many: set TRIDENT_SHARDS, too"), field: name)
      }
      guard (1...countLimit).contains(count), (0..<count).contains(index) else {
        throw SegmentationError(
          .usage("shard \(index) of \(count): shards count from 0, at most \(countLimit) of them"),
          field: name)
      }
      return (Shard(index: index, count: count), name)
    }
    return nil
  }
}
