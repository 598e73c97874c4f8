// Texts on their way through BLIP's text tower.
import Compute

/// What stands in front of names.
package enum BLIPCaption {
  /// Source: PnP-OVSS's public code.
  package static let opening = "A picture of "
  /// Names this sentence in caches; changes whenever it does.
  package static let identifier = "picture-of"
}

/// Token sequences that go through the tower together, row after row; none sees another.
package struct CaptionBatch: Sendable {
  package private(set) var tokens: [Int32] = []
  /// Rows of each sequence.
  package private(set) var sequences: [Range<Int>] = []

  package init(_ captions: some Sequence<[Int32]>) { for caption in captions { add(caption) } }

  private mutating func add(_ caption: [Int32]) {
    sequences.append(tokens.count..<tokens.count + caption.count)
    tokens += caption
  }

  package var rows: Int { tokens.count }
  package var longest: Int { sequences.map(\.count).max() ?? 0 }

  /// Batches of at most `limit` rows; a longer sequence has one of its own.
  static func batches(_ captions: [[Int32]], limit: Int) -> [CaptionBatch] {
    var batches: [CaptionBatch] = []
    for caption in captions {
      if let last = batches.last, last.rows + caption.count <= limit {
        batches[batches.count - 1].add(caption)
      } else {
        batches.append(CaptionBatch([caption]))
      }
    }
    return batches
  }
}

/// Room for a batch.
///
/// - Memory: rows * (2 width + 4 inner + mlpWidth) floats and rows * 2 * mlpWidth bytes; with an image
///   imageTokens * (2 inner floats + image width bytes).
package struct CaptionRoom {
  /// States. Shapes: [rows, width].
  let x: Rows
  /// Shapes: [rows, 3 * inner]; in cross-attention the queries stand in the first third.
  let qkv: Rows
  /// Shapes: [rows, inner].
  let mixed: Rows
  /// Shapes: [rows, mlpWidth].
  let hidden: Rows
  let prepared: RowScratch
  /// A worker each: what weights are expanded in.
  let expanded: [RowScratch]
  /// A worker each: weights of one head, and their sums.
  let weights: [UnsafeMutablePointer<Float>]
  let sums: [UnsafeMutablePointer<Float>]
  let image: ImageRoom?

  /// Keys and values of an image's tokens in one layer.
  struct ImageRoom {
    /// Shapes: [imageTokens, 2 * inner].
    let keysValues: Rows
    let prepared: RowScratch

    init(_ run: RunContext, _ config: TransformerConfig, _ image: (tokens: Int, width: Int))
      throws(ComputeError)
    {
      keysValues = try run.arena.rows(image.tokens, 2 * config.inner)
      prepared = try RowScratch(run.arena, engine: run.engine, rows: image.tokens, depth: image.width)
    }
  }

  /// - Parameters:
  ///   - rows: of all sequences together.
  ///   - longest: tokens of one sequence.
  package init(
    _ run: RunContext, _ config: TransformerConfig, rows: Int, longest: Int,
    image: (tokens: Int, width: Int)? = nil
  ) throws(ComputeError) {
    let (arena, engine) = (run.arena, run.engine)
    let deepest = max(config.width, config.inner, config.mlpWidth, image?.width ?? 0)
    x = try arena.rows(rows, config.width)
    qkv = try arena.rows(rows, 3 * config.inner)
    mixed = try arena.rows(rows, config.inner)
    hidden = try arena.rows(rows, config.mlpWidth)
    prepared = try RowScratch(arena, engine: engine, rows: rows, depth: deepest, isFine: true)
    expanded = try engine.perWorker { () throws(ComputeError) in
      try RowScratch(arena, engine: engine, rows: 1, depth: deepest)
    }
    let widest = max(longest, image?.tokens ?? 0)
    weights = try engine.perWorker { () throws(ComputeError) in try arena.floats(longest * widest) }
    sums = try engine.perWorker { () throws(ComputeError) in try arena.floats(longest) }
    if let image { self.image = try ImageRoom(run, config, image) } else { self.image = nil }
  }
}
