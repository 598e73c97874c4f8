// How sure the scores are of each pixel, as a grey PNG.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let confidence = ResultFormat(
    "confidence", ".png",
    help: "How sure each pixel is (.png, 8-bit grey), 255 is certain; --confidence-kind says what counts.",
    sinks: { [ConfidenceSink($0)] })
}

/// 8-bit grey, of the photo's size.
final class ConfidenceSink: ResultSink {
  let needs = SinkNeeds(confidence: true)
  private let path: String
  private var writer: PNGWriter?

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    writer = try PNGWriter(path: path, .grey8, width: photo.width, height: photo.height, isSigned: true)
  }

  func confidence(_ y: Int, _ confidence: UnsafePointer<UInt8>) throws { try writer?.writeRow(confidence) }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] { [try writer?.end()].compactMap { $0 } }
}
