// The legend beside a label map: what made it, and what its numbers mean.
import Raster
import Segmentation
import System

/// A legend says that its map is whole and belongs to it: a run that is killed before the legend is there
/// leaves a map without one, which the next run makes again.
final class LegendSink: ResultSink {
  private let path: String
  let vouchesForOthers = true

  init(_ path: String) { self.path = path }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    let file = try AtomicFile(path: path)
    try file.write(report.legend)
    return [file]
  }
}
