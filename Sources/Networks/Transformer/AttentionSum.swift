// Who looks at whom in a network's ordinary attention, over all heads and blocks: added up while the blocks
// run.
import Compute

/// Attention of a group of windows, summed over heads and some blocks; prefix tokens are left out as queries.
///
/// - Shapes: rows [windows * cells, keys]: from a patch to all patches of its window, or to all its tokens.
/// - Memory: windows * cells * keys * 4 bytes. No less holds it: the sum is asked for only behind the last of
///   its blocks, and queries and keys of all of them would be more (11 blocks of B/16 over 14 x 14 patches:
///   0.15 MB, not 13).
package struct AttentionSum {
  /// Whose attention is added, counted from zero.
  let blocks: Range<Int>
  private let rows: Rows
  private let cells: Int
  private let prefix: Int
  private let firstKey: Int

  /// - Parameter keepsPrefix: prefix tokens are among the keys, in front.
  package init(
    _ run: RunContext, _ tower: WindowTransformer, blocks: Range<Int>, keepsPrefix: Bool = false
  ) throws(ComputeError) {
    self.blocks = blocks
    (cells, prefix) = (tower.cells, tower.tokens - tower.cells)
    firstKey = keepsPrefix ? 0 : prefix
    rows = try run.arena.rows(tower.group * cells, tower.tokens - firstKey)
  }

  /// The sum of one window of the group. Shapes: [cells, keys].
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
      strip, from: first - queries.lowerBound, firstKey: firstKey,
      into: window(index)[first - prefix..<queries.upperBound - prefix])
  }

  /// Of one window.
  func work(heads: Int) -> Work {
    Work(float: Double(cells) * Double(rows.width) * Double(heads * blocks.count))
  }
}

extension TransformerBlocks {
  /// As `attend`, and with the same result; the attention is added to what its window's was before. Heads
  /// come one after another and share their queries out, so that the order in which heads are added never
  /// depends on threads.
  func attend(_ room: SequenceRoom, addingTo sums: [AttentionSum], window index: Int) {
    let engine = run.engine
    let memory = room.heads[0].memory
    for head in 0..<config.heads {
      let (q, k, v) = config.split(room.qkv, head: head)
      memory.load(engine, k: k, v: v, sharing: true)
      let out = room.mixed.columns(config.columns(ofHead: head))
      engine.share(room.tokens, limit: room.heads[0].strip.rowCapacity, multiple: 1) { range, worker in
        let own = room.heads[worker].strip
        engine.attend(q[range], memory, factor: config.attentionScale, own, into: out[range])
        for sum in sums { sum.add(engine, own, queries: range, window: index) }
      }
    }
  }
}
