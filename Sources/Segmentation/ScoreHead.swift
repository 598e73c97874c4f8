// CLIP's head: rows of the last attention to unit embeddings. Rows are fine: bytes alone would put nearly all
// of what INT8 changes in scores here, and the head is a five-hundredth of the work.
import Compute

/// normalise(ln_post(rows) proj).
///
/// - Shapes: rows [count, width] (overwritten by their norm) to [count, embedWidth].
struct ScoreHead {
  private let engine: Engine
  private let norm: NormWeights
  private let layer: PackedLinear

  init(_ run: RunContext, _ schema: CLIPSchema) {
    guard let post = schema.vision.normPost else {
      preconditionFailure("CLIP has a norm in front of its projection")
    }
    (engine, norm, layer) = (run.engine, run.model[post], run.model[schema.projection])
  }

  /// One worker's room.
  struct Room {
    let scratch: RowScratch
    let out: Rows

    init(_ run: RunContext, _ clip: CLIPConfig, rows: Int) throws(ComputeError) {
      scratch = try RowScratch(run.arena, engine: run.engine, rows: rows, depth: clip.width, isFine: true)
      out = try run.arena.rows(rows, clip.embedWidth)
    }
  }

  func project(_ rows: Rows, _ room: Room) -> Rows {
    let out = room.out.prefix(rows.count)
    engine.normalize(rows, norm)
    engine.linear(layer, engine.prepare(rows, room.scratch), into: out)
    out.normalize()
    return out
  }
}
