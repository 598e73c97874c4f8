// How sure the scores are of each class in a frame.
import Segmentation

/// Mean and best confidence of each label's pixels, kept and not written.
///
/// - Memory: a row of the photo, and 24 B a label.
final class SuretySink: ResultSink {
  let needs = SinkNeeds(confidence: true)
  private var row: [UInt8] = []
  private var sums: [Int] = []
  private var counts: [Int] = []
  private var best: [UInt8] = []

  func begin(_ photo: PhotoFacts) {
    row = Array(repeating: 0, count: photo.width)
    sums = Array(repeating: 0, count: photo.titles.count)
    (counts, best) = (sums, sums.map { _ in 0 })
  }

  func confidence(_ y: Int, _ confidence: UnsafePointer<UInt8>) {
    for x in row.indices { row[x] = confidence[x] }
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) {
    forEachRun(labels, width: row.count) { label, columns in
      for x in columns {
        sums[label] += Int(row[x])
        best[label] = max(best[label], row[x])
      }
      counts[label] += columns.count
    }
  }

  /// 0 to 1 each; nil for a label without a pixel.
  func surety(of label: Int) -> (mean: Double, best: Double)? {
    guard counts[label] > 0 else { return nil }
    return (Double(sums[label]) / Double(255 * counts[label]), Double(best[label]) / 255)
  }
}
