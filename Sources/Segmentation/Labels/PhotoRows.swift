// The last pass: label rows of the photo, coarse where no mask speaks, handed out from top to bottom.
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Where labels go: a row index and [width] labels. False ends the pass.
package typealias LabelConsumer = (_ row: Int, _ labels: UnsafePointer<UInt16>) -> Bool

/// Evaluates rows in bands, a few rows a worker, and merges stored masks into them.
///
/// - Memory: 8 rows of labels a worker; with masks also a row of owners a worker and `span + 1` floats a
///   column.
/// - Source: Trident's public code, `map_refinement_coarse`. A class scores the largest of its masks'
///   sigmoids times
///   its probability where a mask is positive. Among classes the softmax denominator cancels, so only pixels
///   that two classes claim are compared, and only by logits; fields of probabilities by those.
struct PhotoRows {
  private static let rowsPerWorker = 8

  private struct Worker {
    let owner: UnsafeMutablePointer<UInt16>
    let ownerLogit: UnsafeMutablePointer<Float>
    let weights: UnsafeMutablePointer<Float>
    let line: UnsafeMutablePointer<Float>
    let scratch: UnsafeMutablePointer<Float>
  }

  private let rows: LabelRows
  private let store: MaskStore?
  private let down: AxisChain
  private let across: AxisChain
  private let band: UnsafeMutablePointer<UInt16>
  private let bandRows: Int
  /// [width] and [width, span]: what each photo column reads of a logit row.
  private let columnFirst: UnsafeMutablePointer<Int32>?
  private let columnWeights: UnsafeMutablePointer<Float>?
  private let workers: [Worker]

  /// `store`: masks to merge; nil for coarse labels alone.
  init(_ arena: Arena, rows: LabelRows, geometry: PhotoGeometry, store: MaskStore?) throws(ComputeError) {
    self.rows = rows
    self.store = store
    bandRows = Self.rowsPerWorker * rows.engine.pool.threadCount
    band = try arena.reserve(UInt16.self, bandRows * rows.width)
    down = .rows(of: geometry)
    across = .columns(of: geometry)
    guard store != nil else {
      columnFirst = nil
      columnWeights = nil
      workers = []
      return
    }
    let first = try arena.reserve(Int32.self, rows.width)
    let weights = try arena.floats(rows.width * across.span)
    var workers: [Worker] = []
    let side = 4 * geometry.grid
    for _ in 0..<rows.engine.pool.threadCount {
      workers.append(
        Worker(
          owner: try arena.reserve(UInt16.self, rows.width), ownerLogit: try arena.floats(rows.width),
          weights: try arena.floats(down.span), line: try arena.floats(side + across.span),
          scratch: try arena.floats(side)))
    }
    self.workers = workers
    columnFirst = first
    columnWeights = weights
    if arena.isCounting { return }
    for x in 0..<rows.width { first[x] = Int32(across.band(x, weights: weights + x * across.span)) }
    bindColumns()
  }

  /// Finds the photo columns that each mask can answer for.
  private func bindColumns() {
    guard let store, let columnFirst else { return }
    for index in 0..<store.count {
      let mask = store.masks[index]
      var begin = 0
      while begin < rows.width && columnFirst[begin] < mask.x { begin += 1 }
      var end = begin
      while end < rows.width && across.range(end).upper < Int(mask.x + mask.width) { end += 1 }
      store.masks[index].firstColumn = Int32(begin)
      store.masks[index].endColumn = Int32(end)
    }
  }

  /// Runs the pass.
  ///
  /// - Shapes: `pixels` [classCount], counted up.
  func run(pixels: UnsafeMutablePointer<Int>, _ consume: LabelConsumer) {
    let width = rows.width
    var start = 0
    while start < rows.height {
      let count = min(bandRows, rows.height - start)
      rows.engine.pool.run(count: count, chunk: Self.rowsPerWorker) { range, worker in
        for row in range {
          let line = band + row * width
          rows.labels(start + row, worker: worker, into: line)
          if let store, store.count > 0 { merge(store, start + row, worker, into: line) }
        }
      }
      for row in 0..<count {
        let line = band + row * width
        for x in 0..<width { pixels[Int(line[x])] += 1 }
        if !consume(start + row, line) { return }
      }
      start += count
    }
  }

  /// Puts the masks over one row of coarse labels.
  private func merge(_ store: MaskStore, _ y: Int, _ index: Int, into labels: UnsafeMutablePointer<UInt16>) {
    guard let columnFirst, let columnWeights else { return }
    let worker = workers[index]
    let span = across.span
    let range = down.range(y)
    let first = down.band(y, weights: worker.weights)
    var touched = rows.width..<rows.width
    for number in 0..<store.count {
      let mask = store.masks[number]
      guard range.lower >= Int(mask.y), range.upper < Int(mask.y + mask.height) else { continue }
      let columns = Int(mask.firstColumn)..<Int(mask.endColumn)
      if columns.isEmpty { continue }
      if touched.isEmpty {
        worker.owner.update(repeating: LabelRows.noClass, count: rows.width)
        touched = columns
      }
      touched = min(touched.lowerBound, columns.lowerBound)..<max(touched.upperBound, columns.upperBound)
      store.blend(
        mask, first: first, weights: worker.weights, count: range.upper - range.lower + 1,
        scratch: worker.scratch,
        into: worker.line)
      (worker.line + Int(mask.width)).update(repeating: 0, count: span)
      for x in columns {
        let cells = worker.line + Int(columnFirst[x] - mask.x)
        let weights = columnWeights + x * span
        var logit: Float = 0
        for tap in 0..<span { logit += weights[tap] * cells[tap] }
        if logit > 0 { claim(x, mask.label, logit, worker, rows.workers[index].blends[0]) }
      }
    }
    for x in touched where worker.owner[x] != LabelRows.noClass { labels[x] = worker.owner[x] }
  }

  /// Gives a pixel to a class if nobody has it or the class scores higher.
  @inline(__always)
  private func claim(
    _ x: Int, _ label: UInt16, _ logit: Float, _ worker: Worker, _ line: UnsafeMutablePointer<Eight>
  ) {
    let owner = worker.owner[x]
    if owner == LabelRows.noClass {
      worker.owner[x] = label
      worker.ownerLogit[x] = logit
    } else if owner == label {
      worker.ownerLogit[x] = max(worker.ownerLogit[x], logit)
    } else if beats(x, label, logit, owner, worker.ownerLogit[x], line) {
      worker.owner[x] = label
      worker.ownerLogit[x] = logit
    }
  }

  /// sigmoid(logit) * probability of `label` exceeds the owner's.
  private func beats(
    _ x: Int, _ label: UInt16, _ logit: Float, _ owner: UInt16, _ ownerLogit: Float,
    _ line: UnsafeMutablePointer<Eight>
  ) -> Bool {
    let (own, theirs) = (rows.classValue(x, Int(label), line), rows.classValue(x, Int(owner), line))
    guard rows.isSoftmax else { return own * (1 + expf(-ownerLogit)) > theirs * (1 + expf(-logit)) }
    let lead = own - theirs
    return expf(min(max(lead, -80), 80)) * (1 + expf(-ownerLogit)) > 1 + expf(-logit)
  }
}

extension LabelRows {
  /// The best logit of a class's phrases at pixel x of a blended row; of probabilities the class's own.
  func classValue(_ x: Int, _ label: Int, _ line: UnsafeMutablePointer<Eight>) -> Float {
    let (left, right) = cells(x, line)
    var best = -Float.infinity
    for phrase in Int(scores.firstPhrase[label])..<Int(scores.firstPhrase[label + 1]) {
      best = max(best, floats(left)[phrase] * (1 - fraction[x]) + floats(right)[phrase] * fraction[x])
    }
    return best
  }
}

extension AxisChain {
  static func rows(of geometry: PhotoGeometry) -> AxisChain {
    AxisChain(
      low: 4 * geometry.grid, square: geometry.imageSide, valid: geometry.inputHeight,
      padded: geometry.paddedHeight, full: geometry.height)
  }

  static func columns(of geometry: PhotoGeometry) -> AxisChain {
    AxisChain(
      low: 4 * geometry.grid, square: geometry.imageSide, valid: geometry.inputWidth,
      padded: geometry.paddedWidth, full: geometry.width)
  }
}
