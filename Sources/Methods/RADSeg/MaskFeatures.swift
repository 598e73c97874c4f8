// RADSeg+ (section 9): the whole copy goes through C-RADIO once more, in one pass of up to four thousand
// tokens. The feature projection of its `sam` teacher takes the place of SAM's image encoder; SAM's neck
// makes of that what its mask decoder asks. Windows and aggregation have no part in it.
import Compute
import Raster

extension WindowPlan {
  /// The copy with its long side as long as SAM's square, the short side cut down to whole patches.
  init(masksOf copy: (width: Int, height: Int), _ sam: SAMConfig) {
    func side(_ short: Int, _ long: Int) -> Int { max(short * sam.grid / long, 1) * sam.vision.patch }
    let image =
      copy.height >= copy.width
      ? (width: side(copy.width, copy.height), height: sam.imageSide)
      : (width: sam.imageSide, height: side(copy.height, copy.width))
    self.init(copy: copy, image: image, window: sam.imageSide, stride: 0, patch: sam.vision.patch)
  }
}

/// SAM's embedding of a photo, from C-RADIO's features.
///
/// - Memory: tokens * width floats, and in the last block as many again and tokens * width halves.
/// - Source: RADSeg (arXiv 2511.19704), as the public implementation computes it.
struct MaskFeatures {
  let run: RunContext
  let radio: RADIOConfig
  let schema: RADIOSchema
  let sam: SAMConfig
  let samSchema: SAMSchema
  let plan: WindowPlan
  /// Sharpness of the last block's second attention.
  let scale: Float

  private var engine: Engine { run.engine }
  private var blocks: TransformerConfig { radio.vision.blocks }
  private var prefix: Int { radio.vision.prefixTokens }
  private var tokens: Int { prefix + plan.gridRows * plan.gridColumns }

  /// - Shapes: `image` [copyHeight, copyWidth, 3]; `embedding` [grid * grid, neckWidth], overwritten.
  func embed(_ image: UnsafePointer<UInt8>, into embedding: Rows) throws {
    let stream = run.blocks(of: schema)
    try run.scope {
      let x = try run.arena.rows(tokens, radio.width)
      try embedPatches(image, into: x)
      let last = blocks.depth - 1
      let sequence = LongSequence(run, blocks)
      try stream.forEach(0..<last) { block, weights in
        run.note(blocks.blockWork(tokens: tokens))
        try sequence.block(x, weights)
        run.record("radio.blocks.\(block).sam", x)
        run.step(Double(block + 1) / Double(blocks.depth + 1))
      }
      try stream.with(last) { try lastBlock(x, $0, sequence) }
      run.record("radio.blocks.\(last).sam", x)
      try project(x[prefix..<tokens], into: embedding)
    }
  }

  /// Patches with positions, behind the prefix tokens.
  private func embedPatches(_ image: UnsafePointer<UInt8>, into x: Rows) throws {
    try run.scope {
      let grid = (rows: plan.gridRows, columns: plan.gridColumns)
      let positions = try PositionTable(run, schema.vision.position, radio.vision, grid: grid)
      let limit = min(run.tiling.rows, tokens)
      let rooms = try engine.perWorker { () throws(ComputeError) in
        try RowRoom(run, blocks, rows: limit, depth: radio.vision.patchLength)
      }
      run.note(radio.vision.patchWork(cells: tokens - prefix))
      if run.isPlanning { return }
      if let token = schema.vision.classToken {
        x.prefix(prefix).update(from: Rows(reading: run.model[token], count: prefix, width: radio.width))
      }
      let pixels = ResampledPixels(image, plan, radio.vision.pixels)
      PatchEmbedding(run: run, layer: run.model[schema.vision.patch], side: plan.patch).embed(
        pixels, origin: (0, 0), columns: grid.columns, into: x[prefix..<tokens], rooms
      ) { cells, rows, _ in
        rows.add(positions.rows[cells])
      }
      run.record("radio.embed.sam", x)
    }
  }

  // MARK: The last block

  /// As `RecursiveAttention`, one head at a time: values are projected twice, so that those of all heads need
  /// not be kept.
  private func lastBlock(_ x: Rows, _ weights: BlockWeights, _ sequence: LongSequence) throws {
    run.note(
      blocks.blockWork(tokens: tokens) + blocks.attentionWork(queries: tokens, keys: tokens)
        + .linear(rows: tokens, inputs: blocks.inner, outputs: 2 * blocks.width))
    try run.scope {
      let mixed = try StoredRows(run.arena, engine, count: tokens, width: blocks.inner)
      let output = try run.arena.rows(tokens, radio.width)
      let limit = min(run.tiling.rows, tokens)
      let rooms = try engine.perWorker { () throws(ComputeError) in try RowRoom(run, blocks, rows: limit) }
      try run.scope {
        let room = try LongRoom(run, blocks, tokens: tokens, keepsLogits: true)
        if run.isPlanning { return }
        sequence.attend(x, weights, room, into: mixed)
        combine(mixed, weights, rooms, into: output)
        run.record("scra.first.sam", output)
        mixAlike(output, weights, sequence, room, into: mixed)
      }
      if run.isPlanning { return }
      combine(mixed, weights, rooms, into: output)
      run.record("scra.output.sam", output)
      run.finishRecursive(x, output, g1: run.model[schema.lastScale], weights, blocks.activation, rooms)
    }
  }

  /// output = mixed W^T + b.
  private func combine(_ mixed: StoredRows, _ weights: BlockWeights, _ rooms: [RowRoom], into output: Rows) {
    engine.share(output.count, limit: min(run.tiling.rows, output.count)) { range, worker in
      let rows = rooms[worker].rows(range.count, blocks.inner)
      mixed.load(engine, range, into: rows)
      engine.linear(weights.out, engine.prepare(rows, rooms[worker].scratch), into: output[range])
    }
  }

  /// mixed = softmax(T) v, head by head; `output` becomes unit heads.
  private func mixAlike(
    _ output: Rows, _ weights: BlockWeights, _ sequence: LongSequence, _ room: LongRoom,
    into mixed: StoredRows
  ) {
    guard let values = room.memory.values else { preconditionFailure("keys without values") }
    for head in 0..<blocks.heads {
      sequence.project(head: head, part: 2, weights, room.all, into: room.v)
      engine.packValues(room.v, into: values)
      let unit = output.columns(head * blocks.headWidth..<(head + 1) * blocks.headWidth)
      unit.normalize()
      engine.pool.run(count: tokens, chunk: room.strip) { range, worker in
        let own = room.workers[worker]
        let out = own.out.prefix(range.count)
        engine.mixAlike(unit, range, scale: scale, values, own.strip, into: out)
        mixed.store(engine, out, at: range.lowerBound, column: head * blocks.paddedHead)
      }
    }
  }

  // MARK: Behind the blocks

  /// Norm and normalizer where the network has them, the `sam` teacher's projection, zeros beside the photo,
  /// and SAM's neck.
  private func project(_ patches: Rows, into embedding: Rows) throws {
    guard let head = radio.samHead, let parts = schema.samHead else { preconditionFailure("no SAM head") }
    try run.scope {
      let features = try run.arena.rows(sam.tokenCount, head.outputs)
      try run.scope {
        let limit = min(run.tiling.rows, patches.count)
        let rooms = try engine.perWorker { () throws(ComputeError) in
          (
            head: try AdaptorHead(run, head, parts, inputs: radio.width, rows: limit),
            scratch: try RowScratch(run.arena, engine: engine, rows: limit, depth: radio.width),
            normalized: radio.hasNormalizer ? try run.arena.rows(limit, radio.width) : nil
          )
        }
        let finish = FeatureFinish(run, schema)
        run.note(.linear(rows: patches.count, inputs: radio.width + head.outputs, outputs: head.hidden))
        if run.isPlanning { return }
        features.fill(0)
        let columns = plan.gridColumns
        engine.share(patches.count, limit: limit) { range, worker in
          let (room, rows) = (rooms[worker], patches[range])
          let normalized = room.normalized?.prefix(range.count)
          finish.apply(rows, room.scratch, into: normalized)
          let found = room.head.embed(normalized ?? rows)
          for (row, cell) in range.enumerated() {
            features.row(cell / columns * sam.grid + cell % columns).update(
              from: found.row(row), count: found.width)
          }
        }
        run.record("sam.features", features.prefix(plan.gridRows * sam.grid))
      }
      try Neck(run: run, config: sam, schema: samSchema.neck).embed(features, into: embedding)
      run.record("sam.neck", embedding)
    }
  }
}
