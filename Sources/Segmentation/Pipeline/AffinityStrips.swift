// SAM's last block: its attention and value similarities become the affinity that pulls the photo together, a few
// queries at a time; the block's own output goes on to the neck where refinement needs it.
import Compute
import Raster

/// What relates tokens of the whole photo to each other.
package enum AffinityMode: String, Sendable, CaseIterable {
  /// SAM's attention where its values are similar (the method).
  case trident
  /// SAM's attention, averaged over heads.
  case attention
  /// Similarity of SAM's values only.
  case cosine
  /// The spliced map as it is.
  case none
}

/// Thresholds of the affinity.
struct AffinityOptions: Equatable, Sendable {
  var mode: AffinityMode
  var cosFactor: Float
  /// Negative thresholds stay as they are; otherwise they become 0.6.
  var keepsNegativeThresholds: Bool
}

/// A rectangle of the canvas brought to SAM's valid grid.
struct AffinityTarget {
  let canvas: SpliceCanvas
  /// Canvas columns that this encoding covers (all of them, or a half).
  let columns: Range<Int>
  let validRows: Int
  let validColumns: Int
}

/// Receives aggregated rows: grid row, first grid column, row count, rows [count, width], worker.
typealias AggregatedRows = (_ y: Int, _ x: Int, _ count: Int, _ rows: UnsafeMutablePointer<Float>, _ worker: Int) -> Void

/// The last block of the SAM encoder, by strips of queries.
///
/// - Shapes: per strip and head: attention [strip, grid^2], similarity [strip, valid]; never [grid^2, grid^2].
/// - Memory: keys, values and unit values of all heads (int8: 3 * grid^2 * inner bytes), and per worker three strips.
/// - Source: Trident section 3.3; thresholds as in the public implementation: factor times the mean over heads and valid keys of the
///   similarity, which is the unit value dotted with the summed unit values.
struct AffinityStrips {
  let encoder: SAMEncoder
  let options: AffinityOptions
  let target: AffinityTarget
  /// Whether the block's output is wanted (for the neck), not only the affinity.
  let needsOutput: Bool

  private var engine: Engine { encoder.engine }
  private var config: EncoderConfig { encoder.config }
  private var grid: Int { encoder.sam.grid }
  private var validCount: Int { target.validRows * target.validColumns }
  private var usesSimilarity: Bool { options.mode == .trident || options.mode == .cosine }

  /// Everything the strips share.
  private struct Shared {
    let all: RowScratch
    let keys: [KeyMatrix]
    let values: [ValueMatrix]
    let unit: [KeyMatrix]
    let unitSum: UnsafeMutablePointer<Float>
    let relative: RelativePosition
    let taps: GridTaps
  }

  /// One worker's strip.
  private struct Worker {
    let base: StripWorker
    let q: UnsafeMutablePointer<Float>
    let v: UnsafeMutablePointer<Float>
    let cosine: UnsafeMutablePointer<Float>
    let cosineQuery: RowScratch
    let sum: UnsafeMutablePointer<Float>
    let threshold: UnsafeMutablePointer<Float>
    let factor: UnsafeMutablePointer<Float>
    let mixed: UnsafeMutablePointer<Float>
    let rows: RowScratch
    let halfway: UnsafeMutablePointer<Float>
    let collapsed: UnsafeMutablePointer<Float>
    let aggregated: UnsafeMutablePointer<Float>
  }

  /// Runs the block: aggregated rows go to `sink`; with `needsOutput`, x becomes the block's output.
  func run(_ x: UnsafeMutablePointer<Float>, sink: AggregatedRows) throws {
    let arena = encoder.arena
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let block = config.depth - 1
    let weights = try BlockWeights(encoder.reader, config, block: block, relativeSide: grid)
    let inside = arena.mark()
    let shared = try reserveShared()
    let strip = min(encoder.tiling.strip, grid)
    let temporaries = arena.mark()
    try project(x, weights, shared)
    arena.release(to: temporaries)
    var workers: [Worker] = []
    for _ in 0..<engine.pool.threadCount { workers.append(try reserveWorker(strip: strip)) }
    if !arena.isCounting {
      let parts = ceilDivide(grid, by: strip)
      let rows = needsOutput ? grid : target.validRows
      engine.pool.run(count: rows * parts, chunk: 1) { range, index in
        let y = range.lowerBound / parts
        let column = range.lowerBound % parts * strip
        let count = min(strip, grid - column)
        // Only the caller's own thread reports.
        if index == 0 && column == 0 { encoder.progressInLast(0.9 * Double(y) / Double(rows)) }
        let valid = y < target.validRows ? max(0, min(count, target.validColumns - column)) : 0
        if valid == 0 && !needsOutput { return }
        queries(y: y, column: column, count: count, valid: valid, x, weights, shared, workers[index])
        if valid > 0 {
          aggregate(y: y, column: column, count: valid, shared, workers[index])
          sink(y, column, valid, workers[index].aggregated, index)
        }
      }
    }
    arena.release(to: inside)
    if needsOutput { try encoder.mlp(x, weights) }
  }

  private func reserveShared() throws -> Shared {
    let arena = encoder.arena
    let count = encoder.sam.tokenCount
    let head = config.paddedHead
    var keys: [KeyMatrix] = []
    var values: [ValueMatrix] = []
    var unit: [KeyMatrix] = []
    let all = try RowScratch(arena, engine: engine, rows: count, depth: config.width)
    for _ in 0..<config.heads {
      keys.append(try KeyMatrix(arena, engine: engine, count: count, width: head))
      if needsOutput { values.append(try ValueMatrix(arena, engine: engine, count: count, width: head)) }
      if usesSimilarity { unit.append(try KeyMatrix(arena, engine: engine, count: validCount, width: head)) }
    }
    return Shared(
      all: all, keys: keys, values: values, unit: unit, unitSum: try arena.floats(config.inner),
      relative: try RelativePosition(arena, side: grid, headWidth: config.headWidth),
      taps: GridTaps(
        bilinearFrom: (target.canvas.rows, target.columns.count), to: (target.validRows, target.validColumns)))
  }

  private func reserveWorker(strip: Int) throws -> Worker {
    let arena = encoder.arena
    let validStride = roundUp(validCount, to: 16)
    return Worker(
      base: try StripWorker(arena, engine, config, grid: grid, strip: strip, keepsLogits: true),
      q: try arena.floats(strip * config.inner), v: try arena.floats(strip * config.inner),
      cosine: try arena.floats(strip * validStride),
      cosineQuery: try RowScratch(arena, engine: engine, rows: strip, depth: config.paddedHead),
      sum: try arena.floats(strip * validStride), threshold: try arena.floats(strip),
      factor: try arena.floats(strip), mixed: try arena.floats(strip * config.inner),
      rows: try RowScratch(arena, engine: engine, rows: strip, depth: max(config.inner, config.width)),
      halfway: try arena.floats(target.canvas.rows * target.validColumns),
      collapsed: try arena.floats(strip * target.canvas.rows * target.columns.count),
      aggregated: try arena.floats(strip * target.canvas.width))
  }

  /// Keys, values and unit values of every head.
  private func project(_ x: UnsafeMutablePointer<Float>, _ weights: BlockWeights, _ shared: Shared) throws {
    let arena = encoder.arena
    let count = encoder.sam.tokenCount
    let head = config.paddedHead
    let k = try arena.floats(count * head)
    let v = try arena.floats(count * head)
    let center = try arena.floats(head)
    var temporary: [UnsafeMutablePointer<Float>] = []
    for _ in 0..<engine.pool.threadCount { temporary.append(try arena.floats(roundUp(config.width, to: 64))) }
    if arena.isCounting { return }
    shared.relative.load(weights)
    encoder.prepareAll(x, weights.norm1, shared.all, temporary)
    for index in 0..<config.heads {
      encoder.project(head: index, part: 1, weights, shared.all, out: k)
      if needsOutput || usesSimilarity { encoder.project(head: index, part: 2, weights, shared.all, out: v) }
      encoder.taps?.record("sam.last.k.\(index)", k, [count, head])
      encoder.taps?.record("sam.last.v.\(index)", v, [count, head])
      columnMeans(k, head, rows: count, columns: head, out: center)
      engine.pool.run(count: 2, chunk: 1) { range, _ in
        if range.lowerBound == 0 {
          engine.packKeys(k, head, range: 0..<count, center: center, into: shared.keys[index])
        } else if needsOutput {
          engine.packValues(v, head, into: shared.values[index])
        }
      }
      guard usesSimilarity else { continue }
      for row in 0..<target.validRows where target.validColumns < grid {
        // Moves only towards the front, so nothing unread is overwritten.
        (v + row * target.validColumns * head).update(
          from: v + row * grid * head, count: target.validColumns * head)
      }
      normalizeRows(v, rows: validCount, width: head)
      let sum = shared.unitSum + index * head
      columnMeans(v, head, rows: validCount, columns: head, out: sum)
      engine.packKeys(v, head, range: 0..<validCount, into: shared.unit[index])
    }
  }

  /// Attention of one run of queries, head by head: the block's output and the summed affinity.
  private func queries(
    y: Int, column: Int, count: Int, valid: Int, _ x: UnsafeMutablePointer<Float>, _ weights: BlockWeights,
    _ shared: Shared, _ room: Worker
  ) {
    let inner = config.inner
    let head = config.paddedHead
    let first = y * grid + column
    let rows = engine.prepared(
      rows: count, columns: config.width, from: first, shared.all, expanding: room.rows)
    engine.linear(weights.qkv, rows, channels: 0..<inner, out: room.q, inner)
    if valid > 0 && usesSimilarity {
      engine.linear(weights.qkv, rows, channels: 2 * inner..<3 * inner, out: room.v, inner)
      thresholds(valid, shared, room)
    }
    let stride = roundUp(validCount, to: 16)
    room.sum.update(repeating: 0, count: valid * stride)
    let factor = 1 / Float(config.headWidth).squareRoot()
    let strip = room.base.strip
    for index in 0..<config.heads {
      let q = room.q + index * head
      if needsOutput || options.mode != .cosine {
        shared.relative.bias(
          engine, q, inner, count: count, y: y, x: column, vertical: room.base.vertical,
          horizontal: room.base.horizontal)
        engine.similarities(
          q, inner, rows: count, keys: shared.keys[index], strip.query, out: strip.logits, strip.keyStride)
        engine.expRows(
          strip.logits, strip.keyStride, rows: count, keys: grid * grid, factor: factor,
          bias: RelativeBias(
            vertical: room.base.vertical, horizontal: room.base.horizontal, gridWidth: grid),
          rowSum: strip.rowSum)
      }
      if valid > 0 { addAffinity(index, valid, shared, room) }
      if needsOutput {
        engine.weightedValues(
          rows: count, values: shared.values[index], strip, out: room.mixed + index * head, inner)
      }
    }
    guard needsOutput else { return }
    let mixed = engine.prepare(room.mixed, inner, rows: count, columns: inner, room.rows)
    engine.linear(weights.out, mixed, accumulate: true, out: x + first * config.width, config.width)
  }

  /// t = factor * mean over heads and valid keys of the similarity, capped; also normalizes the queries' own values.
  private func thresholds(_ count: Int, _ shared: Shared, _ room: Worker) {
    let head = config.paddedHead
    for row in 0..<count {
      var total: Float = 0
      for index in 0..<config.heads {
        let value = room.v + row * config.inner + index * head
        normalizeRows(value, rows: 1, width: head)
        for channel in 0..<head { total += value[channel] * shared.unitSum[index * head + channel] }
      }
      var threshold = options.cosFactor * total / Float(config.heads)
      if !options.keepsNegativeThresholds && threshold < 0 { threshold = 0.6 }
      room.threshold[row] = min(threshold, 0.9)
    }
  }

  /// sum += one head's share of the affinity, over valid keys.
  private func addAffinity(_ index: Int, _ count: Int, _ shared: Shared, _ room: Worker) {
    let head = config.paddedHead
    let stride = roundUp(validCount, to: 16)
    let strip = room.base.strip
    if usesSimilarity {
      engine.similarities(
        room.v + index * head, config.inner, rows: count, keys: shared.unit[index], room.cosineQuery,
        out: room.cosine, stride)
    }
    switch options.mode {
    case .none: break
    case .cosine:
      for row in 0..<count {
        addCosine(room.cosine + row * stride, threshold: room.threshold[row], into: room.sum + row * stride)
      }
    case .trident, .attention:
      for row in 0..<count {
        room.factor[row] = 1 / strip.rowSum[row]
        if options.mode == .attention { room.threshold[row] = -.infinity }
      }
      if options.mode == .attention { room.cosine.update(repeating: 0, count: count * stride) }
      let whole = target.validColumns == grid
      let runs = whole ? 1 : target.validRows
      let length = whole ? validCount : target.validColumns
      for run in 0..<runs {
        engine.maskedAdd(
          strip.logits + run * grid, strip.keyStride, cosine: room.cosine + run * length, stride, rows: count,
          keys: length, factor: room.factor, threshold: room.threshold, sum: room.sum + run * length, stride)
      }
    }
  }

  /// Normalizes the strip's affinity and applies it to the canvas: (a R) canvas, R being the resampling to the valid grid.
  private func aggregate(y: Int, column: Int, count: Int, _ shared: Shared, _ room: Worker) {
    let stride = roundUp(validCount, to: 16)
    let cells = target.canvas.rows * target.columns.count
    let width = target.canvas.width
    room.collapsed.update(repeating: 0, count: count * cells)
    for row in 0..<count {
      let affinity = room.sum + row * stride
      let own = y * target.validColumns + column + row
      let out = room.collapsed + row * cells
      if options.mode != .none {
        encoder.taps?.record("affinity.\(own)", affinity, [validCount])
        if collapse(affinity, shared.taps, room.halfway, out: out) { continue }
      }
      // Nothing else is related: the token keeps itself.
      shared.taps.forEachTap(row: y, column: column + row) { out[$0] += $1 }
    }
    for canvasRow in 0..<target.canvas.rows {
      let cell = canvasRow * target.canvas.columns + target.columns.lowerBound
      engine.productNN(
        room.collapsed + canvasRow * target.columns.count, cells, rows: count, target.canvas.sum + cell * width, width,
        columns: width, depth: target.columns.count, accumulate: canvasRow > 0, out: room.aggregated, width)
    }
  }

  /// sum += softmax of one head's similarities where they reach the threshold; nothing where none does.
  private func addCosine(
    _ row: UnsafeMutablePointer<Float>, threshold: Float, into sum: UnsafeMutablePointer<Float>
  ) {
    var any = false
    for key in 0..<validCount {
      let isNear = row[key] >= threshold
      any = any || isNear
      if !isNear { row[key] = -.infinity }
    }
    guard any else { return }
    var total: Float = 0
    engine.expRows(row, validCount, rows: 1, keys: validCount, factor: 1, rowSum: &total)
    let factor = 1 / total
    for key in 0..<validCount { sum[key] += row[key] * factor }
  }

  /// out [canvas cells] += affinity R / sum(affinity), columns of the grid first; whether there is anything to divide by (out is
  /// untouched otherwise).
  private func collapse(
    _ affinity: UnsafePointer<Float>, _ taps: GridTaps, _ halfway: UnsafeMutablePointer<Float>,
    out: UnsafeMutablePointer<Float>
  ) -> Bool {
    let (width, columns, canvasRows) = (target.validColumns, target.columns.count, target.canvas.rows)
    halfway.update(repeating: 0, count: canvasRows * width)
    for y in 0..<target.validRows {
      let row = affinity + y * width
      for tap in 2 * y..<2 * y + 2 {
        let share = taps.rows.weights[tap]
        if share == 0 { continue }
        let line = halfway + Int(taps.rows.indices[tap]) * width
        for x in 0..<width { line[x] += share * row[x] }
      }
    }
    // Every key's shares add up to 1, so the sum is the same here.
    var total: Float = 0
    for index in 0..<canvasRows * width { total += halfway[index] }
    guard total > 0 else { return false }
    let factor = 1 / total
    taps.columns.indices.withUnsafeBufferPointer { index in
      taps.columns.weights.withUnsafeBufferPointer { weight in
        for canvasRow in 0..<canvasRows {
          let (line, target) = (halfway + canvasRow * width, out + canvasRow * columns)
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
