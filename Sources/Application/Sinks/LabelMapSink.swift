// The label map as PNG or TIFF, and which legend lies beside it.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let labelMap: ResultFormat = {
    var format = ResultFormat(
      "output", ".png",
      help:
        "Label map (.png, or .tif with a GeoTIFF's place); for several photos a folder of PNGs, as for the "
        + "next two.",
      files: { files(of: $0) },
      sinks: { path in
        let others = files(of: path).dropFirst()
        let legend = others.last.map { [LegendSink($0)] } ?? []
        guard isTIFF(path) else { return [LabelMapSink(path)] + legend }
        return [LabelTIFFSink(path), GDALSink(path + sideEnding)] + legend
      })
    format.otherEndings = [".tif", ".tiff"]
    return format
  }()

  private static let sideEnding = ".aux.xml"

  private static func isTIFF(_ path: String) -> Bool {
    [".tif", ".tiff"].contains { path.lowercased().hasSuffix($0) }
  }

  /// The map, GDAL's side file for a TIFF, the legend; a map on standard output is alone.
  private static func files(of map: String) -> [String] {
    guard map != "-" else { return [map] }
    let isTIFF = isTIFF(map)
    let stem = isTIFF || map.hasSuffix(".png") ? folder(of: map) + baseName(map) : map
    return isTIFF ? [map, map + sideEnding, stem + ".json"] : [map, stem + ".json"]
  }
}

/// A row of labels in 8 bits, where they fit.
private struct NarrowRow {
  private let width: Int
  /// Empty above 256 labels.
  private var bytes: [UInt8]

  var isWide: Bool { bytes.isEmpty }

  init(_ photo: PhotoFacts) {
    width = photo.width
    bytes = [UInt8](repeating: 0, count: photo.titles.count <= 256 ? photo.width : 0)
  }

  mutating func narrowed(_ labels: UnsafePointer<UInt16>) -> [UInt8] {
    for x in 0..<width { bytes[x] = UInt8(truncatingIfNeeded: labels[x]) }
    return bytes
  }
}

/// 8-bit indexed up to 256 classes, 16-bit grey above.
final class LabelMapSink: ResultSink {
  private let path: String
  private var writer: PNGWriter?
  private var narrow: NarrowRow?

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    let narrow = NarrowRow(photo)
    self.narrow = narrow
    writer = try PNGWriter(
      path: path, narrow.isWide ? .grey16 : .indexed(photo.colours.palette), width: photo.width,
      height: photo.height, isSigned: !narrow.isWide && !photo.colours.isVOC)
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws {
    if narrow?.isWide == true { return try writer?.writeRow(labels) ?? () }
    if let bytes = narrow?.narrowed(labels) { try writer?.writeRow(bytes) }
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] { [try writer?.end()].compactMap { $0 } }
}

/// The same as TIFF, where the photo lies on earth.
final class LabelTIFFSink: ResultSink {
  private let path: String
  private var writer: LabelTIFFWriter?
  private var narrow: NarrowRow?

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    let narrow = NarrowRow(photo)
    self.narrow = narrow
    // Pixels that may be of no class have the label behind the last one.
    let noData = photo.titles.count > photo.classes.titles.count ? photo.titles.count - 1 : nil
    writer = try LabelTIFFWriter(
      path: path,
      LabelTIFFWriter.Facts(
        width: photo.width, height: photo.height, palette: narrow.isWide ? nil : photo.colours.palette,
        place: photo.place, noData: noData))
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws {
    if narrow?.isWide == true { return try writer?.writeRow(labels) ?? () }
    if let bytes = narrow?.narrowed(labels) { try writer?.writeRow(bytes) }
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] { [try writer?.end()].compactMap { $0 } }
}
