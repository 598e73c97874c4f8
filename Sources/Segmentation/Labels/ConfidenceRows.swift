// How sure the scores are of each pixel, a row of the photo at a time, beside the rows of labels.
import Compute

/// Where confidences go: a row index and [width] bytes, right before the labels of that row. False ends the
/// pass.
package typealias ConfidenceConsumer = (_ row: Int, _ confidence: UnsafePointer<UInt8>) -> Bool

/// Confidences of each label's pixels, summed while rows pass.
///
/// - Shapes: `sums`, `most` [labels].
/// - Memory: 9 bytes a label.
package struct ConfidenceSums: Equatable, Sendable {
  package let kind: ConfidenceKind
  private var sums: [Int]
  private var most: [UInt8]

  init(_ kind: ConfidenceKind, labels: Int) {
    self.kind = kind
    sums = Array(repeating: 0, count: labels)
    most = Array(repeating: 0, count: labels)
  }

  mutating func add(
    _ labels: UnsafePointer<UInt16>, _ confidence: UnsafePointer<UInt8>, width: Int
  ) {
    for x in 0..<width {
      let label = Int(labels[x])
      sums[label] += Int(confidence[x])
      most[label] = max(most[label], confidence[x])
    }
  }

  /// Mean of a label's pixels, 0 to 1; nil where it has none.
  package func mean(of label: Int, pixels: Int) -> Double? {
    guard sums.indices.contains(label), pixels > 0 else { return nil }
    return Double(sums[label]) / Double(255 * pixels)
  }

  /// The largest of a label's pixels, 0 to 1; 0 where it has none.
  package func best(of label: Int) -> Double { most.indices.contains(label) ? Double(most[label]) / 255 : 0 }

  /// Mean of all pixels, 0 to 1.
  package func mean(pixels: [Int]) -> Double {
    Double(sums.reduce(0, +)) / Double(255 * max(1, pixels.reduce(0, +)))
  }
}

/// How sure the scores are of every pixel, before borders are refined, as `ConfidenceKind` has it.
///
/// Rows come in bands, a few rows a worker, and are computed when the first of a band is asked for: label
/// rows arrive in the same order, and no second map of the photo is kept.
///
/// - Units: 255 is certain; confidence * 255, rounded.
/// - Memory: 8 bytes a pixel column for every worker, and a `LabelRows`.
final class ConfidenceRows {
  private static let rowsPerWorker = 8

  private let kind: ConfidenceKind
  private let rows: LabelRows
  /// Classes that take part.
  private let count: Int
  private let band: UnsafeMutablePointer<UInt8>
  private let bandRows: Int
  private var held = 0..<0

  /// - Memory: stays reserved.
  init(
    _ run: RunContext, _ scores: any ScoreField, _ photo: any PhotoPixels, _ settings: LabelSettings,
    _ kind: ConfidenceKind = .probability
  ) throws(ComputeError) {
    self.kind = kind
    rows = try LabelRows(
      run.arena, engine: run.engine, scores: scores, height: photo.height, width: photo.width,
      settings: settings)
    count = settings.keeps.isEmpty ? scores.grid.classCount : settings.keeps.count { $0 }
    bandRows = Self.rowsPerWorker * run.engine.pool.threadCount
    band = try run.arena.reserve(UInt8.self, bandRows * photo.width)
  }

  /// Confidences of photo row `y`; the calls' rows ascend.
  ///
  /// - Shapes: the result [width], valid until the next call.
  func row(_ y: Int) -> UnsafePointer<UInt8> {
    if !held.contains(y) {
      held = y..<min(y + bandRows, rows.height)
      rows.engine.pool.run(count: held.count, chunk: Self.rowsPerWorker) { range, worker in
        for row in range { fill(y + row, worker: worker, into: band + row * rows.width) }
      }
    }
    return UnsafePointer(band + (y - held.lowerBound) * rows.width)
  }

  private func fill(_ y: Int, worker index: Int, into out: UnsafeMutablePointer<UInt8>) {
    let worker = rows.workers[index]
    let line = worker.blends[0]
    rows.blend(y, worker, into: line)
    var walk = ProbabilityWalker(rows, worker, line: line, slot: 0)
    for x in 0..<rows.width {
      walk.write(x, to: worker.sum)
      for lane in 0..<rows.classLanes { worker.sum[lane] *= rows.masks.classes[lane] }
      let probabilities = UnsafePointer(floats(worker.sum))
      let sure =
        switch kind {
        case .probability: largestProbability(worker.sum)
        case .margin: ConfidenceKind.margin(probabilities, rows.scores.classCount)
        case .entropy: ConfidenceKind.clarity(probabilities, rows.scores.classCount, taking: count)
        }
      out[x] = UInt8(max(0, min(sure, 1)) * 255 + 0.5)
    }
  }

  @inline(__always)
  private func largestProbability(_ classes: UnsafeMutablePointer<Eight>) -> Float {
    var best = Eight(repeating: 0)
    for lane in 0..<rows.classLanes { best = larger(best, classes[lane]) }
    return largest(best)
  }
}

extension ConfidenceKind {
  /// The largest less the second.
  ///
  /// - Shapes: `probabilities` [count].
  package static func margin(_ probabilities: UnsafePointer<Float>, _ count: Int) -> Float {
    var (first, second): (Float, Float) = (0, 0)
    for label in 0..<count {
      let value = probabilities[label]
      if value > first {
        (first, second) = (value, first)
      } else if value > second {
        second = value
      }
    }
    return first - second
  }

  /// One less the entropy over its largest value.
  ///
  /// - Shapes: `probabilities` [count], of which `taking` classes take part: the others are 0.
  package static func clarity(_ probabilities: UnsafePointer<Float>, _ count: Int, taking: Int) -> Float {
    if taking < 2 { return 1 }
    guard let entropy = shareEntropy(probabilities, count) else { return 0 }
    return 1 - entropy / naturalLogarithm(Float(taking))
  }
}

/// Entropy of numbers from 0 on, brought to sum one; nil where they are all 0.
///
/// - Shapes: `shares` [count].
/// - Units: natural logarithm.
func shareEntropy(_ shares: UnsafePointer<Float>, _ count: Int) -> Float? {
  var (sum, weighted): (Float, Float) = (0, 0)
  for index in 0..<count where shares[index] > .leastNormalMagnitude {
    sum += shares[index]
    weighted += shares[index] * naturalLogarithm(shares[index])
  }
  return sum < .leastNormalMagnitude ? nil : naturalLogarithm(sum) - weighted / sum
}
