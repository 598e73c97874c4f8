// An image tower over the windows of one photo: layers outside, windows inside, a few windows at a time, so
// that weights are read once for all of a group.
import Compute
import Raster

/// Runs blocks over groups of windows.
///
/// - Shapes: a group's tokens [windows * (prefix + cells), width], window after window.
package struct WindowTransformer {
  let run: RunContext
  let config: VisionConfig
  let schema: VisionSchema
  let plan: WindowPlan
  private let pixels: ResampledPixels
  private let stream: BlockStream

  /// Patches of a window.
  package var grid: (rows: Int, columns: Int) {
    (plan.windowHeight / config.patch, plan.windowWidth / config.patch)
  }
  /// Patches along a side of a square window.
  package var side: Int { grid.columns }
  package var cells: Int { grid.rows * grid.columns }
  /// Of one window.
  package var tokens: Int { config.prefixTokens + cells }
  /// Windows carried through the blocks together.
  package var group: Int { min(run.tiling.windows, plan.origins.count) }

  /// - Shapes: `image` [copyHeight, copyWidth, 3].
  /// - Parameter streaming: the schema whose blocks the stage reads and whose weights it notes.
  package init(
    _ run: RunContext, _ config: VisionConfig, _ schema: VisionSchema, streaming: some NetworkSchema,
    image: UnsafePointer<UInt8>, plan: WindowPlan
  ) {
    (self.run, self.config, self.schema, self.plan) = (run, config, schema, plan)
    pixels = ResampledPixels(image, plan, config.pixels)
    stream = run.blocks(of: streaming)
  }

  /// Tokens of one window among those of a group.
  package func window(_ index: Int, of x: Rows) -> Rows { x[index * tokens..<(index + 1) * tokens] }

  /// Patch rows of one window among the tokens of a group.
  package func patches(_ index: Int, of x: Rows) -> Rows {
    x[index * tokens + config.prefixTokens..<(index + 1) * tokens]
  }

  /// Calls `body` for group after group; a plan sees the first only, which is the largest.
  package func forEachGroup(_ body: (_ windows: Range<Int>) throws -> Void) rethrows {
    for windows in strips(of: plan.origins.count, group) {
      try body(windows)
      if run.isPlanning { return }
    }
  }

  /// Patch embedding and some blocks, for one group of windows.
  ///
  /// - Shapes: `x`: the group's tokens, overwritten.
  /// - Parameters:
  ///   - watch: get the attention of their blocks.
  ///   - each: called behind every block.
  /// - Memory: positions and one `SequenceRoom`, given back.
  /// - Errors: `.model` where one of the blocks ends before its MLP; a plan refuses it like a run.
  package func encode(
    _ windows: Range<Int>, through blocks: Range<Int>, into x: Rows, watch: [AttentionSum] = [],
    each: (_ block: Int) throws -> Void = { _ in }
  ) throws {
    try checkMLPs(of: blocks)
    try run.scope {
      let positions = try PositionTable(run, schema.position, config, grid: grid)
      let room = try SequenceRoom(run, config.blocks, tokens: tokens, extraDepth: config.patchLength)
      run.note(
        plan.origins.count
          * (config.patchWork(cells: cells) + Double(blocks.count) * config.blocks.blockWork(tokens: tokens)))
      for sum in watch { run.note(plan.origins.count * sum.work(heads: config.blocks.heads)) }
      if run.isPlanning { return }
      for index in 0..<windows.count {
        for sum in watch { sum.clear(index) }
        let rows = window(index, of: x)
        embed(windows.lowerBound + index, positions, into: rows, room)
        run.record("\(config.blocks.role.rawValue).embed.\(windows.lowerBound + index)", rows)
        if let norm = schema.normPre { run.engine.normalize(rows, run.model[norm]) }
      }
      let tower = TransformerBlocks(run, config.blocks)
      try stream.forEach(blocks) { block, weights in
        let sums = watch.filter { $0.blocks.contains(block) }
        for index in 0..<windows.count {
          let rows = window(index, of: x)
          tower.project(rows, weights, room)
          if sums.isEmpty { tower.attend(room) } else { tower.attend(room, addingTo: sums, window: index) }
          tower.finish(rows, weights, room)
          run.record("\(config.blocks.role.rawValue).blocks.\(block).\(windows.lowerBound + index)", rows)
        }
        try each(block)
        step(windows, after: block)
      }
    }
  }

  private func checkMLPs(of blocks: Range<Int>) throws(SegmentationError) {
    guard let block = blocks.first(where: { schema.blocks[$0].mlp == nil }) else { return }
    throw SegmentationError(
      .model(
        "its \(config.blocks.role.rawValue) network ends before the MLP of block \(block + 1); make the file "
          + "with trident-quantize --keep-last-mlp"), path: run.model.file.path)
  }

  /// The last block, for what its user makes of it; its MLP may be missing.
  package func withLastBlock<Result>(_ body: (BlockWeights) throws -> Result) throws -> Result {
    try stream.with(config.depth - 1, body)
  }

  private func step(_ windows: Range<Int>, after block: Int) {
    let done = windows.lowerBound * config.depth + (block + 1) * windows.count
    run.step(Double(done) / Double(plan.origins.count * config.depth))
  }

  /// Prefix tokens, patches, positions.
  private func embed(_ window: Int, _ positions: PositionTable, into x: Rows, _ room: SequenceRoom) {
    let (prefix, own) = (config.prefixTokens, config.prefixTokens - config.registers)
    if let token = schema.classToken {
      x.prefix(own).update(from: Rows(reading: run.model[token], count: own, width: config.width))
      let positioned = config.positionedPrefix
      x.prefix(positioned).add(positions.rows.prefix(positioned))
    }
    if let registers = schema.registers {
      x[own..<prefix].update(
        from: Rows(reading: run.model[registers], count: config.registers, width: config.width))
    }
    let first = config.positionedPrefix
    let origin = plan.origins[window]
    PatchEmbedding(run: run, layer: run.model[schema.patch], side: config.patch).embed(
      pixels, origin: (origin.y, origin.x), columns: grid.columns, into: x[prefix..<x.count], room.rows
    ) { cells, rows, _ in
      rows.add(positions.rows[first + cells.lowerBound..<first + cells.upperBound])
    }
  }
}
