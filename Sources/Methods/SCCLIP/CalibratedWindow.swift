// CLIP's last block over one window, twice: once over repaired tokens, once over summed levels; similarities
// of earlier blocks say who looks at whom, and smooth the result. Always a strip of similarities, never all
// of them.
import Compute

/// Room for one window, and for every worker's strip.
///
/// - Memory: cells * (2 width + 4 inner) floats, the packed values, and per worker a strip and a head.
struct CalibrationRoom {
  /// Unit rows that similarities are products of. Shapes: [cells, width].
  let unit: Rows
  /// Tokens mixed by similarity; later the block's output. Shapes: [cells, width].
  let mixed: Rows
  /// Keys and values of all heads. Shapes: [cells, 2 * inner].
  let keysAndValues: Rows
  /// Values of both passes together, and what their heads give. Shapes: [cells, inner].
  let values: Rows
  let heads: Rows
  let packed: ValueMatrix
  /// [width].
  let classPart: UnsafeMutablePointer<Float>
  let workers: [Worker]

  struct Worker {
    /// Similarities of a strip: logits [strip, cells].
    let strip: AttentionScratch
    /// [strip, max(inner, width)], dense, as rows of either width.
    let wide: UnsafeMutablePointer<Float>
    let rows: RowScratch
    let head: ScoreHead.Room
    let attention: HeadRoom
    /// [strip, head].
    let part: Rows
  }

  init(_ run: RunContext, _ clip: CLIPConfig, cells: Int) throws(ComputeError) {
    let (arena, engine, config) = (run.arena, run.engine, clip.vision.blocks)
    unit = try arena.rows(cells, config.width)
    mixed = try arena.rows(cells, config.width)
    keysAndValues = try arena.rows(cells, 2 * config.inner)
    values = try arena.rows(cells, config.inner)
    heads = try arena.rows(cells, config.inner)
    packed = try ValueMatrix(arena, engine: engine, count: cells, width: config.inner)
    classPart = try arena.floats(config.width)
    let strip = min(cells, 2 * run.tiling.strip)
    let widest = max(config.inner, config.width)
    workers = try engine.perWorker { () throws(ComputeError) in
      Worker(
        strip: try AttentionScratch(
          arena, engine: engine, rows: strip, keys: cells, width: 64, keepsLogits: true),
        wide: try arena.floats(strip * widest),
        rows: try RowScratch(arena, engine: engine, rows: strip, depth: widest),
        head: try ScoreHead.Room(run, clip, rows: strip),
        attention: try HeadRoom(run, width: config.paddedHead, tokens: cells, strip: strip),
        part: try arena.rows(strip, config.paddedHead))
    }
  }
}

/// One window on its way through sections 4 and 5.
///
/// - Shapes: n patches; tokens [n, width].
/// - Source: the shorter exact form: `mix` keeps sums and the projection is linear, so both passes share one
///   of each.
struct CalibratedWindow {
  /// Cosines below count nothing when rows are averaged.
  static let cut: Float = 0.4
  /// Sharpness of similarities as attention.
  static let gamma: Float = 3

  let run: RunContext
  let config: TransformerConfig
  let weights: BlockWeights
  let room: CalibrationRoom
  let number: Int

  private var engine: Engine { run.engine }
  private var cells: Int { room.unit.count }

  /// room.mixed = mix(S, tokens), S being the cosines of room.unit, which become unit rows.
  func mixTokens(_ tokens: Rows) {
    run.record("scclip.repaired.\(number)", tokens)
    run.record("scclip.repaired_mid.\(number)", room.unit)
    room.unit.normalize()
    shareStrips { range, own in
      let similarity = cosines(range, own)
      run.record("scclip.similarity.\(number)", similarity, at: range.lowerBound)
      mix(similarity, tokens, factor: 1, into: room.mixed[range])
    }
    run.record("scclip.mixed.\(number)", room.mixed)
  }

  /// room.mixed = half of the block's output over room.mixed and over `sum` together: out((W1 v1 + W2 v2) /
  /// 2).
  ///
  /// W = (softmax(E) + softmax(k k^T / sqrt(head))) / 2: the first is the same for all heads and both passes,
  /// so it meets the sum of all values once.
  func attend(_ sum: Rows) {
    // The mean of all products of unit rows is the squared length of their sum.
    let mean = Float(room.unit.squaredSum() / (Double(cells) * Double(cells)))
    room.heads.fill(0)
    room.values.fill(0)
    for tokens in [room.mixed, sum] { addHeads(tokens) }
    engine.packValues(room.values, into: room.packed)
    shareStrips { range, own in
      let logits = cosines(range, own)
      for row in range { sharpen(logits.row(row - range.lowerBound), mean: mean, own: row) }
      engine.expRows(logits, factor: 1, rowSum: own.strip.rowSum)
      let rows = Rows(own.wide, count: range.count, width: config.inner)
      engine.weightedValues(room.packed, own.strip, into: rows)
      rows.add(room.heads[range])
      rows.scale(by: 0.25)
      engine.linear(weights.out, engine.prepare(rows, own.rows), into: room.mixed[range])
    }
  }

  /// Rows of 2 mix(g, room.mixed) + weight (class token + sum of class tokens), g being the cosines of
  /// room.unit, which become unit rows, handed to `consume` by strips.
  func combine(
    classToken: Rows, _ sum: Rows, weight: Float,
    _ consume: (_ cells: Range<Int>, _ rows: Rows, _ worker: Int) -> Void
  ) {
    for channel in 0..<config.width {
      room.classPart[channel] = weight * (classToken.base[channel] + sum.base[channel])
    }
    let constant = Rows(room.classPart, count: 1, width: config.width)
    room.unit.normalize()
    engine.share(cells, limit: room.workers[0].strip.rowCapacity, multiple: 1) { range, worker in
      let own = room.workers[worker]
      let rows = Rows(own.wide, count: range.count, width: config.width)
      mix(cosines(range, own), room.mixed, factor: 2, into: rows)
      for row in 0..<rows.count { rows[row..<row + 1].add(constant) }
      run.record("scclip.combined.\(number)", rows, at: range.lowerBound)
      consume(range, rows, worker)
    }
  }

  // MARK: Similarities

  private func shareStrips(_ body: (_ range: Range<Int>, _ own: CalibrationRoom.Worker) -> Void) {
    engine.share(cells, limit: room.workers[0].strip.rowCapacity, multiple: 1) { body($0, room.workers[$1]) }
  }

  /// Shapes: [range.count, n].
  private func cosines(_ range: Range<Int>, _ own: CalibrationRoom.Worker) -> Rows {
    let out = own.strip.logits(rows: range.count, keys: cells)
    engine.productNT(room.unit[range], room.unit, into: out)
    return out
  }

  /// out_i = factor * sum_j b_ij y_j / (1e-6 + sum_j b_ij), b being the cosines that reach the cut. Spends
  /// `cosines`.
  private func mix(_ cosines: Rows, _ y: Rows, factor: Float, into out: Rows) {
    for row in 0..<cosines.count {
      let line = cosines.row(row)
      for key in 0..<cells where line[key] < Self.cut { line[key] = 0 }
    }
    engine.productNN(cosines, y, into: out)
    for row in 0..<cosines.count {
      let line = cosines.row(row)
      var sum: Float = 0
      for key in 0..<cells { sum += line[key] }
      out[row..<row + 1].scale(by: factor / (1e-6 + sum))
    }
  }

  /// E = gamma (S - mean) of one row, entries below zero left out; where nothing is left the token keeps
  /// itself.
  private func sharpen(_ row: UnsafeMutablePointer<Float>, mean: Float, own: Int) {
    var any = false
    for key in 0..<cells {
      let value = (row[key] - mean) * Self.gamma
      any = any || value >= 0
      row[key] = value < 0 ? -.infinity : value
    }
    if !any { row[own] = 0 }
  }

  // MARK: Heads

  /// room.heads += softmax(k k^T / sqrt(head)) v, room.values += v, for keys and values of `tokens`.
  private func addHeads(_ tokens: Rows) {
    let inner = config.inner
    shareStrips { range, own in
      let rows = engine.prepare(tokens[range], normalizedBy: weights.norm1, own.rows)
      engine.linear(weights.qkv, rows, channels: inner..<3 * inner, into: room.keysAndValues[range])
      room.values[range].add(room.keysAndValues[range].columns(inner..<2 * inner))
    }
    engine.pool.run(count: config.heads, chunk: 1) { range, worker in
      let own = room.workers[worker]
      let k = room.keysAndValues.columns(config.columns(ofHead: range.lowerBound))
      let v = room.keysAndValues.columns(config.columns(ofHead: range.lowerBound, part: 1))
      let out = room.heads.columns(config.columns(ofHead: range.lowerBound))
      own.attention.memory.load(engine, k: k, v: v)
      for strip in strips(of: cells, own.attention.strip.rowCapacity) {
        let part = own.part.prefix(strip.count)
        engine.attend(
          k[strip], own.attention.memory, factor: config.attentionScale, own.attention.strip, into: part)
        out[strip].add(part)
      }
    }
  }
}

extension Rows {
  /// x *= factor.
  fileprivate func scale(by factor: Float) {
    for index in 0..<count {
      let line = row(index)
      for column in 0..<width { line[column] *= factor }
    }
  }
}

extension SCCLIPMethod {
  /// Of sections 3 to 6 of one window.
  func work(cells: Int, phrases: Int) -> Work {
    let blocks = clip.vision.blocks
    let pairs = Double(cells) * Double(cells)
    // Distances, two similarities before the cut and one after it; two mixtures; the shared attention;
    // scores.
    let float = pairs * Double(6 * blocks.width) + Double(cells * clip.embedWidth * phrases)
    return 2
      * (Work.linear(rows: cells, inputs: blocks.width, outputs: 2 * blocks.inner)
        + blocks.attentionWork(queries: cells, keys: cells))
      + .linear(rows: cells, inputs: blocks.inner, outputs: blocks.width)
      + .linear(rows: cells, inputs: blocks.width, outputs: clip.embedWidth)
      + Work(attention: pairs * Double(blocks.inner), float: float)
  }
}
