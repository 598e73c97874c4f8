// The photo with its labels tinted over it.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let overlay = ResultFormat(
    "overlay", ".png",
    help: "The photo with labels tinted over it (.png, at most \(OverlaySink.sideLimit) pixels long).",
    sinks: { [OverlaySink($0)] })
}

/// A small RGB picture; borders of classes are drawn, class 0 keeps the photo's colours where it is the
/// background.
final class OverlaySink: ResultSink {
  /// Of the longer side, pixels.
  static let sideLimit = 1024
  let needs = SinkNeeds(previewSide: OverlaySink.sideLimit)
  private let path: String
  private var photo: PhotoFacts?
  private var writer: PNGWriter?
  private var preview: Preview?
  private var line: [UInt8] = []
  private var next = 0

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    self.photo = photo
    let size = PhotoGeometry.shrunk(photo.height, photo.width, longSide: Self.sideLimit)
    writer = try PNGWriter(path: path, .rgb, width: size.width, height: size.height, isSigned: true)
    line = [UInt8](repeating: 0, count: size.width * 3)
  }

  func preview(_ preview: Preview) { self.preview = preview }

  /// Writes every row of the small picture that samples this row of the photo.
  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws {
    guard let photo, let preview, let writer else { preconditionFailure("rows come after the small copy") }
    while next < preview.height, (2 * next + 1) * photo.height / (2 * preview.height) == y {
      let source = preview.pixels + next * preview.width * 3
      var last = -1
      for x in 0..<preview.width {
        let label = Int(labels[(2 * x + 1) * photo.width / (2 * preview.width)])
        let colour = Palette.standard[label % 256]
        let isEdge = last >= 0 && last != label
        last = label
        let tint =
          isEdge ? 0 : photo.classes.background && label == 0 || label == photo.classes.count ? 256 : 128
        for (channel, value) in [colour.red, colour.green, colour.blue].enumerated() {
          line[3 * x + channel] = UInt8(
            (Int(source[3 * x + channel]) * tint + Int(value) * (256 - tint)) / 256)
        }
      }
      try writer.writeRow(line)
      next += 1
    }
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] { [try writer?.end()].compactMap { $0 } }
}
