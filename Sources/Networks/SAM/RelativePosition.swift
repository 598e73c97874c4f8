// SAM's decomposed relative positions, turned round once a block so that a query's row is contiguous.
import Compute

/// Relative position tables with the key index ascending.
///
/// - Shapes: `height`, `width` [headWidth, 2 * side - 1]; column `side - 1 - q + k` belongs to query
///   coordinate q and key coordinate k.
/// - Source: segment-anything `add_decomposed_rel_pos`: table row q - k + side - 1.
struct RelativePosition {
  let side: Int
  let headWidth: Int
  let height: Rows
  let width: Rows

  init(_ arena: Arena, side: Int, headWidth: Int) throws(ComputeError) {
    self.side = side
    self.headWidth = headWidth
    height = try arena.rows(headWidth, 2 * side - 1)
    width = try arena.rows(headWidth, 2 * side - 1)
  }

  func load(_ weights: BlockWeights) {
    guard let storedHeight = weights.relativeHeight, let storedWidth = weights.relativeWidth else {
      preconditionFailure("block without relative positions")
    }
    let last = 2 * side - 2
    for column in 0...last {
      for channel in 0..<headWidth {
        height.row(channel)[column] = storedHeight[(last - column) * headWidth + channel]
        width.row(channel)[column] = storedWidth[(last - column) * headWidth + channel]
      }
    }
  }

  /// Bias of a run of queries inside one grid row.
  ///
  /// - Shapes: `q` [count, at least headWidth], queries (y, x ..< x + count); `room` for as many queries.
  func bias(_ engine: Engine, _ q: Rows, y: Int, x: Int, _ room: BiasRoom) -> RelativeBias {
    let q = q.columns(0..<headWidth)
    engine.productNN(q, keys(height, at: y), into: room.vertical.prefix(q.count))
    for index in 0..<q.count {
      engine.productNN(
        q[index..<index + 1], keys(width, at: x + index), into: room.horizontal[index..<index + 1])
    }
    return room.bias
  }

  /// Bias of the first rows of a whole window.
  ///
  /// - Shapes: `q` [rows * side, at least headWidth]; `room` for as many queries.
  func windowBias(_ engine: Engine, _ q: Rows, _ room: BiasRoom) -> RelativeBias {
    let (q, rows) = (q.columns(0..<headWidth), q.count / side)
    for y in 0..<rows {
      let row = y * side..<(y + 1) * side
      engine.productNN(q[row], keys(height, at: y), into: room.vertical[row])
    }
    for x in 0..<side {
      engine.productNN(
        q.every(side, from: x, count: rows), keys(width, at: x),
        into: room.horizontal.every(side, from: x, count: rows))
    }
    return room.bias
  }

  /// A table's columns for one query coordinate: all keys. Shapes: [headWidth, side].
  private func keys(_ table: Rows, at query: Int) -> Rows {
    table.columns(side - 1 - query..<2 * side - 1 - query)
  }
}

/// One worker's room for the biases of some queries.
///
/// - Shapes: [queries, side] each.
struct BiasRoom {
  let vertical: Rows
  let horizontal: Rows

  init(_ arena: Arena, queries: Int, side: Int) throws(ComputeError) {
    vertical = try arena.rows(queries, side)
    horizontal = try arena.rows(queries, side)
  }

  var bias: RelativeBias {
    RelativeBias(vertical: vertical.base, horizontal: horizontal.base, gridWidth: vertical.width)
  }
}
