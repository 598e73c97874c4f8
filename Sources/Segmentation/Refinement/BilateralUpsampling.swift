// Scores of patches that spread to pixels of like colour: joint bilateral upsampling.
import Compute

/// A pixel's scores are a mean of those of the 5 x 5 patches around it, weighted by place and by colour.
///
/// w = exp(-|p - q|^2 / (2 s^2)) exp(-|I_p - I_q|^2 / (2 r^2)): p and q are places in patches, I_p the
/// pixel's colour, I_q the mean colour of patch q. Patches outside the photo do not count.
///
/// - Shapes: patches [rows, columns] of eight classes a plane; planes [height * width].
/// - Memory: 32 bytes a patch and plane, and 12 for its colour; reserved at the start.
/// - Source: Kopf et al., "Joint Bilateral Upsampling" (2007); s and r are this project's.
package struct BilateralUpsampling {
  /// Patches.
  private static let sigma: Float = 1
  /// Grey levels, of the distance of two colours.
  private static let colourSigma: Float = 25
  private static let reach = 2
  /// 25 patches, and seven that weigh nothing.
  private static let vectors = 4

  private let engine: Engine
  private let guide: ColourGuide
  private let rows: Int
  private let columns: Int
  /// [planes][rows * columns].
  package let patches: [UnsafeMutablePointer<SIMD8<Float>>]
  /// [rows * columns, 3].
  private let colours: UnsafeMutablePointer<Float>

  package init(
    _ arena: Arena, engine: Engine, guide: ColourGuide, rows: Int, columns: Int, planeCount: Int
  ) throws(ComputeError) {
    (self.engine, self.guide, self.rows, self.columns) = (engine, guide, rows, columns)
    var patches: [UnsafeMutablePointer<Eight>] = []
    for _ in 0..<planeCount { patches.append(try arena.reserve(Eight.self, rows * columns)) }
    self.patches = patches
    colours = try arena.floats(rows * columns * 3)
    if arena.isCounting { return }
    engine.pool.run(count: rows, chunk: 1) { [self] range, _ in
      for row in range { for column in 0..<columns { average(row, column) } }
    }
  }

  /// The mean colour of a patch: of the pixels whose centres lie in it, or of the one in its middle.
  private func average(_ row: Int, _ column: Int) {
    func span(_ index: Int, _ count: Int, _ pixels: Int) -> Range<Int> {
      let (first, last) = (index * pixels / count, (index + 1) * pixels / count)
      return first < last ? first..<last : min(first, pixels - 1)..<min(first, pixels - 1) + 1
    }
    let (down, across) = (span(row, rows, guide.height), span(column, columns, guide.width))
    let out = colours + (row * columns + column) * 3
    for colour in 0..<3 {
      var sum = 0
      for y in down { for x in across { sum += Int(guide.pixels[(y * guide.width + x) * 3 + colour]) } }
      out[colour] = Float(sum) / Float(down.count * across.count)
    }
  }

  /// Fills the planes from `patches`.
  package func run(_ planes: [UnsafeMutablePointer<SIMD8<Float>>]) {
    engine.pool.run(count: guide.height, chunk: 4) { range, _ in
      withUnsafeTemporaryAllocation(of: Eight.self, capacity: Self.vectors) { weights in
        withUnsafeTemporaryAllocation(of: Int.self, capacity: 8 * Self.vectors) { places in
          for y in range {
            for x in 0..<guide.width { upsample(x, y, planes, weights, places) }
          }
        }
      }
    }
  }

  private func upsample(
    _ x: Int, _ y: Int, _ planes: [UnsafeMutablePointer<Eight>],
    _ weights: UnsafeMutableBufferPointer<Eight>, _ places: UnsafeMutableBufferPointer<Int>
  ) {
    let pixel = y * guide.width + x
    let row = (Float(y) + 0.5) * Float(rows) / Float(guide.height) - 0.5
    let column = (Float(x) + 0.5) * Float(columns) / Float(guide.width) - 0.5
    let (middle, centre) = (Int(row.rounded()), Int(column.rounded()))
    let own = guide.pixels + 3 * pixel
    weights.update(repeating: Eight(repeating: -.infinity))
    var count = 0
    for r in max(0, middle - Self.reach)..<min(rows, middle + Self.reach + 1) {
      for c in max(0, centre - Self.reach)..<min(columns, centre + Self.reach + 1) {
        let (down, across) = (row - Float(r), column - Float(c))
        let colour = colours + 3 * (r * columns + c)
        var distance: Float = 0
        for channel in 0..<3 {
          let difference = Float(own[channel]) - colour[channel]
          distance += difference * difference
        }
        weights[count / 8][count % 8] =
          -(down * down + across * across) / (2 * Self.sigma * Self.sigma)
          - distance / (2 * Self.colourSigma * Self.colourSigma)
        places[count] = r * columns + c
        count += 1
      }
    }
    // The largest weight becomes 1: a colour that no patch has is as far from all.
    var top = weights[0]
    for index in 1..<Self.vectors { top = larger(top, weights[index]) }
    let peak = largest(top)
    var sum: Float = 0
    for index in 0..<Self.vectors {
      weights[index] = expOfNonPositive(weights[index] - peak)
    }
    for index in 0..<count { sum += weights[index / 8][index % 8] }
    for (plane, scores) in zip(planes, patches) {
      var value = Eight(repeating: 0)
      for index in 0..<count { value += scores[places[index]] * (weights[index / 8][index % 8] / sum) }
      plane[pixel] = value
    }
  }
}
