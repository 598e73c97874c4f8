// Who looks at whom in a network's ordinary attention, over all heads and blocks: added up while the blocks
// run.
import Compute

/// Attention of a group of windows, summed over heads and blocks; prefix tokens are left out as queries and
/// as keys.
///
/// - Shapes: rows [windows * cells, cells]: from a patch to all patches of its window.
/// - Memory: windows * cells^2 * 4 bytes. No less holds it: the sum is asked for only behind the last of its
///   blocks, and queries and keys of all of them would be more (11 blocks of B/16 over 14 x 14 patches:
///   0.15 MB, not 13).
package struct AttentionSum {
  private let rows: Rows
  private let cells: Int
  private let prefix: Int

  package init(_ run: RunContext, _ tower: WindowTransformer) throws(ComputeError) {
    (cells, prefix) = (tower.cells, tower.tokens - tower.cells)
    rows = try run.arena.rows(tower.group * cells, cells)
  }

  /// The sum of one window of the group. Shapes: [cells, cells].
  package func window(_ index: Int) -> Rows { rows[index * cells..<(index + 1) * cells] }

  /// Begins a window.
  func clear(_ index: Int) { window(index).fill(0) }

  /// Adds what a strip of one head's queries looked at.
  ///
  /// - Parameters:
  ///   - queries: tokens of the window, prefix tokens among them.
  ///   - strip: behind its `attend`.
  func add(_ engine: Engine, _ strip: AttentionScratch, queries: Range<Int>, window index: Int) {
    let first = max(queries.lowerBound, prefix)
    if first >= queries.upperBound { return }
    engine.addWeights(
      strip, from: first - queries.lowerBound, firstKey: prefix,
      into: window(index)[first - prefix..<queries.upperBound - prefix])
  }

  /// Of one window through `blocks` blocks.
  package static func work(cells: Int, heads: Int, blocks: Int) -> Work {
    Work(float: Double(cells) * Double(cells) * Double(heads * blocks))
  }
}

extension TransformerBlocks {
  /// The same block, its attention added to what its window's was before.
  func block(
    _ x: Rows, _ weights: BlockWeights, _ room: SequenceRoom, addingTo sum: AttentionSum, window index: Int
  ) {
    project(x, weights, room)
    attend(room, addingTo: sum, window: index)
    finish(x, weights, room)
  }

  /// As `attend`, and with the same result. Heads come one after another and share their queries out, so that
  /// the order in which heads are added never depends on threads.
  private func attend(_ room: SequenceRoom, addingTo sum: AttentionSum, window index: Int) {
    let engine = run.engine
    let memory = room.heads[0].memory
    for head in 0..<config.heads {
      let (q, k, v) = config.split(room.qkv, head: head)
      memory.load(engine, k: k, v: v, sharing: true)
      let out = room.mixed.columns(config.columns(ofHead: head))
      engine.share(room.tokens, limit: room.heads[0].strip.rowCapacity, multiple: 1) { range, worker in
        let own = room.heads[worker].strip
        memory.attend(engine, q: q[range], scale: config.attentionScale, own, into: out[range])
        sum.add(engine, own, queries: range, window: index)
      }
    }
  }
}
