// SAM's last block: its attention and value similarities become the affinity that pulls the photo together, a
// few queries at a time; the block's own output goes on to the neck where refinement needs it.
import Compute
import Raster

/// A rectangle of the canvas brought to SAM's valid grid.
struct AffinityTarget {
  /// Of the target's intermediate results.
  let name: String
  let canvas: SpliceCanvas
  /// Canvas columns that this encoding covers (all of them, or a half).
  let columns: Range<Int>
  let validRows: Int
  let validColumns: Int
}

/// Receives aggregated rows: grid row, first grid column, rows [count, width], worker.
typealias AggregatedRows = (_ y: Int, _ x: Int, _ rows: Rows, _ worker: Int) -> Void

/// The last block of the SAM encoder, by strips of queries.
///
/// Per head `A` is the block's attention over all keys, `c` the cosine of the values of valid tokens. One
/// threshold a row, shared by the heads, is `cosFactor` times the mean of `c`: a dot product with the summed
/// unit values. The affinity `a` is the mean of `A` where `c` is above it; `a R` (R: the resampling to the
/// valid grid) mixes the canvas.
///
/// - Shapes: per strip and head: attention [strip, grid^2], similarity [strip, valid]; never [grid^2,
///   grid^2].
/// - Memory: keys, values and unit values of all heads (int8: 3 * grid^2 * inner bytes), and per worker three
///   strips.
/// - Source: Trident section 3.3; thresholds as in the public implementation.
struct AffinityStrips {
  let encoder: SAMEncoder
  let options: SegmentOptions
  let target: AffinityTarget
  /// Whether the block's output is wanted (for the neck), not only the affinity.
  let needsOutput: Bool

  private var run: RunContext { encoder.run }
  private var engine: Engine { encoder.run.engine }
  private var blocks: TransformerConfig { encoder.blocks }
  private var grid: Int { encoder.config.grid }
  private var validCount: Int { target.validRows * target.validColumns }
  private var usesSimilarity: Bool { options.affinity == .trident || options.affinity == .cosine }

  /// Everything the strips share.
  private struct Shared {
    let all: RowScratch
    let heads: [HeadMemory]
    let unit: [KeyMatrix]
    let unitSum: UnsafeMutablePointer<Float>
    let relative: RelativePosition
    let taps: GridTaps
  }

  /// One worker's strip.
  private struct Worker {
    let base: StripRoom
    let q: Rows
    let v: Rows
    /// Shapes of `cosine` and `sum`: [strip, valid].
    let cosine: Rows
    let cosineQuery: RowScratch
    let sum: Rows
    let threshold: UnsafeMutablePointer<Float>
    let factor: UnsafeMutablePointer<Float>
    let mixed: Rows
    let rows: RowScratch
    let halfway: Rows
    /// [strip, canvas rows * canvas columns of this target].
    let collapsed: Rows
    let aggregated: Rows
  }

  /// Runs the block: aggregated rows go to `sink`; with `needsOutput`, x becomes the block's output.
  func aggregate(_ x: Rows, into sink: AggregatedRows) throws {
    note()
    try encoder.withLastBlock { weights in
      try run.scope {
        let shared = try reserveShared()
        let strip = min(run.tiling.strip, grid)
        try run.scope { try project(x, weights, shared) }
        let workers = try engine.perWorker { () throws(ComputeError) in try reserveWorker(strip: strip) }
        if run.isPlanning { return }
        let parts = ceilDivide(grid, by: strip)
        let rows = needsOutput ? grid : target.validRows
        engine.pool.run(count: rows * parts, chunk: 1) { range, index in
          let y = range.lowerBound / parts
          let column = range.lowerBound % parts * strip
          let count = min(strip, grid - column)
          // Only the caller's own thread reports.
          if index == 0 && column == 0 { encoder.stepInLast(0.9 * Double(y) / Double(rows)) }
          let valid = y < target.validRows ? max(0, min(count, target.validColumns - column)) : 0
          if valid == 0 && !needsOutput { return }
          let place = Place(y: y, column: column, count: count, valid: valid)
          attend(place, x, weights, shared, workers[index])
          if valid > 0 {
            mixCanvas(place, shared, workers[index])
            sink(y, column, workers[index].aggregated.prefix(valid), index)
          }
        }
      }
      if needsOutput {
        try encoder.mlp(x, weights)
        run.record("sam.blocks.\(blocks.depth - 1)", x)
      }
    }
  }

  /// The block, and what the affinity adds: queries and values once more, similarities, the canvas.
  private func note() {
    run.note(
      encoder.work(blocks.depth - 1)
        + .linear(rows: validCount, inputs: blocks.width, outputs: 2 * blocks.inner)
        + blocks.attentionWork(queries: validCount, keys: validCount)
        + Work(
          float: Double(validCount)
            * Double(target.canvas.rowCount * target.columns.count * target.canvas.width)))
  }

  /// A run of queries inside one grid row; the first `valid` of them lie on the photo.
  private struct Place {
    let y: Int
    let column: Int
    let count: Int
    let valid: Int
  }

  private func reserveShared() throws -> Shared {
    let (arena, count, head) = (run.arena, encoder.config.tokenCount, blocks.paddedHead)
    var heads: [HeadMemory] = []
    var unit: [KeyMatrix] = []
    let all = try RowScratch(arena, engine: engine, rows: count, depth: blocks.width)
    for _ in 0..<blocks.heads {
      heads.append(
        try HeadMemory(arena, engine: engine, tokens: count, width: head, keepsValues: needsOutput))
      if usesSimilarity { unit.append(try KeyMatrix(arena, engine: engine, count: validCount, width: head)) }
    }
    return Shared(
      all: all, heads: heads, unit: unit, unitSum: try arena.floats(blocks.inner),
      relative: try RelativePosition(arena, side: grid, headWidth: blocks.headWidth),
      taps: GridTaps(
        bilinearFrom: (target.canvas.rowCount, target.columns.count),
        to: (target.validRows, target.validColumns)))
  }

  private func reserveWorker(strip: Int) throws(ComputeError) -> Worker {
    let arena = run.arena
    // Rows of keys begin on whole panels.
    func keys() throws(ComputeError) -> Rows {
      let stride = roundUp(validCount, to: 16)
      return Rows(try arena.floats(strip * stride), count: strip, width: validCount, stride: stride)
    }
    return Worker(
      base: try StripRoom(run, blocks, grid: grid, strip: strip, keepsLogits: true),
      q: try arena.rows(strip, blocks.inner), v: try arena.rows(strip, blocks.inner), cosine: try keys(),
      cosineQuery: try RowScratch(arena, engine: engine, rows: strip, depth: blocks.paddedHead),
      sum: try keys(),
      threshold: try arena.floats(strip), factor: try arena.floats(strip),
      mixed: try arena.rows(strip, blocks.inner),
      rows: try RowScratch(arena, engine: engine, rows: strip, depth: max(blocks.inner, blocks.width)),
      halfway: try arena.rows(target.canvas.rowCount, target.validColumns),
      collapsed: try arena.rows(strip, target.canvas.rowCount * target.columns.count),
      aggregated: try arena.rows(strip, target.canvas.width))
  }

  /// Keys, values and unit values of every head.
  private func project(_ x: Rows, _ weights: BlockWeights, _ shared: Shared) throws {
    let (arena, head) = (run.arena, blocks.paddedHead)
    let k = try arena.rows(x.count, head)
    let v = try arena.rows(x.count, head)
    let temporary = try engine.perWorker { () throws(ComputeError) in
      try arena.floats(roundUp(blocks.width, to: 64))
    }
    if run.isPlanning { return }
    shared.relative.load(weights)
    let sequence = LongSequence(run, blocks)
    sequence.prepareAll(x, weights.norm1, shared.all, temporary)
    for index in 0..<blocks.heads {
      sequence.project(head: index, part: 1, weights, shared.all, into: k)
      if needsOutput || usesSimilarity {
        sequence.project(head: index, part: 2, weights, shared.all, into: v)
      }
      run.record("sam.k.\(index)", k)
      run.record("sam.v.\(index)", v)
      shared.heads[index].load(engine, k: k, v: v, sharing: true)
      if usesSimilarity { packUnitValues(v, head: index, shared) }
    }
  }

  /// Unit values of the valid tokens, as keys, and their mean. Spends `v`.
  private func packUnitValues(_ v: Rows, head index: Int, _ shared: Shared) {
    let columns = target.validColumns
    for row in 0..<target.validRows where columns < grid {
      // Moves only towards the front, so nothing unread is overwritten.
      v[row * columns..<(row + 1) * columns].update(from: v[row * grid..<row * grid + columns])
    }
    let valid = v.prefix(validCount)
    valid.normalize()
    valid.columnMeans(into: shared.unitSum + index * v.width)
    engine.packKeys(valid, into: shared.unit[index])
  }

  /// Attention of one run of queries, head by head: the block's output and the summed affinity.
  private func attend(_ place: Place, _ x: Rows, _ weights: BlockWeights, _ shared: Shared, _ room: Worker) {
    let inner = blocks.inner
    let first = place.y * grid + place.column
    let tokens = first..<first + place.count
    let rows = shared.all.prepared(tokens, width: blocks.width, expanding: room.rows)
    let queries = room.q.prefix(place.count)
    engine.linear(weights.qkv, rows, channels: 0..<inner, into: queries)
    if place.valid > 0 && usesSimilarity {
      engine.linear(weights.qkv, rows, channels: 2 * inner..<3 * inner, into: room.v.prefix(place.count))
      thresholds(place.valid, shared, room)
    }
    room.sum.prefix(place.valid).fill(0)
    let logits = room.base.strip.logits(rows: place.count, keys: grid * grid)
    for head in 0..<blocks.heads {
      let columns = blocks.columns(ofHead: head)
      if needsOutput || options.affinity != .cosine {
        let q = queries.columns(columns)
        let bias = shared.relative.bias(engine, q, y: place.y, x: place.column, room.base.bias)
        engine.similarities(q, keys: shared.heads[head].keys, room.base.strip.query, into: logits)
        engine.expRows(logits, factor: blocks.attentionScale, bias: bias, rowSum: room.base.strip.rowSum)
      }
      if place.valid > 0 { addAffinity(head, logits.prefix(place.valid), shared, room) }
      if needsOutput, let values = shared.heads[head].values {
        engine.weightedValues(values, room.base.strip, into: room.mixed.prefix(place.count).columns(columns))
      }
    }
    guard needsOutput else { return }
    engine.linear(
      weights.out, engine.prepare(room.mixed.prefix(place.count), room.rows), accumulate: true,
      into: x[tokens])
  }

  /// t = factor * mean over heads and valid keys of the similarity, capped; also normalizes the queries' own
  /// values.
  private func thresholds(_ count: Int, _ shared: Shared, _ room: Worker) {
    for row in 0..<count {
      var total: Float = 0
      for head in 0..<blocks.heads {
        let columns = blocks.columns(ofHead: head)
        let value = room.v[row..<row + 1].columns(columns)
        value.normalize()
        let sum = shared.unitSum + columns.lowerBound
        for channel in 0..<value.width { total += value.base[channel] * sum[channel] }
      }
      var threshold = options.cosFactor * total / Float(blocks.heads)
      if !options.keepsNegativeThresholds && threshold < 0 { threshold = 0.6 }
      room.threshold[row] = min(threshold, 0.9)
    }
  }

  /// sum += one head's share of the affinity, over valid keys.
  ///
  /// - Shapes: `logits` [valid queries, grid^2]: numerators of the head's attention.
  private func addAffinity(_ head: Int, _ logits: Rows, _ shared: Shared, _ room: Worker) {
    let cosine = room.cosine.prefix(logits.count)
    let sum = room.sum.prefix(logits.count)
    if usesSimilarity {
      let values = room.v.prefix(logits.count).columns(blocks.columns(ofHead: head))
      engine.similarities(values, keys: shared.unit[head], room.cosineQuery, into: cosine)
    }
    switch options.affinity {
    case .none: return
    case .cosine:
      for row in 0..<cosine.count {
        addCosine(cosine[row..<row + 1], threshold: room.threshold[row], into: sum.row(row))
      }
      return
    case .attention:
      cosine.fill(0)
      for row in 0..<cosine.count { room.threshold[row] = -.infinity }
    case .trident: break
    }
    for row in 0..<cosine.count { room.factor[row] = 1 / room.base.strip.rowSum[row] }
    // Keys of the valid grid lie in runs, a grid row each, unless it is as wide as the whole.
    let length = target.validColumns == grid ? validCount : target.validColumns
    for (run, keys) in strips(of: validCount, length).enumerated() {
      engine.maskedAdd(
        logits.columns(run * grid..<run * grid + length), cosine: cosine.columns(keys), factor: room.factor,
        threshold: room.threshold, into: sum.columns(keys))
    }
  }

  /// Normalizes the strip's affinity and applies it to the canvas: (a R) canvas, R being the resampling to
  /// the valid grid.
  private func mixCanvas(_ place: Place, _ shared: Shared, _ room: Worker) {
    let collapsed = room.collapsed.prefix(place.valid)
    collapsed.fill(0)
    for row in 0..<place.valid {
      let own = place.y * target.validColumns + place.column + row
      let out = collapsed.row(row)
      if options.affinity != .none {
        record(room.sum[row..<row + 1], own)
        if collapse(room.sum.row(row), shared.taps, room.halfway, out: out) { continue }
      }
      // Nothing else is related: the token keeps itself.
      shared.taps.forEachTap(row: place.y, column: place.column + row) { out[$0] += $1 }
    }
    let aggregated = room.aggregated.prefix(place.valid)
    for (canvasRow, columns) in strips(of: collapsed.width, target.columns.count).enumerated() {
      let cell = canvasRow * target.canvas.columns + target.columns.lowerBound
      engine.productNN(
        collapsed.columns(columns), target.canvas.rows[cell..<cell + columns.count],
        accumulate: canvasRow > 0,
        into: aggregated)
    }
  }

  /// Keeps a normalized row of the affinity where somebody wants to see it.
  private func record(_ affinity: Rows, _ own: Int) {
    guard run.taps != nil else { return }
    var row = Array(UnsafeBufferPointer(start: affinity.base, count: affinity.width))
    let total = row.reduce(0, +)
    for key in row.indices { row[key] /= total }
    row.withUnsafeMutableBufferPointer {
      run.record("\(target.name).strip", Rows($0.baseAddress!, count: 1, width: affinity.width), at: own)
    }
  }

  /// sum += softmax of one head's similarities where they reach the threshold; nothing where none does.
  private func addCosine(_ cosine: Rows, threshold: Float, into sum: UnsafeMutablePointer<Float>) {
    let row = cosine.base
    var any = false
    for key in 0..<validCount {
      let isNear = row[key] >= threshold
      any = any || isNear
      if !isNear { row[key] = -.infinity }
    }
    guard any else { return }
    var total: Float = 0
    engine.expRows(cosine, factor: 1, rowSum: &total)
    let factor = 1 / total
    for key in 0..<validCount { sum[key] += row[key] * factor }
  }

  /// out [canvas cells] += affinity R / sum(affinity), columns of the grid first; whether there is anything
  /// to divide by (out is untouched otherwise).
  private func collapse(
    _ affinity: UnsafePointer<Float>, _ taps: GridTaps, _ halfway: Rows, out: UnsafeMutablePointer<Float>
  ) -> Bool {
    let (width, columns, canvasRows) = (target.validColumns, target.columns.count, target.canvas.rowCount)
    halfway.fill(0)
    for y in 0..<target.validRows {
      let row = affinity + y * width
      for tap in 2 * y..<2 * y + 2 {
        let share = taps.rows.weights[tap]
        if share == 0 { continue }
        let line = halfway.row(Int(taps.rows.indices[tap]))
        for x in 0..<width { line[x] += share * row[x] }
      }
    }
    // Every key's shares add up to 1, so the sum is the same here.
    var total: Float = 0
    for index in 0..<canvasRows * width { total += halfway.base[index] }
    guard total > 0 else { return false }
    let factor = 1 / total
    taps.columns.indices.withUnsafeBufferPointer { index in
      taps.columns.weights.withUnsafeBufferPointer { weight in
        for canvasRow in 0..<canvasRows {
          let (line, target) = (halfway.row(canvasRow), out + canvasRow * columns)
          for x in 0..<width {
            let value = line[x] * factor
            target[Int(index[2 * x])] += value * weight[2 * x]
            target[Int(index[2 * x + 1])] += value * weight[2 * x + 1]
          }
        }
      }
    }
    return true
  }
}
