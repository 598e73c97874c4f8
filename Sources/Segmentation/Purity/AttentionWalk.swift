// From attention to a walk between patches: rows and columns that sum to one, as near as three turns bring
// them, alike in both directions.
import Compute

/// One step of the walk; FreeCP's matrix is two of them.
///
/// Two products with the step are two steps of the walk, so its square never exists.
///
/// - Source: FreeCP's public code, which divides three times; its paper tells of a plain mean. Differs: a sum
///   below 1e-12 counts as that (attention in bytes may leave a patch out altogether, and the code would
///   divide by zero).
struct AttentionWalk {
  /// Times that columns and then rows are brought to sum one.
  static let turns = 3

  /// [n, n].
  let step: Rows

  /// - Shapes: `attention` [n, n], a mean or a sum: it becomes the step.
  init(_ attention: Rows, sums: UnsafeMutablePointer<Float>) {
    step = attention
    for _ in 0..<Self.turns {
      divideColumns(sums)
      divideRows()
    }
    makeSymmetric()
  }

  /// Shapes: `sums` [n]: work space.
  private func divideColumns(_ sums: UnsafeMutablePointer<Float>) {
    let count = step.count
    sums.update(repeating: 0, count: count)
    for row in 0..<count {
      let line = step.row(row)
      for column in 0..<count { sums[column] += line[column] }
    }
    for column in 0..<count { sums[column] = 1 / max(sums[column], 1e-12) }
    for row in 0..<count {
      let line = step.row(row)
      for column in 0..<count { line[column] *= sums[column] }
    }
  }

  private func divideRows() {
    for row in 0..<step.count {
      let line = step.row(row)
      let factor = 1 / max(sum(line, step.count), 1e-12)
      for column in 0..<step.count { line[column] *= factor }
    }
  }

  private func makeSymmetric() {
    for row in 0..<step.count {
      let line = step.row(row)
      for column in 0..<row {
        let mean = (line[column] + step.row(column)[row]) / 2
        (line[column], step.row(column)[row]) = (mean, mean)
      }
    }
  }
}
