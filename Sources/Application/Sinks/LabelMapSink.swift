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
        return [LabelMapSink(path)] + (isTIFF(path) ? [GDALSink(path + sideEnding)] : []) + legend
      })
    format.otherEndings = [".tif", ".tiff"]
    return format
  }()

  private static let sideEnding = ".aux.xml"

  fileprivate static func isTIFF(_ path: String) -> Bool {
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

/// 8-bit indexed up to 256 classes, 16-bit grey above; as TIFF where it is called so.
final class LabelMapSink: ResultSink {
  private let path: String
  private var writer: (any LabelWriter)?
  /// A row in 8 bits; empty above 256 labels.
  private var bytes: [UInt8] = []

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    let isSmall = photo.titles.count <= 256
    bytes = [UInt8](repeating: 0, count: isSmall ? photo.width : 0)
    let palette = isSmall ? photo.colours.palette : nil
    if ResultFormat.isTIFF(path) {
      // Pixels that may be of no class have the label behind the last one.
      let noData = photo.titles.count > photo.classes.titles.count ? photo.titles.count - 1 : nil
      writer = try LabelTIFFWriter(
        path: path,
        LabelTIFFWriter.Facts(
          width: photo.width, height: photo.height, palette: palette, place: photo.place, noData: noData))
    } else {
      writer = try PNGWriter(
        path: path, palette.map { .indexed($0) } ?? .grey16, width: photo.width, height: photo.height,
        isSigned: isSmall && !photo.colours.isVOC)
    }
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws {
    if bytes.isEmpty { return try writer?.writeRow(labels) ?? () }
    for x in bytes.indices { bytes[x] = UInt8(truncatingIfNeeded: labels[x]) }
    try writer?.writeRow(bytes)
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] { [try writer?.end()].compactMap { $0 } }
}
