// A head of C-RADIO, applied to every cell: the text teacher's summary head (section 7), SAM's feature
// projection (section 9).
import Compute

/// One worker's head with its room.
///
/// - Memory: rows * hidden floats twice, rows * outputs floats, and fine prepared rows.
struct AdaptorHead {
  private let engine: Engine
  private let version: AdaptorConfig.Version
  private let first: PackedLinear
  private let blocks: [(norm: NormWeights, out: PackedLinear)]
  private let norm: NormWeights
  private let last: PackedLinear
  private let scratch: RowScratch
  private let hidden: Rows
  private let normed: Rows
  private let out: Rows

  init(
    _ run: RunContext, _ config: AdaptorConfig, _ schema: AdaptorSchema, inputs: Int, rows: Int
  ) throws(ComputeError) {
    engine = run.engine
    version = config.version
    first = run.model[schema.first]
    blocks = schema.blocks.map { (run.model[$0.norm], run.model[$0.out]) }
    norm = run.model[schema.norm]
    last = run.model[schema.last]
    scratch = try RowScratch(
      run.arena, engine: engine, rows: rows, depth: max(inputs, config.hidden), isFine: true)
    hidden = try run.arena.rows(rows, config.hidden)
    normed = try run.arena.rows(rows, config.hidden)
    out = try run.arena.rows(rows, config.outputs)
  }

  /// - Shapes: `rows` [count, inputs] -> [count, outputs], in the head's room.
  func embed(_ rows: Rows) -> Rows {
    let (t, z) = (hidden.prefix(rows.count), out.prefix(rows.count))
    engine.linear(first, engine.prepare(rows, scratch), into: t)
    for block in blocks { engine.linear(block.out, activated(t, block.norm), accumulate: true, into: t) }
    engine.linear(last, activated(t, norm), into: z)
    return z
  }

  /// activation(norm(t)), ready for a product.
  private func activated(_ t: Rows, _ norm: NormWeights) -> PreparedRows {
    let rows = normed.prefix(t.count)
    engine.normalize(t, norm, into: rows)
    engine.activate(rows.base, rows.count * rows.width, version == .v1 ? .relu : .gelu)
    return engine.prepare(rows, scratch)
  }
}
