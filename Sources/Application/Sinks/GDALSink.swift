// Names of a label map's classes for GDAL: the side file that its tools read with a raster.
import Segmentation
import System

extension ResultFormat {
  package static let gdal = ResultFormat(
    "gdal", ".png.aux.xml",
    help: "Class names for GDAL: LABELS.png.aux.xml beside LABELS.png (a label map in TIFF has its own).",
    sinks: { [GDALSink($0)] })
}

/// Writes GDAL's persistent auxiliary metadata: a category a label. Colours are in the map itself; above 256
/// classes it is grey, and GDAL's drivers for PNG and TIFF take none from here.
///
/// - Source: GDAL `gcore/gdalpamdataset.cpp`, the elements of `PAMRasterBand`.
final class GDALSink: ResultSink {
  /// How its files begin, and what GDAL keeps where it adds statistics to them.
  static let beginning = "<PAMDataset>\n"
  static let mark = "<MDI key=\"SOFTWARE\">trident</MDI>"

  private let path: String
  private var text = ""

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    text = Self.beginning + "  <Metadata>\n    \(Self.mark)\n  </Metadata>\n  <PAMRasterBand band=\"1\">\n"
    text += "    <CategoryNames>\n"
    for title in photo.titles { text += "      <Category>\(xmlText(title))</Category>\n" }
    text += "    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    let file = try AtomicFile(path: path)
    try file.write(text)
    return [file]
  }
}
