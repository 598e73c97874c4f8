// Class scores before upsampling, as a NumPy array.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let scores = ResultFormat(
    "scores", ".npy", help: "Class scores before upsampling: float32 NPY [classes, gridH, gridW].",
    sinks: { [ScoresSink($0)] })
}

/// Float32 [classes, rows, columns], streamed.
final class ScoresSink: ResultSink {
  let needs = SinkNeeds(scores: true)
  private let path: String
  private var file: AtomicFile?

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws { file = try AtomicFile(path: path) }

  func scores(classes: Int, rows: Int, columns: Int) throws {
    try file?.write(NPYHeader.encode(type: "<f4", shape: [classes, rows, columns], isSigned: true))
  }

  func scores(_ row: UnsafeBufferPointer<Float>) throws {
    precondition(1.littleEndian == 1, "values are written as they lie in memory")
    try file?.write(UnsafeRawBufferPointer(row))
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] { [file].compactMap { $0 } }
}
