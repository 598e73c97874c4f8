// Scores that spread to neighbours of like colour, pixel by pixel: PAMR.
import Compute

/// A small copy of the photo whose colours steer where scores go.
///
/// - Shapes: `pixels` [height, width, 3], 8-bit.
package struct ColourGuide {
  package let pixels: UnsafePointer<UInt8>
  package let height: Int
  package let width: Int

  package init(pixels: UnsafePointer<UInt8>, height: Int, width: Int) {
    self.pixels = pixels
    self.height = height
    self.width = width
  }

  package var count: Int { height * width }
}

/// Pixel-adaptive mask refinement: every score becomes a mean of 16 neighbours', weighted by likeness of
/// colour, ten times over.
///
/// - Shapes: a plane is [height * width] groups of eight scores.
/// - Units: neighbours lie 8 and 16 pixels away, in eight directions; outside the photo its border repeats.
///   The weight is the softmax over neighbours of -|difference| / (0.1 standard deviations), averaged over
///   colours; the deviation is that of the neighbours and, once for each distance, the pixel itself.
/// - Memory: one more plane (32 bytes a pixel), and a worker 124 bytes for each pixel of a row; reserved at
///   the start.
/// - Source: Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels" (2020); iterations
///   and distances as public open-vocabulary code runs it.
package struct PixelAdaptation {
  package static let iterations = 10
  package static let distances = [8, 16]
  /// Row and column offsets of the neighbours.
  private static let offsets: [(y: Int, x: Int)] = distances.flatMap { distance in
    [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)].map {
      (y: $0.0 * distance, x: $0.1 * distance)
    }
  }

  /// How far the farthest neighbour is.
  private static let reach = 16
  /// Offsets of the rows that neighbours lie in.
  private static let rowOffsets = [-16, -8, 0, 8, 16]

  private let engine: Engine
  private let guide: ColourGuide
  private let spare: UnsafeMutablePointer<Eight>
  /// Groups of eight pixels in a row.
  private let groups: Int
  /// Per worker [16, groups]: weights of each neighbour.
  private let weights: [UnsafeMutablePointer<Eight>]
  /// Per worker [5 rows, 3 colours, `colourStride`]: colours of the rows that neighbours lie in, borders
  /// repeated.
  private let colours: [UnsafeMutablePointer<Float>]
  private let colourStride: Int

  package init(_ arena: Arena, engine: Engine, guide: ColourGuide) throws(ComputeError) {
    self.engine = engine
    self.guide = guide
    spare = try arena.reserve(Eight.self, guide.count)
    let groups = ceilDivide(guide.width, by: 8)
    let colourStride = 8 * groups + 2 * Self.reach
    (self.groups, self.colourStride) = (groups, colourStride)
    weights = try engine.perWorker { () throws(ComputeError) in
      try arena.reserve(Eight.self, Self.offsets.count * groups)
    }
    colours = try engine.perWorker { () throws(ComputeError) in
      try arena.floats(Self.rowOffsets.count * 3 * colourStride)
    }
  }

  /// Refines one plane where it lies.
  package func run(_ plane: UnsafeMutablePointer<SIMD8<Float>>) {
    precondition(Self.iterations % 2 == 0, "the last iteration writes to the plane itself")
    for iteration in 0..<Self.iterations {
      step(from: iteration % 2 == 0 ? plane : spare, to: iteration % 2 == 0 ? spare : plane)
    }
  }

  private func step(from old: UnsafeMutablePointer<Eight>, to new: UnsafeMutablePointer<Eight>) {
    let (height, width) = (guide.height, guide.width)
    let offsets = Self.offsets
    engine.pool.run(count: height, chunk: 4) { rows, worker in
      for y in rows {
        gather(y, colours[worker])
        weigh(colours[worker], weights[worker])
        let share = floats(weights[worker])
        for x in 0..<width {
          var sum = Eight(repeating: 0)
          for (index, offset) in offsets.enumerated() {
            let row = min(max(y + offset.y, 0), height - 1)
            let column = min(max(x + offset.x, 0), width - 1)
            sum += old[row * width + column] * share[index * 8 * groups + x]
          }
          new[y * width + x] = sum
        }
      }
    }
  }

  /// Colours around row `y`.
  private func gather(_ y: Int, _ out: UnsafeMutablePointer<Float>) {
    let (width, reach) = (guide.width, Self.reach)
    for (place, offset) in Self.rowOffsets.enumerated() {
      let row = guide.pixels + min(max(y + offset, 0), guide.height - 1) * width * 3
      for colour in 0..<3 {
        let line = out + (place * 3 + colour) * colourStride
        for x in 0..<width { line[reach + x] = Float(row[3 * x + colour]) }
        line.update(repeating: line[reach], count: reach)
        (line + reach + width).update(repeating: line[reach + width - 1], count: colourStride - reach - width)
      }
    }
  }

  /// Weights of the neighbours of a row's pixels, eight pixels at a time.
  ///
  /// - Shapes: `colours` as `gather` leaves them; `out` [16, groups], overwritten.
  private func weigh(_ colours: UnsafeMutablePointer<Float>, _ out: UnsafeMutablePointer<Eight>) {
    let lines = Self.offsets.map { offset in
      colours + (offset.y / 8 + 2) * 3 * colourStride + Self.reach + offset.x
    }
    let middle = colours + 2 * 3 * colourStride + Self.reach
    withUnsafeTemporaryAllocation(of: Eight.self, capacity: 2 * lines.count) { room in
      guard let difference = room.baseAddress else { return }
      let weight = difference + lines.count
      for group in 0..<groups {
        weight.update(repeating: Eight(repeating: 0), count: lines.count)
        for colour in 0..<3 {
          let first = colour * colourStride + 8 * group
          let own = eight(middle + first)
          for (index, line) in lines.enumerated() { difference[index] = eight(line + first) - own }
          // Of 18 values relative to the pixel, which stands among them twice as 0.
          let mean = (sum(difference) { $0 } + sum(difference + 8) { $0 }) / 18
          let squares = sum(difference) { $0 * $0 } + sum(difference + 8) { $0 * $0 } - 18 * mean * mean
          let deviation = (larger(squares, Eight(repeating: 0)) / 17).squareRoot()
          let factor = -1 / (3 * (1e-8 + 0.1 * deviation))
          for index in lines.indices {
            weight[index] += larger(difference[index], -difference[index]) * factor
          }
        }
        var top = weight[0]
        for index in lines.indices { top = larger(top, weight[index]) }
        for index in lines.indices { weight[index] = expOfNonPositive(weight[index] - top) }
        let scale = 1 / (sum(weight) { $0 } + sum(weight + 8) { $0 })
        for index in lines.indices { out[index * groups + group] = weight[index] * scale }
      }
    }
  }

  /// Eight floats from anywhere.
  @inline(__always)
  private func eight(_ values: UnsafePointer<Float>) -> Eight {
    UnsafeRawPointer(values).loadUnaligned(as: Eight.self)
  }

  /// The sum over one distance's eight neighbours, in the order of `total`.
  @inline(__always)
  private func sum(_ x: UnsafePointer<Eight>, _ value: (Eight) -> Eight) -> Eight {
    let even = (value(x[0]) + value(x[4])) + (value(x[2]) + value(x[6]))
    return even + ((value(x[1]) + value(x[5])) + (value(x[3]) + value(x[7])))
  }
}
