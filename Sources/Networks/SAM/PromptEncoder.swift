// SAM's prompt encoder: Fourier features of places, and the convolutions over a mask prompt.
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Point, box and mask prompts as tokens and image offsets.
///
/// - Units: places in pixels of SAM's square.
/// - Memory: 4 tables [grid, width / 2] f32 for the positional encoding of the image, instead of [cells,
///   width];
///   per worker the two inner maps of one grid row.
/// - Source: segment-anything `prompt_encoder.py`. A point without a box is followed by a padding point, as
///   there.
package struct PromptEncoder {
  /// One worker's room for one grid row.
  struct Scratch {
    let first: UnsafeMutablePointer<Float>
    let second: UnsafeMutablePointer<Float>
    let patches: UnsafeMutablePointer<Float>

    init(_ arena: Arena, shape: DecoderShape) throws(ComputeError) {
      let cells = shape.grid
      first = try arena.floats(cells * 4 * PromptSchema.firstChannels)
      second = try arena.floats(cells * PromptSchema.secondChannels)
      patches = try arena.floats(cells * 4 * PromptSchema.firstChannels)
    }
  }

  private let shape: DecoderShape
  private let weights: PromptWeights
  private let sinX: UnsafeMutablePointer<Float>
  private let cosX: UnsafeMutablePointer<Float>
  private let sinY: UnsafeMutablePointer<Float>
  private let cosY: UnsafeMutablePointer<Float>
  private let firstStatistics: ColumnStatistics
  private let secondStatistics: ColumnStatistics

  /// Builds the tables of the image's positional encoding.
  package init(_ arena: Arena, shape: DecoderShape, weights: PromptWeights) throws(ComputeError) {
    self.shape = shape
    self.weights = weights
    let half = shape.width / 2
    sinX = try arena.floats(shape.grid * half)
    cosX = try arena.floats(shape.grid * half)
    sinY = try arena.floats(shape.grid * half)
    cosY = try arena.floats(shape.grid * half)
    firstStatistics = try ColumnStatistics(arena, count: 2 * shape.grid * PromptSchema.firstChannels)
    secondStatistics = try ColumnStatistics(arena, count: shape.grid * PromptSchema.secondChannels)
    if arena.isCounting { return }
    for place in 0..<shape.grid {
      let centre = 2 * ((Double(place) + 0.5) / Double(shape.grid)) - 1
      for index in 0..<half {
        let angleX = 2 * Double.pi * centre * Double(weights.gaussian[index])
        let angleY = 2 * Double.pi * centre * Double(weights.gaussian[half + index])
        sinX[place * half + index] = Float(sin(angleX))
        cosX[place * half + index] = Float(cos(angleX))
        sinY[place * half + index] = Float(sin(angleY))
        cosY[place * half + index] = Float(cos(angleY))
      }
    }
  }

  /// out = x + positional encoding of one grid row.
  ///
  /// - Shapes: `x`, `out` [grid, width].
  func addPositions(_ row: Int, to x: Rows, out: Rows) {
    let half = shape.width / 2
    let sy = sinY + row * half
    let cy = cosY + row * half
    for column in 0..<shape.grid {
      let sx = sinX + column * half
      let cx = cosX + column * half
      let (source, target) = (x.row(column), out.row(column))
      for index in 0..<half {
        // The sine and cosine of a sum of angles.
        target[index] = source[index] + (sx[index] * cy[index] + cx[index] * sy[index])
        target[half + index] = source[half + index] + (cx[index] * cy[index] - sx[index] * sy[index])
      }
    }
  }

  /// Tokens of a foreground point and of a box's corners, as far as the prompts have them.
  ///
  /// - Shapes: `out` [promptTokens, width], overwritten.
  /// - Units: pixels of SAM's square; the half pixel to a pixel's centre is added here.
  package func tokens(
    point: (x: Float, y: Float), boxMin: (x: Float, y: Float), boxMax: (x: Float, y: Float),
    out: UnsafeMutablePointer<Float>
  ) {
    let half = shape.width / 2
    var places: [((x: Float, y: Float), Int)] = shape.prompts.contains(.point) ? [(point, 1)] : []
    if shape.prompts.contains(.box) {
      places += [(boxMin, 2), (boxMax, 3)]
    } else if !places.isEmpty {
      (out + shape.width).update(from: weights.notAPoint, count: shape.width)
    }
    for (token, (place, label)) in places.enumerated() {
      let x = 2 * Double((place.x + 0.5) / Float(shape.imageSide)) - 1
      let y = 2 * Double((place.y + 0.5) / Float(shape.imageSide)) - 1
      let line = out + token * shape.width
      let embedding = weights.points + label * shape.width
      for index in 0..<half {
        let angle =
          2 * Double.pi * (x * Double(weights.gaussian[index]) + y * Double(weights.gaussian[half + index]))
        line[index] = Float(sin(angle)) + embedding[index]
        line[half + index] = Float(cos(angle)) + embedding[half + index]
      }
    }
  }

  // MARK: Mask prompts

  /// Learns the statistics of a mask prompt; call before `addMask`.
  ///
  /// The public implementation hands the mask over without a batch axis, so that SAM's channel norms take
  /// their statistics over the rows instead: one mean and deviation a channel and column.
  ///
  /// - Shapes: `mask` [4 * grid, 4 * grid].
  /// - Source: Trident's public code, `sam_refinement` with segment-anything's `LayerNorm2d`.
  func learn(_ engine: Engine, mask: UnsafePointer<Float>, _ scratch: Scratch) {
    let first = 4 * shape.grid * PromptSchema.firstChannels
    let second = shape.grid * PromptSchema.secondChannels
    // Two rows of the first map to a grid row: both parities count towards one column's statistics.
    firstStatistics.begin()
    for row in 0..<shape.grid {
      firstMap(engine, row, mask: mask, scratch)
      firstStatistics.add(scratch.first, count: first) { self.column($0) }
    }
    firstStatistics.end(rows: 2 * shape.grid)
    secondStatistics.begin()
    for row in 0..<shape.grid {
      firstMap(engine, row, mask: mask, scratch)
      secondMap(engine, scratch)
      secondStatistics.add(scratch.second, count: second) { $0 }
    }
    secondStatistics.end(rows: shape.grid)
  }

  /// Place of an entry of `scratch.first` (cell, inner row, inner column, channel) among columns and
  /// channels.
  @inline(__always)
  private func column(_ index: Int) -> Int {
    let channels = PromptSchema.firstChannels
    let inner = index / channels % 4
    return ((index / (4 * channels)) * 2 + inner % 2) * channels + index % channels
  }

  /// The first convolution over one grid row: scratch.first [grid cells, 2 x 2, channels].
  private func firstMap(_ engine: Engine, _ row: Int, mask: UnsafePointer<Float>, _ scratch: Scratch) {
    let grid = shape.grid
    let first = PromptSchema.firstChannels
    // 2 x 2 patches in the order (cell, inner row, inner column), so that one cell's four are neighbours.
    for cell in 0..<grid {
      for inner in 0..<4 {
        let corner = mask + (4 * row + inner / 2 * 2) * shape.maskSide + 4 * cell + inner % 2 * 2
        let patch = scratch.patches + (cell * 4 + inner) * 4
        (patch[0], patch[1], patch[2], patch[3]) = (
          corner[0], corner[1], corner[shape.maskSide], corner[shape.maskSide + 1]
        )
      }
    }
    engine.productNT(
      Rows(scratch.patches, count: 4 * grid, width: 4), weights.convolutions[0].rows,
      bias: weights.convolutions[0].bias,
      into: Rows(scratch.first, count: 4 * grid, width: first))
  }

  /// Norm and activation of scratch.first, then the second convolution: scratch.second [grid, channels].
  private func secondMap(_ engine: Engine, _ scratch: Scratch) {
    let grid = shape.grid
    let first = PromptSchema.firstChannels
    let second = PromptSchema.secondChannels
    for index in 0..<grid * 4 * first {
      scratch.first[index] = firstStatistics.normalize(
        scratch.first[index], at: column(index), weights.norms[0], channel: index % first)
    }
    engine.activate(scratch.first, 4 * grid * first, .gelu)
    // The second convolution reads (channel, inner row, inner column).
    for cell in 0..<grid {
      for channel in 0..<first {
        for inner in 0..<4 {
          scratch.patches[(cell * first + channel) * 4 + inner] =
            scratch.first[(cell * 4 + inner) * first + channel]
        }
      }
    }
    engine.productNT(
      Rows(scratch.patches, count: grid, width: 4 * first), weights.convolutions[1].rows,
      bias: weights.convolutions[1].bias,
      into: Rows(scratch.second, count: grid, width: second))
  }

  /// out = embedding + dense embedding of a mask prompt, for one grid row.
  ///
  /// - Shapes: `mask` [4 * grid, 4 * grid], not read where prompts have none; `embedding`, `out` [grid,
  ///   width] of that row.
  func addMask(
    _ engine: Engine, _ row: Int, mask: UnsafePointer<Float>, embedding: Rows, _ scratch: Scratch, out: Rows
  ) {
    let grid = shape.grid
    let second = PromptSchema.secondChannels
    guard shape.prompts.contains(.mask) else {
      for cell in 0..<grid {
        let (source, target) = (embedding.row(cell), out.row(cell))
        for channel in 0..<shape.width { target[channel] = source[channel] + weights.noMask[channel] }
      }
      return
    }
    firstMap(engine, row, mask: mask, scratch)
    secondMap(engine, scratch)
    for index in 0..<grid * second {
      scratch.second[index] = secondStatistics.normalize(
        scratch.second[index], at: index, weights.norms[1], channel: index % second)
    }
    engine.activate(scratch.second, grid * second, .gelu)
    engine.productNT(
      Rows(scratch.second, count: grid, width: second), weights.convolutions[2].rows,
      bias: weights.convolutions[2].bias,
      into: out)
    out.add(embedding)
  }
}

/// Mean and deviation of every column and channel of a map, over its rows.
///
/// - Memory: 16 bytes an entry.
struct ColumnStatistics {
  private let count: Int
  /// Sums and sums of squares while counting; mean and factor afterwards.
  private let mean: UnsafeMutablePointer<Double>
  private let factor: UnsafeMutablePointer<Double>

  init(_ arena: Arena, count: Int) throws(ComputeError) {
    self.count = count
    mean = try arena.reserve(Double.self, count)
    factor = try arena.reserve(Double.self, count)
  }

  func begin() {
    mean.update(repeating: 0, count: count)
    factor.update(repeating: 0, count: count)
  }

  @inline(__always)
  func add(_ values: UnsafePointer<Float>, count: Int, place: (Int) -> Int) {
    for index in 0..<count {
      let value = Double(values[index])
      mean[place(index)] += value
      factor[place(index)] += value * value
    }
  }

  func end(rows: Int) {
    for index in 0..<count {
      mean[index] /= Double(rows)
      let variance = max(0, factor[index] / Double(rows) - mean[index] * mean[index])
      factor[index] = 1 / (variance + 1e-6).squareRoot()
    }
  }

  @inline(__always)
  func normalize(_ value: Float, at index: Int, _ norm: NormWeights, channel: Int) -> Float {
    Float((Double(value) - mean[index]) * factor[index]) * norm.weight[channel] + norm.bias[channel]
  }
}
