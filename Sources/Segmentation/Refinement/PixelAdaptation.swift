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
/// - Memory: one more plane (32 bytes a pixel) and a row of weights a worker, reserved at the start.
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

  private let engine: Engine
  private let guide: ColourGuide
  private let spare: UnsafeMutablePointer<Eight>
  /// Per worker [width, 16].
  private let weights: [UnsafeMutablePointer<Float>]

  package init(_ arena: Arena, engine: Engine, guide: ColourGuide) throws(ComputeError) {
    self.engine = engine
    self.guide = guide
    spare = try arena.reserve(Eight.self, guide.count)
    var weights: [UnsafeMutablePointer<Float>] = []
    for _ in 0..<engine.pool.threadCount {
      weights.append(try arena.floats(guide.width * Self.offsets.count))
    }
    self.weights = weights
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
        weigh(y, weights[worker])
        for x in 0..<width {
          let share = weights[worker] + x * offsets.count
          var sum = Eight(repeating: 0)
          for (index, offset) in offsets.enumerated() {
            let row = min(max(y + offset.y, 0), height - 1)
            let column = min(max(x + offset.x, 0), width - 1)
            sum += old[row * width + column] * share[index]
          }
          new[y * width + x] = sum
        }
      }
    }
  }

  /// Weights of the neighbours of row `y`'s pixels.
  private func weigh(_ y: Int, _ out: UnsafeMutablePointer<Float>) {
    let width = guide.width
    for x in 0..<width {
      var first = Eight(repeating: 0)
      var second = Eight(repeating: 0)
      for colour in 0..<3 {
        let own = Float(guide.pixels[(y * width + x) * 3 + colour])
        var near = Eight(repeating: 0)
        var far = Eight(repeating: 0)
        for index in 0..<8 {
          near[index] = value(y, x, Self.offsets[index], colour) - own
          far[index] = value(y, x, Self.offsets[8 + index], colour) - own
        }
        // Of 18 values relative to the pixel, which stands among them twice as 0.
        let mean = (total(near) + total(far)) / 18
        let squares = total(near * near) + total(far * far) - 18 * mean * mean
        let factor = -1 / (3 * (1e-8 + 0.1 * (max(squares, 0) / 17).squareRoot()))
        first += larger(near, -near) * factor
        second += larger(far, -far) * factor
      }
      let top = max(largest(first), largest(second))
      first = expOfNonPositive(first - top)
      second = expOfNonPositive(second - top)
      let scale = 1 / (total(first) + total(second))
      for index in 0..<8 {
        out[x * 16 + index] = first[index] * scale
        out[x * 16 + 8 + index] = second[index] * scale
      }
    }
  }

  @inline(__always)
  private func value(_ y: Int, _ x: Int, _ offset: (y: Int, x: Int), _ colour: Int) -> Float {
    let row = min(max(y + offset.y, 0), guide.height - 1)
    let column = min(max(x + offset.x, 0), guide.width - 1)
    return Float(guide.pixels[(row * guide.width + column) * 3 + colour])
  }
}
