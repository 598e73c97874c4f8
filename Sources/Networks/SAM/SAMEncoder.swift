// SAM's image encoder: windowed and global blocks over one grid of tokens. Windows are shared out among the
// workers; in a global block one head at a time is, whose queries are shared out.
import Compute

/// One pass of the encoder over one photo.
///
/// - Shapes: tokens [grid * grid, width] f32, updated in place.
/// - Source: segment-anything `image_encoder.py`.
package struct SAMEncoder {
  let run: RunContext
  let config: SAMConfig
  let schema: SAMSchema
  private let stream: BlockStream

  var blocks: TransformerConfig { config.blocks }
  private var engine: Engine { run.engine }
  private var last: Int { blocks.depth - 1 }

  package init(_ run: RunContext, _ config: SAMConfig, _ schema: SAMSchema) {
    (self.run, self.config, self.schema) = (run, config, schema)
    stream = run.blocks(of: schema)
  }

  /// Patch embedding and positions.
  ///
  /// - Shapes: `image` [height, width, 3] bytes, both sides at most `imageSide`; the rest of the square is
  ///   zero after normalization. `x` [grid * grid, width], overwritten.
  package func embed(_ image: UnsafePointer<UInt8>, width: Int, height: Int, into x: Rows) throws {
    run.note(config.vision.patchWork(cells: x.count))
    try run.scope {
      let rooms = try rowRooms(depth: config.vision.patchLength)
      if run.isPlanning { return }
      PatchEmbedding(run: run, layer: run.model[schema.vision.patch], side: config.vision.patch).embed(
        PaddedPixels(image, width: width, height: height, config.vision.pixels), origin: (0, 0),
        columns: config.grid,
        into: x, rooms
      ) { cells, rows, room in
        let position = room.rows(rows.count, rows.width)
        run.model.load(schema.vision.position, cells, engine, into: position.base)
        rows.add(position)
      }
      run.record("sam.embed", x)
    }
  }

  /// Block after block.
  ///
  /// - Parameter leavesLast: the last block is left to who wants more of it than its output.
  package func encode(_ x: Rows, leavesLast: Bool) throws {
    var done = 0.0
    try stream.forEach(0..<(leavesLast ? last : blocks.depth)) { block, weights in
      run.note(work(block))
      if config.globalBlocks.contains(block) {
        try globalBlock(weights, x)
      } else {
        try windowedBlock(weights, x)
      }
      run.record("sam.blocks.\(block)", x)
      done += work(block).size
      if block < last { run.step(done / totalSize) }
    }
  }

  /// The last block, for what its user makes of it.
  package func withLastBlock<Result>(_ body: (BlockWeights) throws -> Result) throws -> Result {
    try stream.with(last, body)
  }

  // MARK: Work

  func work(_ block: Int) -> Work {
    let linear = blocks.linearWork(tokens: config.tokenCount)
    if config.globalBlocks.contains(block) {
      return linear + blocks.attentionWork(queries: config.tokenCount, keys: config.tokenCount)
    }
    let across = ceilDivide(config.grid, by: config.window)
    // Queries in padding below the grid are left out, those beside it are not.
    return linear
      + blocks.attentionWork(
        queries: config.grid * across * config.window, keys: config.window * config.window)
  }

  /// Of all blocks, the last one counted twice because it also becomes the affinity.
  private var totalSize: Double { (0..<blocks.depth).reduce(work(last).size) { $0 + work($1).size } }

  /// Tells how much of the last block is done.
  func stepInLast(_ fraction: Double) { run.step(1 - 2 * work(last).size / totalSize * (1 - fraction)) }

  // MARK: Rows

  func rowRooms(depth: Int = 0) throws -> [RowRoom] {
    let rows = min(run.tiling.rows, config.tokenCount)
    return try engine.perWorker { () throws(ComputeError) in
      try RowRoom(run, blocks, rows: rows, depth: depth)
    }
  }

  /// x += mlp(norm2(x)) over all tokens.
  func mlp(_ x: Rows, _ weights: BlockWeights) throws {
    try run.scope {
      let rooms = try rowRooms()
      if run.isPlanning { return }
      engine.share(x.count, limit: min(run.tiling.rows, x.count)) { range, worker in
        engine.mlp(x[range], weights, blocks.activation, rooms[worker])
      }
    }
  }

  // MARK: Windowed blocks

  /// One worker's window.
  private struct WindowRoom {
    let rows: RowScratch
    let qkv: Rows
    /// Where `qkv` lies, once that is spent.
    let projected: Rows
    let mixed: Rows
    let head: HeadRoom
    let bias: BiasRoom

    init(_ run: RunContext, _ config: TransformerConfig, side: Int) throws(ComputeError) {
      let (arena, tokens) = (run.arena, side * side)
      rows = try RowScratch(arena, engine: run.engine, rows: tokens, depth: max(config.width, config.inner))
      let storage = try arena.floats(tokens * max(3 * config.inner, config.width))
      qkv = Rows(storage, count: tokens, width: 3 * config.inner)
      projected = Rows(storage, count: tokens, width: config.width)
      mixed = try arena.rows(tokens, config.inner)
      head = try HeadRoom(run, width: config.paddedHead, tokens: tokens, strip: tokens)
      bias = try BiasRoom(arena, queries: tokens, side: side)
    }
  }

  private func windowedBlock(_ weights: BlockWeights, _ x: Rows) throws {
    try run.scope {
      let side = config.window
      let relative = try RelativePosition(run.arena, side: side, headWidth: blocks.headWidth)
      try run.scope {
        let rooms = try engine.perWorker { () throws(ComputeError) in try WindowRoom(run, blocks, side: side)
        }
        if run.isPlanning { return }
        relative.load(weights)
        let across = ceilDivide(config.grid, by: side)
        engine.pool.run(count: across * across, chunk: 1) { range, worker in
          let (y, x0) = (range.lowerBound / across * side, range.lowerBound % across * side)
          window(y: y, x: x0, x, weights, relative, rooms[worker])
        }
      }
      try mlp(x, weights)
    }
  }

  /// norm1, attention inside one zero-padded window, projection, residual.
  private func window(
    y: Int, x column: Int, _ tokens: Rows, _ weights: BlockWeights, _ relative: RelativePosition,
    _ room: WindowRoom
  ) {
    let side = config.window
    let (rows, columns) = (min(side, config.grid - y), min(side, config.grid - column))
    let valid = rows * columns
    func tokensOfRow(_ row: Int) -> Rows {
      let first = (y + row) * config.grid + column
      return tokens[first..<first + columns]
    }
    for row in 0..<rows {
      engine.prepare(tokensOfRow(row), normalizedBy: weights.norm1, room.rows, at: row * columns)
    }
    engine.linear(
      weights.qkv, room.rows.prepared(0..<valid, width: blocks.width), into: room.qkv.prefix(valid))
    spread(room.qkv, rows: rows, columns: columns, padding: weights.qkv.panels.bias)
    for head in 0..<blocks.heads {
      let (q, k, v) = blocks.split(room.qkv, head: head)
      room.head.memory.load(engine, k: k, v: v)
      let queries = q.prefix(rows * side)
      engine.attend(
        queries, room.head.memory, factor: blocks.attentionScale,
        bias: relative.windowBias(engine, queries, room.bias),
        room.head.strip, into: room.mixed.columns(blocks.columns(ofHead: head)).prefix(rows * side))
    }
    for row in 1..<rows where columns < side {
      room.mixed[row * columns..<(row + 1) * columns].update(
        from: room.mixed[row * side..<row * side + columns])
    }
    engine.linear(
      weights.out, engine.prepare(room.mixed.prefix(valid), room.rows), into: room.projected.prefix(valid))
    for row in 0..<rows { tokensOfRow(row).add(room.projected[row * columns..<(row + 1) * columns]) }
  }

  /// Tokens of a window's valid part to their places in the window; the others become `padding`, the
  /// projection of zeros.
  private func spread(_ x: Rows, rows: Int, columns: Int, padding: UnsafePointer<Float>?) {
    let side = config.window
    // From the end, so that nothing unread is overwritten.
    for row in (0..<side).reversed() {
      let used = row < rows ? columns : 0
      if used > 0 && used < side {
        x[row * side..<row * side + used].update(from: x[row * used..<(row + 1) * used])
      }
      for token in row * side + used..<(row + 1) * side {
        if let padding {
          x.row(token).update(from: padding, count: x.width)
        } else {
          x.row(token).update(repeating: 0, count: x.width)
        }
      }
    }
  }

  // MARK: Global blocks

  private func globalBlock(_ weights: BlockWeights, _ x: Rows) throws {
    try run.scope {
      let mixed = try StoredRows(run.arena, engine, count: x.count, width: blocks.inner)
      try run.scope { try attendGlobal(weights, x, mixed) }
      try LongSequence(run, blocks).finish(x, weights, mixed)
    }
  }

  /// All heads, one after another.
  private func attendGlobal(_ weights: BlockWeights, _ x: Rows, _ mixed: StoredRows) throws {
    let (arena, grid, head) = (run.arena, config.grid, blocks.paddedHead)
    let strip = min(2 * run.tiling.strip, grid)
    let relative = try RelativePosition(arena, side: grid, headWidth: blocks.headWidth)
    let all = try RowScratch(arena, engine: engine, rows: x.count, depth: blocks.width)
    let q = try arena.rows(x.count, head)
    let k = try arena.rows(x.count, head)
    let v = try arena.rows(x.count, head)
    let memory = try HeadMemory(arena, engine: engine, tokens: x.count, width: head)
    let rooms = try engine.perWorker { () throws(ComputeError) in
      try StripRoom(run, blocks, grid: grid, strip: strip, keepsLogits: false)
    }
    if run.isPlanning { return }
    relative.load(weights)
    let sequence = LongSequence(run, blocks)
    sequence.prepareAll(x, weights.norm1, all, rooms.map(\.temporary))
    let parts = ceilDivide(grid, by: strip)
    for index in 0..<blocks.heads {
      for (part, out) in [q, k, v].enumerated() {
        sequence.project(head: index, part: part, weights, all, into: out)
      }
      memory.load(engine, k: k, v: v, sharing: true)
      // Queries inside one grid row at a time.
      engine.pool.run(count: grid * parts, chunk: 1) { range, worker in
        let room = rooms[worker]
        let (y, column) = (range.lowerBound / parts, range.lowerBound % parts * strip)
        let count = min(strip, grid - column)
        let queries = q[y * grid + column..<y * grid + column + count]
        let bias = relative.bias(engine, queries, y: y, x: column, room.bias)
        let out = room.out.prefix(count)
        engine.attend(queries, memory, factor: blocks.attentionScale, bias: bias, room.strip, into: out)
        mixed.store(engine, out, at: y * grid + column, column: index * head)
      }
    }
  }
}

/// One worker's strip of global attention.
struct StripRoom {
  let strip: AttentionScratch
  let bias: BiasRoom
  let out: Rows
  let temporary: UnsafeMutablePointer<Float>

  init(
    _ run: RunContext, _ config: TransformerConfig, grid: Int, strip rows: Int, keepsLogits: Bool
  ) throws(ComputeError) {
    strip = try AttentionScratch(
      run.arena, engine: run.engine, rows: rows, keys: grid * grid, width: config.paddedHead,
      keepsLogits: keepsLogits)
    bias = try BiasRoom(run.arena, queries: rows, side: grid)
    out = try run.arena.rows(rows, config.paddedHead)
    temporary = try run.arena.floats(roundUp(config.width, to: 64))
  }
}
