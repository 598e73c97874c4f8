// The half-size copy that regions and prompts come from: labels by nearest, probabilities by bilinear.
import Compute

extension LabelRows {
  /// Adds `weight` times the class probabilities of half-size pixel (j, i), a blend of up to four pixels.
  ///
  /// - Shapes: `upper`, `lower`: blended rows of the two photo rows that `vertical.tap(j)` names.
  @inline(__always)
  private func addHalf(
    _ tap: (lower: Int, upper: Int, fraction: Float), rowFraction: Float, weight: Float,
    _ upper: UnsafeMutablePointer<Eight>, _ lower: UnsafeMutablePointer<Eight>, _ worker: LabelWorker,
    to sum: UnsafeMutablePointer<Eight>
  ) {
    for side in 0..<2 {
      let across = weight * (side == 0 ? 1 - tap.fraction : tap.fraction)
      if across == 0 { continue }
      let x = side == 0 ? tap.lower : tap.upper
      let above = cells(x, upper)
      addProbabilities(above.left, above.right, fraction[x], weight: across * (1 - rowFraction), worker, to: sum)
      if rowFraction == 0 { continue }
      let below = cells(x, lower)
      addProbabilities(below.left, below.right, fraction[x], weight: across * rowFraction, worker, to: sum)
    }
  }

  /// One row of the half-size copy.
  ///
  /// - Shapes: `labels`, `probabilities` [width / 2], overwritten: the class (or `noClass`) and that class's
  ///   probability; `photoLabels` [width], scratch. The worker's `top` collects each class's largest probability.
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
    for i in 0..<width / 2 {
      for lane in 0..<classLanes { worker.sum[lane] = Eight(repeating: 0) }
      addHalf(
        across.tap(i), rowFraction: rows.fraction, weight: 1, worker.blends[0], worker.blends[1], worker,
        to: worker.sum)
      var best = Eight(repeating: 0)
      for lane in 0..<classLanes {
        let value = worker.sum[lane]
        best = larger(best, value)
        worker.top[lane] = larger(worker.top[lane], value)
      }
      let label = photoLabels[across.nearest(i)]
      let belongs = coarseThreshold <= 0 || largest(best) >= coarseThreshold
      labels[i] = belongs ? label : Self.noClass
      probabilities[i] = floats(worker.sum)[Int(label)]
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
  /// - Shapes: `classes` [count]; class k's row goes to `out + k * stride` [geometry.promptWidth], overwritten.
  /// - Units: `alpha` times the probability where that is above `coarseThreshold`, else 0.
  func promptRow(
    _ row: Int, _ geometry: PhotoGeometry, classes: ArraySlice<Int>, coarseThreshold: Float, alpha: Float,
    worker index: Int, out: UnsafeMutablePointer<Float>, stride: Int
  ) {
    let worker = workers[index]
    let down = AxisSampling(from: height, to: geometry.halfHeight)
    let across = AxisSampling(from: width, to: geometry.halfWidth)
    let promptDown = AxisSampling(from: geometry.halfHeight, to: geometry.promptHeight)
    let promptAcross = AxisSampling(from: geometry.halfWidth, to: geometry.promptWidth)
    let outer = promptDown.tap(row)
    let rows = [down.tap(outer.lower), down.tap(outer.upper)]
    for side in 0..<2 {
      blend(rows[side].lower, worker, into: worker.blends[2 * side])
      blend(rows[side].upper, worker, into: worker.blends[2 * side + 1])
    }
    for column in 0..<geometry.promptWidth {
      let tap = promptAcross.tap(column)
      for lane in 0..<classLanes { worker.sum[lane] = Eight(repeating: 0) }
      for side in 0..<4 {
        let vertical = side < 2 ? 1 - outer.fraction : outer.fraction
        let weight = vertical * (side & 1 == 0 ? 1 - tap.fraction : tap.fraction)
        if weight == 0 { continue }
        let half = side / 2
        addHalf(
          across.tap(side & 1 == 0 ? tap.lower : tap.upper), rowFraction: rows[half].fraction, weight: weight,
          worker.blends[2 * half], worker.blends[2 * half + 1], worker, to: worker.sum)
      }
      for (slot, label) in classes.enumerated() {
        let value = floats(worker.sum)[label]
        out[slot * stride + column] = value > coarseThreshold ? alpha * value : 0
      }
    }
  }
}
