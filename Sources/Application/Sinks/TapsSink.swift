// Intermediate results by name, for comparisons with the reference.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let taps = ResultFormat("taps", ".taps", help: "", sinks: { [TapsSink($0)] })
}

/// The `.taps` format of the reference generator.
final class TapsSink: ResultSink {
  let needs = SinkNeeds(taps: true)
  private let path: String
  private var file: AtomicFile?

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws { file = try AtomicFile(path: path) }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    guard let file, let taps = report.taps else { return [] }
    try file.write(taps.file())
    return [file]
  }
}
