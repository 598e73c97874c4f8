// BLIP's image tower over a photo squeezed to a square, some of whose patches may be blank.
import Compute

/// Pixels some of whose patches are blank: the mean colour, which is zero.
private struct BlankedPixels: PatchPixels {
  let pixels: ResampledPixels
  let isBlank: [Bool]
  /// Patches along a side, and their side.
  let grid: Int
  let patch: Int

  func patch(y: Int, x: Int, side: Int, out: UnsafeMutablePointer<Float>) {
    if isBlank[y / patch * grid + x / patch] {
      out.update(repeating: 0, count: 3 * side * side)
    } else {
      pixels.patch(y: y, x: x, side: side, out: out)
    }
  }
}

/// All tokens of a square image, the class token first.
///
/// - Shapes: image [side, side, 3] bytes; tokens [1 + grid * grid, width].
/// - Memory: a `SequenceRoom` and the positions; given back.
/// - Source: salesforce/BLIP `models/vit.py`.
package struct BLIPImageTower {
  let run: RunContext
  let config: VisionConfig
  let schema: VisionSchema
  /// Patches along a side.
  package let grid: Int

  package var cells: Int { grid * grid }
  package var tokens: Int { config.prefixTokens + cells }

  /// Which cells a list of some names. Shapes: the result [cells].
  func flags(_ some: [Int]) -> [Bool] {
    var flags = [Bool](repeating: false, count: cells)
    for cell in some { flags[cell] = true }
    return flags
  }

  /// - Parameter side: of the image, pixels; whole patches of it are seen.
  package init(_ run: RunContext, _ config: VisionConfig, _ schema: VisionSchema, side: Int) {
    (self.run, self.config, self.schema) = (run, config, schema)
    grid = side / config.patch
  }

  /// Patches, blocks, last norm.
  ///
  /// - Shapes: `x` [tokens, width], overwritten.
  /// - Parameter blank: patches that are not seen, by their number.
  package func encode(_ image: UnsafePointer<UInt8>, blank: [Int] = [], round: Int = 0, into x: Rows) throws {
    try run.scope {
      let positions = try PositionTable(run, schema.position, config, grid: (grid, grid))
      let room = try SequenceRoom(run, config.blocks, tokens: tokens, extraDepth: config.patchLength)
      let stream = run.blocks(of: schema)
      run.note(
        config.patchWork(cells: cells) + Double(config.depth) * config.blocks.blockWork(tokens: tokens))
      if run.isPlanning { return }
      embed(image, blank, positions, into: x, room)
      let tower = TransformerBlocks(run, config.blocks)
      try stream.forEach(0..<config.depth) { block, weights in
        tower.project(x, weights, room)
        tower.attend(room)
        tower.finish(x, weights, room)
        run.record("blip.blocks.\(block).\(round)", x)
        run.step(Double(block + 1) / Double(config.depth))
      }
      if let norm = schema.normPost {
        run.engine.share(x.count, limit: 64) { range, _ in run.engine.normalize(x[range], run.model[norm]) }
      }
      run.record("blip.tokens.\(round)", x)
    }
  }

  private func embed(
    _ image: UnsafePointer<UInt8>, _ blank: [Int], _ positions: PositionTable, into x: Rows,
    _ room: SequenceRoom
  ) {
    let prefix = config.prefixTokens
    if let token = schema.classToken {
      x.prefix(prefix).update(from: Rows(reading: run.model[token], count: prefix, width: config.width))
    }
    x.prefix(prefix).add(positions.rows.prefix(prefix))
    let pixels = BlankedPixels(
      pixels: ResampledPixels(image, width: grid * config.patch, config.pixels), isBlank: flags(blank),
      grid: grid, patch: config.patch)
    PatchEmbedding(run: run, layer: run.model[schema.patch], side: config.patch).embed(
      pixels, origin: (0, 0), columns: grid, into: x[prefix..<x.count], room.rows
    ) { cells, rows, _ in
      rows.add(positions.rows[prefix + cells.lowerBound..<prefix + cells.upperBound])
    }
  }
}

extension Stage {
  /// BLIP's image tower, and its text tower.
  static let image = Stage("image")
  static let caption = Stage("caption")
}
