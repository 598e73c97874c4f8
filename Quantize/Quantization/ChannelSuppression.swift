// Channel suppression: in some blocks' MLPs the output channel of the largest norm is made as large as the
// others are on average.

import Segmentation

/// The image blocks of CLIP that `--suppress-channels` means.
package enum SuppressedBlocks: Equatable, Sendable {
  /// 8 to 12, counted from one, of twelve; nothing is published for other depths.
  case published
  /// Counted from one.
  case named(ClosedRange<Int>)

  /// Indices of blocks, counted from zero.
  ///
  /// - Errors: a depth for which nothing is published; blocks that the network does not have; no MLP at all.
  func indices(of clip: CLIPConfig, in view: CheckpointView) throws(QuantizationError) -> Range<Int> {
    let depth = clip.vision.depth
    let asked = try indices(depth: depth, in: view)
    guard asked.contains(depth - 1), !clip.hasLastMLP else { return asked }
    let what = "the MLP of image block \(depth) is left out of the file; --keep-last-mlp keeps it"
    if asked.count == 1 { throw view.refuse("--suppress-channels: " + what) }
    view.directory.notes.append("--suppress-channels leaves block \(depth) out: " + what)
    return asked.dropLast()
  }

  private func indices(depth: Int, in view: CheckpointView) throws(QuantizationError) -> Range<Int> {
    switch self {
    case .published:
      guard depth == 12 else {
        throw view.refuse(
          "--suppress-channels is published for CLIP of 12 image blocks, and this one has \(depth); "
            + "name blocks with --suppress-blocks A-B, counted from one")
      }
      return 7..<12
    case .named(let blocks):
      guard blocks.lowerBound >= 1, blocks.upperBound <= depth else {
        throw view.refuse(
          "--suppress-blocks \(blocks.lowerBound)-\(blocks.upperBound): this CLIP has image blocks 1-\(depth)"
        )
      }
      return blocks.lowerBound - 1..<blocks.upperBound
    }
  }
}

/// A row of a matrix that stands out, and what brings it down to the others.
///
/// - Source: GCLIP, arXiv 2502.06818, known at second hand only.
package struct SuppressedChannel: Equatable, Sendable {
  /// Counted from zero.
  package let channel: Int
  /// Euclidean norm of the row as it was.
  package let norm: Float
  /// The mean norm of the other rows over this row's.
  package let factor: Float

  package var description: String { "channel \(channel) of norm \(norm) times \(factor)" }

  /// The row of the largest norm, the first of several; nil where no row stands out: a matrix of one row, or
  /// of zeros.
  ///
  /// - Memory: 16 rows of floats, and what a `MatrixReader` holds. Sums run in double.
  /// - Errors: a weight that is no number.
  static func find(
    _ layer: LinearRecipe, in directory: TensorDirectory
  ) throws(QuantizationError) -> SuppressedChannel? {
    let norms = try rowNorms(layer, in: directory)
    guard norms.count > 1, let largest = norms.max(), largest > 0,
      let channel = norms.firstIndex(of: largest)
    else { return nil }
    var sum = 0.0
    for (row, norm) in norms.enumerated() where row != channel { sum += norm }
    return SuppressedChannel(
      channel: channel, norm: Float(largest), factor: Float(sum / Double(norms.count - 1) / largest))
  }

  private static func rowNorms(
    _ layer: LinearRecipe, in directory: TensorDirectory
  ) throws(QuantizationError) -> [Double] {
    let reader = try MatrixReader(directory, layer)
    let columns = layer.columns
    let rows = UnsafeMutablePointer<Float>.allocate(capacity: 16 * columns)
    defer { rows.deallocate() }
    var norms: [Double] = []
    norms.reserveCapacity(layer.rows)
    for first in stride(from: 0, to: layer.rows, by: 16) {
      let count = min(16, layer.rows - first)
      try reader.read(first..<(first + count), into: rows)
      for row in 0..<count {
        var sum = 0.0
        for column in 0..<columns {
          let value = rows[row * columns + column]
          guard value.isFinite else {
            let (name, element) = layer.weight.place(first + row, column, rows: layer.rows, columns)
            throw QuantizationError(.notFinite(element: element), path: directory.path, name: name)
          }
          sum += Double(value) * Double(value)
        }
        norms.append(sum.squareRoot())
      }
    }
    directory.releasePages()
    return norms
  }
}
