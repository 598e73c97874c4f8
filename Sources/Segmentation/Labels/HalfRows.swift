// The half-size copy that regions and prompts come from: labels by nearest, probabilities by bilinear.
import Compute

extension LabelRows {
  /// One row of the half-size copy.
  ///
  /// - Shapes: `labels`, `probabilities` [width / 2], overwritten: the class (or `noClass`) and that class's
  ///   probability; `photoLabels` [width], scratch. The worker's `top` collects each class's largest
  ///   probability.
  /// - Units: probability; a pixel whose best class is below `coarseThreshold` (if above 0) has no class.
  /// - Memory: allocates nothing.
  package func halfRow(
    _ j: Int, coarseThreshold: Float, worker index: Int, photoLabels: UnsafeMutablePointer<UInt16>,
    labels: UnsafeMutablePointer<UInt16>, probabilities: UnsafeMutablePointer<Float>
  ) {
    let worker = workers[index]
    let down = AxisSampling(from: height, to: height / 2)
    let across = AxisSampling(from: width, to: width / 2)
    self.labels(down.nearest(j), worker: index, into: photoLabels)
    let rows = down.tap(j)
    blend(rows.lower, worker, into: worker.blends[0])
    blend(rows.upper, worker, into: worker.blends[1])
    var upper = ProbabilityWalker(self, worker, line: worker.blends[0], slot: 0)
    var lower = ProbabilityWalker(self, worker, line: worker.blends[1], slot: 1)
    let sum = worker.sum
    let (other, further) = (worker.cells, worker.cells + lanes)
    let top = worker.top
    let classLanes = self.classLanes
    // x + fraction * (y - x): equal values stay equal to the last bit, whatever the fraction. Left of the
    // outermost cell's centre all are equal, and a region's point is the first of its largest.
    func mix(_ x: UnsafeMutablePointer<Eight>, _ y: UnsafeMutablePointer<Eight>, _ fraction: Float) {
      for lane in 0..<classLanes { x[lane] += fraction * (y[lane] - x[lane]) }
    }
    func read(
      _ row: inout ProbabilityWalker, _ tap: (lower: Int, upper: Int, fraction: Float),
      into out: UnsafeMutablePointer<Eight>
    ) {
      row.write(tap.lower, to: out)
      if tap.fraction > 0 {
        row.write(tap.upper, to: further)
        mix(out, further, tap.fraction)
      }
    }
    for i in 0..<width / 2 {
      let tap = across.tap(i)
      read(&upper, tap, into: sum)
      if rows.fraction > 0 {
        read(&lower, tap, into: other)
        mix(sum, other, rows.fraction)
      }
      var best = Eight(repeating: 0)
      for lane in 0..<classLanes {
        if masks.isUsed { sum[lane] *= masks.classes[lane] }
        let value = sum[lane]
        best = larger(best, value)
        top[lane] = larger(top[lane], value)
      }
      let label = photoLabels[across.nearest(i)]
      let belongs = label < scores.classCount && (coarseThreshold <= 0 || largest(best) >= coarseThreshold)
      labels[i] = belongs ? label : Self.noClass
      probabilities[i] = label < scores.classCount ? floats(sum)[Int(label)] : 0
    }
  }

  /// Forgets the largest probabilities.
  func resetTop() {
    for worker in workers {
      for lane in 0..<classLanes { worker.top[lane] = Eight(repeating: 0) }
    }
  }

  /// The largest half-size probability of a class, over all rows evaluated since `resetTop`.
  func top(_ label: Int) -> Float {
    var best: Float = 0
    for worker in workers { best = max(best, floats(worker.top)[label]) }
    return best
  }

  /// One row of the mask prompts of a few classes: half-size probabilities resampled to the prompt's size.
  ///
  /// - Shapes: `classes` [count]; class k's row goes to `out + k * stride` [geometry.promptWidth],
  ///   overwritten.
  /// - Units: `alpha` times the probability where that is above `coarseThreshold`, else 0.
  func promptRow(
    _ row: Int, _ geometry: PhotoGeometry, classes: ArraySlice<Int>, coarseThreshold: Float, alpha: Float,
    worker index: Int, out: UnsafeMutablePointer<Float>, stride: Int
  ) {
    let worker = workers[index]
    let across = AxisSampling(from: geometry.halfWidth, to: geometry.promptWidth)
    var column = HalfColumn(self, geometry, promptRow: row, worker)
    for x in 0..<geometry.promptWidth {
      let tap = across.tap(x)
      let left = floats(column.cell(tap.lower))
      let right = floats(column.cell(tap.upper))
      for (slot, label) in classes.enumerated() {
        let value = left[label] * (1 - tap.fraction) + right[label] * tap.fraction
        out[slot * stride + x] = value > coarseThreshold ? alpha * value : 0
      }
    }
  }
}

/// Class probabilities of half-size cells, blended over the two half-size rows that a prompt row reads.
private struct HalfColumn {
  private let across: AxisSampling
  private let lanes: Int
  private let worker: LabelWorker
  private let weights: (Float, Float, Float, Float)
  private var walkers: (ProbabilityWalker, ProbabilityWalker, ProbabilityWalker, ProbabilityWalker)
  private var held = (-1, -1)

  init(_ rows: LabelRows, _ geometry: PhotoGeometry, promptRow: Int, _ worker: LabelWorker) {
    self.worker = worker
    lanes = rows.classLanes
    across = AxisSampling(from: rows.width, to: geometry.halfWidth)
    let down = AxisSampling(from: rows.height, to: geometry.halfHeight)
    let outer = AxisSampling(from: geometry.halfHeight, to: geometry.promptHeight).tap(promptRow)
    let first = down.tap(outer.lower)
    let second = down.tap(outer.upper)
    for (slot, y) in [first.lower, first.upper, second.lower, second.upper].enumerated() {
      rows.blend(y, worker, into: worker.blends[slot])
    }
    weights = (
      (1 - outer.fraction) * (1 - first.fraction), (1 - outer.fraction) * first.fraction,
      outer.fraction * (1 - second.fraction), outer.fraction * second.fraction
    )
    func walker(_ slot: Int) -> ProbabilityWalker {
      ProbabilityWalker(rows, worker, line: worker.blends[slot], slot: slot)
    }
    walkers = (walker(0), walker(1), walker(2), walker(3))
  }

  /// The cell at half-size column `i`; even and odd columns have a place each.
  mutating func cell(_ i: Int) -> UnsafeMutablePointer<Eight> {
    let out = worker.cells + (i & 1) * lanes
    if (i & 1 == 0 ? held.0 : held.1) == i { return out }
    if i & 1 == 0 { held.0 = i } else { held.1 = i }
    for lane in 0..<lanes { out[lane] = Eight(repeating: 0) }
    let tap = across.tap(i)
    for side in 0..<2 {
      let share = side == 0 ? 1 - tap.fraction : tap.fraction
      if share == 0 { continue }
      let x = side == 0 ? tap.lower : tap.upper
      if weights.0 > 0 { walkers.0.add(x, weight: weights.0 * share, to: out) }
      if weights.1 > 0 { walkers.1.add(x, weight: weights.1 * share, to: out) }
      if weights.2 > 0 { walkers.2.add(x, weight: weights.2 * share, to: out) }
      if weights.3 > 0 { walkers.3.add(x, weight: weights.3 * share, to: out) }
    }
    return out
  }
}
