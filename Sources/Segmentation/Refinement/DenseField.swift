// Labels that agree among all pixels of like place and colour: a fully connected conditional random field, by
// mean field.
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The two kernels of the field.
package struct FieldSettings: Equatable, Sendable {
  package var iterations = 10
  /// Neighbours by place alone: standard deviation in pixels, and weight.
  package var smoothSigma: Float = 3
  package var smoothWeight: Float = 3
  /// Neighbours by place and colour.
  package var sigmaXY: Float = 80
  package var sigmaRGB: Float = 13
  package var colourWeight: Float = 10
  /// Most corners of the lattice.
  package var cornerLimit = 1 << 16

  package init() {}
}

/// Mean-field inference of a dense field with Potts compatibility.
///
/// Q <- softmax(log p + w1 k1(Q) + w2 k2(Q)), where k1 is a Gaussian over places and k2 one over places and
/// colours, each divided by the square root of its own sums at both ends, a pixel itself included.
///
/// - Shapes: planes [height * width] of four or eight classes each; a row of log p is [width, planes].
/// - Units: probability. k1 is cut at four deviations (relative error below 4e-4); k2 is the lattice's
///   approximation (`GuidedRefinementTests` measures it against all pairs of pixels).
/// - Memory: `ColourLattice`, 4 bytes a pixel, and per worker a row and eight columns of one plane; reserved
///   at the start.
/// - Source: Krahenbuhl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
///   Potentials" (2011); the defaults are those of the authors' and of most published code (pydensecrf's
///   examples).
package struct DenseField<Values: ClassLanes> {
  private static var tile: Int { 8 }

  private let engine: Engine
  private let guide: ColourGuide
  private let settings: FieldSettings
  private let lattice: ColourLattice<Values>
  /// [pixels]: one over the square root of the colour kernel's sum.
  private let norm: UnsafeMutablePointer<Float>
  /// The smooth kernel's values at 0, 1, ... `radius` pixels.
  private let taps: UnsafeMutablePointer<Float>
  private let radius: Int
  /// One over the square root of the smooth kernel's sums along each axis.
  private let downNorm: UnsafeMutablePointer<Float>
  private let acrossNorm: UnsafeMutablePointer<Float>
  /// Per worker, a row or eight columns with `radius` zeros at both ends.
  private let lines: [UnsafeMutablePointer<Values>]
  /// Per worker [width, planes].
  private let rows: [UnsafeMutablePointer<Values>]
  private let planeCount: Int

  /// `planeCount`: the most planes that will be run.
  package init(
    _ arena: Arena, engine: Engine, guide: ColourGuide, planeCount: Int,
    settings: FieldSettings = FieldSettings()
  ) throws(ComputeError) {
    self.engine = engine
    self.guide = guide
    self.settings = settings
    self.planeCount = planeCount
    lattice = try ColourLattice<Values>(
      arena, engine: engine, guide: guide, sigmaXY: settings.sigmaXY, sigmaRGB: settings.sigmaRGB,
      cornerLimit: settings.cornerLimit)
    norm = try arena.floats(guide.count)
    let sigma = settings.smoothSigma
    radius = Int((4 * sigma).rounded(.up))
    taps = try arena.floats(radius + 1)
    downNorm = try arena.floats(guide.height)
    acrossNorm = try arena.floats(guide.width)
    var lines: [UnsafeMutablePointer<Values>] = []
    var rows: [UnsafeMutablePointer<Values>] = []
    for _ in 0..<engine.pool.threadCount {
      lines.append(
        try arena.reserveEights(max(guide.width + 2 * radius, Self.tile * (guide.height + 2 * radius))))
      rows.append(try arena.reserveEights(guide.width * planeCount))
    }
    self.lines = lines
    self.rows = rows
    if arena.isCounting { return }
    for distance in 0...radius { taps[distance] = expf(-Float(distance * distance) / (2 * sigma * sigma)) }
    lattice.filter(nil, times: nil)
    engine.pool.run(count: guide.count, chunk: 4096) { [lattice, norm] range, _ in
      for pixel in range { norm[pixel] = 1 / max(lattice.value(pixel)[0], 1e-20).squareRoot() }
    }
    sums(guide.height, into: downNorm)
    sums(guide.width, into: acrossNorm)
  }

  private func sums(_ count: Int, into out: UnsafeMutablePointer<Float>) {
    for index in 0..<count {
      var sum = taps[0]
      for distance in 1..<radius + 1 {
        if index >= distance { sum += taps[distance] }
        if index + distance < count { sum += taps[distance] }
      }
      out[index] = 1 / sum.squareRoot()
    }
  }

  /// The colours' deviation that the lattice had room for.
  package var sigmaRGB: Float { lattice.sigmaRGB }

  /// Writes each class's probability into `planes`; `logs` gives a row of log p, up to a number a pixel, and
  /// is asked for every row in each iteration.
  package func run(
    _ planes: [UnsafeMutablePointer<Values>],
    logs: (_ y: Int, _ worker: Int, _ out: UnsafeMutablePointer<Values>) -> Void
  ) {
    precondition(planes.count <= planeCount, "more planes than there is room for")
    update(planes, logs, isFirst: true)
    for _ in 0..<settings.iterations {
      for plane in planes {
        lattice.filter(plane, times: norm)
        smooth(plane)
        let weight = settings.colourWeight
        engine.pool.run(count: guide.height, chunk: 4) { [lattice, norm, width = guide.width] range, _ in
          for pixel in range.lowerBound * width..<range.upperBound * width {
            plane[pixel] += lattice.value(pixel) * (weight * norm[pixel])
          }
        }
      }
      update(planes, logs, isFirst: false)
    }
  }

  /// Messages become probabilities, row by row.
  private func update(
    _ planes: [UnsafeMutablePointer<Values>],
    _ logs: (_ y: Int, _ worker: Int, _ out: UnsafeMutablePointer<Values>) -> Void, isFirst: Bool
  ) {
    let width = guide.width
    engine.pool.run(count: guide.height, chunk: 4) { range, worker in
      for y in range {
        let line = rows[worker]
        logs(y, worker, line)
        for x in 0..<width {
          let cell = line + x * planes.count
          var top = Values(repeating: -.infinity)
          for index in 0..<planes.count {
            if !isFirst { cell[index] += planes[index][y * width + x] }
            top = larger(top, cell[index])
          }
          let peak = Values(repeating: largest(top))
          var sum: Float = 0
          for index in 0..<planes.count {
            cell[index] = expOfNonPositive(cell[index] - peak)
            sum += total(cell[index])
          }
          for index in 0..<planes.count { planes[index][y * width + x] = cell[index] / sum }
        }
      }
    }
  }

  /// The smooth kernel's message, where the plane lies: along rows, then along columns.
  private func smooth(_ plane: UnsafeMutablePointer<Values>) {
    let (height, width, tile) = (guide.height, guide.width, Self.tile)
    engine.pool.run(count: height, chunk: 4) { range, worker in
      let line = lines[worker] + radius
      clear(line, width, 1)
      for y in range {
        let row = plane + y * width
        for x in 0..<width { line[x] = row[x] * acrossNorm[x] }
        blur(line, cells: width, step: 1, into: row)
        for x in 0..<width { row[x] *= acrossNorm[x] }
      }
    }
    engine.pool.run(count: width, chunk: tile) { range, worker in
      let line = lines[worker] + radius * tile
      clear(line, height, tile)
      let columns = plane + range.lowerBound
      let count = range.count
      for y in 0..<height {
        for slot in 0..<count { line[y * tile + slot] = columns[y * width + slot] * downNorm[y] }
      }
      for y in 0..<height {
        let (factor, row) = (downNorm[y] * settings.smoothWeight, columns + y * width)
        blur(line + y * tile, cells: count, step: tile, into: row)
        for slot in 0..<count { row[slot] *= factor }
      }
    }
  }

  /// Zeros before and behind a line.
  private func clear(_ line: UnsafeMutablePointer<Values>, _ count: Int, _ stride: Int) {
    (line - radius * stride).update(repeating: Values(repeating: 0), count: radius * stride)
    (line + count * stride).update(repeating: Values(repeating: 0), count: radius * stride)
  }

  /// Places of a line with their neighbours, `step` cells apart.
  private func blur(
    _ line: UnsafeMutablePointer<Values>, cells: Int, step: Int, into out: UnsafeMutablePointer<Values>
  ) {
    engine.blurLine(
      floats(line), step: Values.scalarCount * step, count: Values.scalarCount * cells, taps: taps,
      radius: radius,
      into: floats(out))
  }
}
