// SAM's image encoder: windowed and global blocks over one grid of tokens, then the neck.
import Compute

/// One pass of the encoder over one photo.
///
/// - Shapes: tokens [grid * grid, width] f32, updated in place; embedding [grid * grid, neckWidth].
/// - Source: segment-anything `image_encoder.py`.
struct SAMEncoder {
  let engine: Engine
  let arena: Arena
  let reader: ModelReader
  let tiling: Tiling
  let keepsWeights: Bool
  let progress: (Double) -> Void
  let taps: Taps?

  var sam: SAMConfig { reader.config.sam }
  var config: EncoderConfig { reader.config.sam.encoder }

  static let mean: (Float, Float, Float) = (123.675, 116.28, 103.53)
  static let deviation: (Float, Float, Float) = (58.395, 57.12, 57.375)

  /// Work of all blocks, the last one counted twice because it also becomes the affinity.
  private var work: Double {
    (0..<config.depth).reduce(size(config.depth - 1)) { $0 + size($1) }
  }

  private func size(_ block: Int) -> Double { WorkEstimate.samBlock(sam, block).size }

  /// Tells how much of the last block is done.
  func progressInLast(_ fraction: Double) {
    progress(1 - 2 * size(config.depth - 1) / work * (1 - fraction))
  }

  /// Every block but the last.
  func run(_ x: UnsafeMutablePointer<Float>) throws {
    let stream = LayerStream(reader, config, keepsWeights: keepsWeights)
    var done = 0.0
    for block in 0..<config.depth - 1 {
      if !arena.isCounting { try stream.enter(block) }
      if sam.globalBlocks.contains(block) {
        try globalBlock(block, x: x)
      } else {
        try windowedBlock(block, x: x)
      }
      if arena.isCounting { continue }
      taps?.record("sam.block.\(block)", x, [sam.tokenCount, config.width])
      stream.leave(block)
      done += size(block)
      progress(done / work)
    }
    // The caller goes on with the last one.
    if !arena.isCounting { try stream.enter(config.depth - 1) }
  }

  /// The last block as an ordinary one, where no affinity is wanted.
  func lastBlock(_ x: UnsafeMutablePointer<Float>) throws { try globalBlock(config.depth - 1, x: x) }

  /// Patch embedding and positions.
  ///
  /// - Shapes: `image` [imageHeight, imageWidth, 3] bytes, both sides at most `sam.imageSide`; the rest of the square is zero after normalization.
  func embed(
    _ image: UnsafePointer<UInt8>, imageWidth: Int, imageHeight: Int, x: UnsafeMutablePointer<Float>
  ) throws {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let side = config.patch
    let length = 3 * side * side
    let width = config.width
    let grid = sam.grid
    let layer = try reader.packed("sam.patch", inputs: length, outputs: width)
    let positions = try reader.halves("sam.position", [width, grid * grid])
    let limit = min(tiling.rows, grid * grid)
    var workers: [(rows: RowScratch, patches: UnsafeMutablePointer<Float>)] = []
    for _ in 0..<engine.pool.threadCount {
      workers.append(
        (
          try RowScratch(arena, engine: engine, rows: limit, depth: max(length, width)),
          try arena.floats(limit * max(length, width))
        ))
    }
    if arena.isCounting { return }
    let chunk = engine.pool.chunk(count: grid * grid, limit: limit, multiple: 16)
    engine.pool.run(count: grid * grid, chunk: chunk) { range, worker in
      let room = workers[worker]
      for cell in range {
        gather(
          image, imageWidth, imageHeight, y: cell / grid * side, x: cell % grid * side,
          out: room.patches + (cell - range.lowerBound) * length)
      }
      let rows = engine.prepare(room.patches, length, rows: range.count, columns: length, room.rows)
      let out = x + range.lowerBound * width
      engine.linear(layer, rows, out: out, width)
      engine.fromHalf(positions + range.lowerBound * width, range.count * width, room.patches)
      for index in 0..<range.count * width { out[index] += room.patches[index] }
    }
    taps?.record("sam.embed", x, [grid * grid, width])
  }

  /// One normalized patch in order (channel, y, x); zero outside the photo.
  private func gather(
    _ image: UnsafePointer<UInt8>, _ imageWidth: Int, _ imageHeight: Int, y: Int, x: Int,
    out: UnsafeMutablePointer<Float>
  ) {
    let side = config.patch
    let plane = side * side
    out.update(repeating: 0, count: 3 * plane)
    for row in 0..<max(0, min(side, imageHeight - y)) {
      for column in 0..<max(0, min(side, imageWidth - x)) {
        let pixel = image + 3 * ((y + row) * imageWidth + x + column)
        let at = row * side + column
        out[at] = (Float(pixel[0]) - Self.mean.0) / Self.deviation.0
        out[plane + at] = (Float(pixel[1]) - Self.mean.1) / Self.deviation.1
        out[2 * plane + at] = (Float(pixel[2]) - Self.mean.2) / Self.deviation.2
      }
    }
  }

  // MARK: Windowed blocks

  /// One worker's window.
  private struct WindowWorker {
    let rows: RowScratch
    let qkv: UnsafeMutablePointer<Float>
    let mixed: UnsafeMutablePointer<Float>
    let head: HeadWorker
    let vertical: UnsafeMutablePointer<Float>
    let horizontal: UnsafeMutablePointer<Float>

    init(_ arena: Arena, _ engine: Engine, _ config: EncoderConfig, side: Int) throws(ComputeError) {
      let tokens = side * side
      rows = try RowScratch(arena, engine: engine, rows: tokens, depth: max(config.width, config.inner))
      qkv = try arena.floats(tokens * max(3 * config.inner, config.width))
      mixed = try arena.floats(tokens * config.inner)
      head = try HeadWorker(arena, engine, width: config.paddedHead, tokens: tokens, strip: tokens)
      vertical = try arena.floats(tokens * side)
      horizontal = try arena.floats(tokens * side)
    }
  }

  private func windowedBlock(_ block: Int, x: UnsafeMutablePointer<Float>) throws {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let side = sam.window
    let weights = try BlockWeights(reader, config, block: block, relativeSide: side)
    let relative = try RelativePosition(arena, side: side, headWidth: config.headWidth)
    let inside = arena.mark()
    var workers: [WindowWorker] = []
    for _ in 0..<engine.pool.threadCount {
      workers.append(try WindowWorker(arena, engine, config, side: side))
    }
    if !arena.isCounting {
      relative.load(weights)
      let across = ceilDivide(sam.grid, by: side)
      engine.pool.run(count: across * across, chunk: 1) { range, worker in
        window(
          y: range.lowerBound / across * side, x: range.lowerBound % across * side, x, weights, relative,
          workers[worker])
      }
    }
    arena.release(to: inside)
    try mlp(x, weights)
  }

  /// norm1, attention inside one zero-padded window, projection, residual.
  private func window(
    y: Int, x column: Int, _ tokens: UnsafeMutablePointer<Float>, _ weights: BlockWeights,
    _ relative: RelativePosition, _ room: WindowWorker
  ) {
    let side = sam.window
    let width = config.width
    let inner = config.inner
    let head = config.paddedHead
    let grid = sam.grid
    let validColumns = min(side, grid - column)
    let validRows = min(side, grid - y)
    let valid = validRows * validColumns
    for row in 0..<validRows {
      engine.prepareNormalized(
        tokens + ((y + row) * grid + column) * width, width, rows: validColumns, weights.norm1, at: row * validColumns,
        room.rows)
    }
    engine.linear(
      weights.qkv, engine.prepared(rows: valid, columns: width, room.rows), out: room.qkv, 3 * inner)
    spread(room.qkv, 3 * inner, rows: validRows, columns: validColumns, padding: weights.qkv.panels.bias)
    let factor = 1 / Float(config.headWidth).squareRoot()
    for index in 0..<config.heads {
      let q = room.qkv + index * head
      columnMeans(q + inner, 3 * inner, rows: side * side, columns: head, out: room.head.center)
      engine.packKeys(
        q + inner, 3 * inner, range: 0..<side * side, center: room.head.center, into: room.head.keys)
      engine.packValues(q + 2 * inner, 3 * inner, into: room.head.values)
      relative.windowBias(
        engine, q, 3 * inner, rows: validRows, vertical: room.vertical, horizontal: room.horizontal)
      engine.attend(
        q, 3 * inner, rows: validRows * side, keys: room.head.keys, values: room.head.values, factor: factor,
        bias: RelativeBias(vertical: room.vertical, horizontal: room.horizontal, gridWidth: side),
        room.head.strip, out: room.mixed + index * head, inner)
    }
    for row in 1..<validRows where validColumns < side {
      (room.mixed + row * validColumns * inner).update(from: room.mixed + row * side * inner, count: validColumns * inner)
    }
    let mixed = engine.prepare(room.mixed, inner, rows: valid, columns: inner, room.rows)
    engine.linear(weights.out, mixed, out: room.qkv, width)
    for row in 0..<validRows {
      let target = tokens + ((y + row) * grid + column) * width
      let source = room.qkv + row * validColumns * width
      for index in 0..<validColumns * width { target[index] += source[index] }
    }
  }

  /// Tokens of a window's valid part to their places in the window; the others become `padding`, the projection of zeros.
  private func spread(
    _ x: UnsafeMutablePointer<Float>, _ stride: Int, rows: Int, columns: Int, padding: UnsafePointer<Float>?
  ) {
    let side = sam.window
    // From the end, so that nothing unread is overwritten.
    for row in (0..<side).reversed() {
      let used = row < rows ? columns : 0
      if used > 0 && used < side {
        (x + row * side * stride).update(from: x + row * used * stride, count: used * stride)
      }
      for token in row * side + used..<(row + 1) * side {
        let place = x + token * stride
        if let padding { place.update(from: padding, count: stride) } else { place.update(repeating: 0, count: stride) }
      }
    }
  }

  /// x += mlp(norm2(x)) over all tokens.
  func mlp(_ x: UnsafeMutablePointer<Float>, _ weights: BlockWeights) throws {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let count = sam.tokenCount
    let limit = min(tiling.rows, count)
    var workers: [RowWorker] = []
    for _ in 0..<engine.pool.threadCount {
      workers.append(try RowWorker(arena, engine, config, rowCount: limit))
    }
    if arena.isCounting { return }
    let chunk = engine.pool.chunk(count: count, limit: limit, multiple: 16)
    engine.pool.run(count: count, chunk: chunk) { range, worker in
      engine.mlp(
        x + range.lowerBound * config.width, config.width, count: range.count, weights, config.activation,
        workers[worker])
    }
  }

  // MARK: Global blocks

  /// norm1 of every token, prepared once for all heads.
  func prepareAll(_ x: UnsafePointer<Float>, _ norm: NormWeights, _ all: RowScratch, _ temporary: [UnsafeMutablePointer<Float>]) {
    let chunk = engine.pool.chunk(count: sam.tokenCount, limit: 256)
    engine.pool.run(count: sam.tokenCount, chunk: chunk) { range, worker in
      engine.prepareNormalized(
        x + range.lowerBound * config.width, config.width, rows: range.count, norm, at: range.lowerBound, all,
        temporary: temporary[worker])
    }
  }

  /// Channels of one head out of the fused projection, for all tokens: part 0 = q, 1 = k, 2 = v.
  func project(
    head: Int, part: Int, _ weights: BlockWeights, _ all: RowScratch, out: UnsafeMutablePointer<Float>
  ) {
    let width = config.paddedHead
    let first = part * config.inner + head * width
    let chunk = engine.pool.chunk(count: sam.tokenCount, limit: 256, multiple: 16)
    engine.pool.run(count: sam.tokenCount, chunk: chunk) { range, _ in
      let rows = engine.prepared(rows: range.count, columns: config.width, from: range.lowerBound, all)
      engine.linear(
        weights.qkv, rows, channels: first..<first + width, out: out + range.lowerBound * width, width)
    }
  }

  private func globalBlock(_ block: Int, x: UnsafeMutablePointer<Float>) throws {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let count = sam.tokenCount
    let grid = sam.grid
    let head = config.paddedHead
    let strip = min(2 * tiling.strip, grid)
    let threads = engine.pool.threadCount
    let weights = try BlockWeights(reader, config, block: block, relativeSide: grid)
    let mixed = try StoredRows(arena, engine, count: count, width: config.inner)
    let inside = arena.mark()
    let relative = try RelativePosition(arena, side: grid, headWidth: config.headWidth)
    let all = try RowScratch(arena, engine: engine, rows: count, depth: config.width)
    let q = try arena.floats(count * head)
    let k = try arena.floats(count * head)
    let v = try arena.floats(count * head)
    let center = try arena.floats(head)
    let keys = try KeyMatrix(arena, engine: engine, count: count, width: head)
    let values = try ValueMatrix(arena, engine: engine, count: count, width: head)
    var workers: [StripWorker] = []
    for _ in 0..<threads {
      workers.append(try StripWorker(arena, engine, config, grid: grid, strip: strip, keepsLogits: false))
    }
    if !arena.isCounting {
      relative.load(weights)
      prepareAll(x, weights.norm1, all, workers.map(\.temporary))
      for index in 0..<config.heads {
        for (part, out) in [q, k, v].enumerated() { project(head: index, part: part, weights, all, out: out) }
        columnMeans(k, head, rows: count, columns: head, out: center)
        engine.pool.run(count: 2, chunk: 1) { range, _ in
          if range.lowerBound == 0 {
            engine.packKeys(k, head, range: 0..<count, center: center, into: keys)
          } else {
            engine.packValues(v, head, into: values)
          }
        }
        attendGlobal(index, q: q, keys: keys, values: values, relative, workers, strip: strip, mixed)
      }
    }
    arena.release(to: inside)
    try finishGlobal(x, weights, mixed)
  }

  /// All queries of one head, a run inside one grid row at a time.
  private func attendGlobal(
    _ index: Int, q: UnsafePointer<Float>, keys: KeyMatrix, values: ValueMatrix, _ relative: RelativePosition,
    _ workers: [StripWorker], strip: Int, _ mixed: StoredRows
  ) {
    let grid = sam.grid
    let head = config.paddedHead
    let factor = 1 / Float(config.headWidth).squareRoot()
    let parts = ceilDivide(grid, by: strip)
    engine.pool.run(count: grid * parts, chunk: 1) { range, worker in
      let room = workers[worker]
      let y = range.lowerBound / parts
      let x = range.lowerBound % parts * strip
      let rows = min(strip, grid - x)
      let queries = q + (y * grid + x) * head
      relative.bias(
        engine, queries, head, count: rows, y: y, x: x, vertical: room.vertical, horizontal: room.horizontal)
      engine.attend(
        queries, head, rows: rows, keys: keys, values: values, factor: factor,
        bias: RelativeBias(vertical: room.vertical, horizontal: room.horizontal, gridWidth: grid), room.strip,
        out: room.out, head)
      mixed.store(engine, room.out, rows: rows, at: y * grid + x, column: index * head, width: head)
    }
  }

  /// x += out(mixed); x += mlp(norm2(x)).
  private func finishGlobal(_ x: UnsafeMutablePointer<Float>, _ weights: BlockWeights, _ mixed: StoredRows) throws {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let count = sam.tokenCount
    let limit = min(tiling.rows, count)
    var workers: [RowWorker] = []
    for _ in 0..<engine.pool.threadCount {
      workers.append(try RowWorker(arena, engine, config, rowCount: limit))
    }
    if arena.isCounting { return }
    let chunk = engine.pool.chunk(count: count, limit: limit, multiple: 16)
    engine.pool.run(count: count, chunk: chunk) { range, worker in
      let room = workers[worker]
      let rows = x + range.lowerBound * config.width
      mixed.load(engine, rows: range, into: room.hidden)
      let prepared = engine.prepare(
        room.hidden, config.inner, rows: range.count, columns: config.inner, room.rows)
      engine.linear(weights.out, prepared, accumulate: true, out: rows, config.width)
      engine.mlp(rows, config.width, count: range.count, weights, config.activation, room)
    }
  }
}

/// One worker's strip of global attention.
struct StripWorker {
  let strip: AttentionScratch
  let vertical: UnsafeMutablePointer<Float>
  let horizontal: UnsafeMutablePointer<Float>
  let out: UnsafeMutablePointer<Float>
  let temporary: UnsafeMutablePointer<Float>

  init(_ arena: Arena, _ engine: Engine, _ config: EncoderConfig, grid: Int, strip rows: Int, keepsLogits: Bool)
    throws(ComputeError)
  {
    strip = try AttentionScratch(
      arena, engine: engine, rows: rows, keys: grid * grid, width: config.paddedHead, keepsLogits: keepsLogits)
    vertical = try arena.floats(rows * grid)
    horizontal = try arena.floats(rows * grid)
    out = try arena.floats(rows * config.paddedHead)
    temporary = try arena.floats(roundUp(config.width, to: 64))
  }
}
