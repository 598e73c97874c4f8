// Patches that resemble nothing: found by the density of their neighbourhood, replaced by what surrounds
// them.
import Compute

/// Finds outliers among the patches of a window.
///
/// The factor of a patch is its squared distance to the 30th neighbour, times the mean of its neighbours'
/// inverse ones.
///
/// - Shapes: patches [cells, width].
/// - Memory: cells * (neighbours + 4) * 4 bytes; distances lie in the workers' strips for a while.
/// - Source: SC-CLIP's public code. Differs: a reach of at least 1e-12; no outliers where all factors are
///   equal, or where no more patches than neighbours are there.
struct OutlierFinder {
  static let neighbours = 30
  /// Factors above this quantile are outliers'.
  static let quantile = 0.95

  private let run: RunContext
  private let cells: Int
  /// [cells, neighbours].
  private let nearest: UnsafeMutablePointer<Int32>
  private let reach: UnsafeMutablePointer<Float>
  private let factor: Rows
  private let sorted: UnsafeMutablePointer<Float>
  private let isOutlier: UnsafeMutablePointer<Bool>
  private let workers: [UnsafeMutablePointer<Float>]
  private let strips: [AttentionScratch]

  /// - Parameter strips: one a worker, free while outliers are looked for.
  init(_ run: RunContext, cells: Int, strips: [AttentionScratch]) throws(ComputeError) {
    (self.run, self.cells, self.strips) = (run, cells, strips)
    nearest = try run.arena.reserve(Int32.self, cells * Self.neighbours)
    reach = try run.arena.floats(cells)
    factor = try run.arena.rows(1, cells)
    sorted = try run.arena.floats(cells)
    isOutlier = try run.arena.reserve(Bool.self, cells)
    workers = try run.engine.perWorker { () throws(ComputeError) in try run.arena.floats(Self.neighbours) }
  }

  /// - Parameter name: the window's number, for taps.
  func find(_ patches: Rows, name: Int) -> Outliers {
    isOutlier.update(repeating: false, count: cells)
    let found = Outliers(count: cells, isOutlier: UnsafePointer(isOutlier))
    guard cells > Self.neighbours else { return found }
    // From differences: tokens lie close together and are long, so a product of both would cancel.
    run.engine.share(cells, limit: strips[0].rowCapacity) { range, worker in
      let distances = strips[worker].logits(rows: range.count, keys: cells)
      run.engine.squaredDistances(patches[range], patches, into: distances)
      for row in range { neighbours(of: row, distances.row(row - range.lowerBound), workers[worker]) }
    }
    for row in 0..<cells {
      var sum: Float = 0
      for index in 0..<Self.neighbours { sum += 1 / reach[Int(nearest[row * Self.neighbours + index])] }
      factor.base[row] = reach[row] * (sum / Float(Self.neighbours))
    }
    run.record("scclip.lof.\(name)", factor)
    mark()
    record(name)
    return found
  }

  /// Factors strictly above the quantile, which lies linearly between two of them.
  private func mark() {
    sorted.update(from: factor.base, count: cells)
    var all = UnsafeMutableBufferPointer(start: sorted, count: cells)
    all.sort()
    let place = Self.quantile * Double(cells - 1)
    let below = Int(place)
    let above = min(below + 1, cells - 1)
    let threshold = sorted[below] + (sorted[above] - sorted[below]) * Float(place - Double(below))
    if sorted[0] == sorted[cells - 1] { return }
    for row in 0..<cells { isOutlier[row] = factor.base[row] > threshold }
  }

  private func record(_ name: Int) {
    guard run.taps != nil else { return }
    var places = (0..<cells).filter { isOutlier[$0] }.map { Float($0) }
    places.withUnsafeMutableBufferPointer {
      guard let base = $0.baseAddress else { return }
      run.record("scclip.outliers.\(name)", Rows(base, count: 1, width: $0.count))
    }
  }

  /// The nearest patches of one, and how far the last of them is.
  ///
  /// - Shapes: `distances` [cells]: squared; `best` [neighbours]: work space.
  private func neighbours(
    of row: Int, _ distances: UnsafePointer<Float>, _ best: UnsafeMutablePointer<Float>
  ) {
    let own = nearest + row * Self.neighbours
    var count = 0
    for other in 0..<cells where other != row {
      let distance = distances[other]
      if count == Self.neighbours && !(distance < best[count - 1]) { continue }
      var place = count == Self.neighbours ? count - 1 : count
      count = place + 1
      while place > 0 && best[place - 1] > distance {
        (best[place], own[place]) = (best[place - 1], own[place - 1])
        place -= 1
      }
      (best[place], own[place]) = (distance, Int32(other))
    }
    reach[row] = max(best[Self.neighbours - 1], 1e-12)
  }
}

/// The outliers of one window.
struct Outliers {
  let count: Int
  /// [count].
  let isOutlier: UnsafePointer<Bool>

  /// Every outlier becomes the mean of its neighbours on the grid that are none; with no such neighbour it
  /// stays.
  ///
  /// Only outliers are written and only others are read, so this may be done in place.
  ///
  /// - Shapes: `patches` [count, width], row by row of a grid `columns` wide.
  func repair(_ patches: Rows, columns: Int) {
    let rows = count / columns
    for cell in 0..<count where isOutlier[cell] {
      let (row, column) = (cell / columns, cell % columns)
      let out = patches.row(cell)
      var good = 0
      for y in max(row - 1, 0)...min(row + 1, rows - 1) {
        for x in max(column - 1, 0)...min(column + 1, columns - 1) where !isOutlier[y * columns + x] {
          let neighbour = patches.row(y * columns + x)
          if good == 0 {
            out.update(from: neighbour, count: patches.width)
          } else {
            for channel in 0..<patches.width { out[channel] += neighbour[channel] }
          }
          good += 1
        }
      }
      if good > 1 { for channel in 0..<patches.width { out[channel] /= Float(good) } }
    }
  }
}
