// The label map as PNG, and which legend lies beside it.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let labelMap = ResultFormat(
    "output", ".png", help: "Label map (.png); for several photos a folder, as for the next two.",
    files: { [$0] + [legendPath($0)].compactMap { $0 } },
    sinks: { path in [LabelMapSink(path)] + [legendPath(path)].compactMap { $0.map { LegendSink($0) } } })

  /// A map on standard output has none.
  private static func legendPath(_ map: String) -> String? {
    map == "-" ? nil : (map.hasSuffix(".png") ? String(map.dropLast(4)) : map) + ".json"
  }
}

/// 8-bit indexed up to 256 classes, 16-bit grey above.
final class LabelMapSink: ResultSink {
  private let path: String
  private var width = 0
  private var writer: PNGWriter?
  /// A row of 8 bits a pixel; empty above 256 classes.
  private var bytes: [UInt8] = []

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    width = photo.width
    let isSmall = photo.titles.count <= 256
    bytes = [UInt8](repeating: 0, count: isSmall ? width : 0)
    writer = try PNGWriter(
      path: path, isSmall ? .indexed(photo.colours.palette) : .grey16, width: width, height: photo.height,
      isSigned: isSmall && !photo.colours.isVOC)
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws {
    if bytes.isEmpty { return try writer?.writeRow(labels) ?? () }
    for x in 0..<width { bytes[x] = UInt8(truncatingIfNeeded: labels[x]) }
    try writer?.writeRow(bytes)
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] { [try writer?.end()].compactMap { $0 } }
}
