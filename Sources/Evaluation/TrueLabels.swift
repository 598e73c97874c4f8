// A label map as rows of classes.
import Raster
import Segmentation

/// The true labels of one photo, row by row.
///
/// - Shapes: rows [width] of classes, `LabelRule.ignored`, or stray numbers.
/// - Errors: `.photo`: not a label map, damaged, or of another size than the photo.
package final class TrueLabels {
  private let decoder: NumberDecoder
  private let table: [UInt16]
  package private(set) var row: [UInt16]

  package init(_ photo: LabelledPhoto, width: Int, height: Int, table: [UInt16]) throws(SegmentationError) {
    do throws(RasterError) {
      decoder = try NumberDecoder(path: photo.labels)
    } catch {
      throw SegmentationError(.photo(error.description))
    }
    guard decoder.width == width, decoder.height == height else {
      throw SegmentationError(
        .photo("is \(decoder.width) x \(decoder.height), its photo \(photo.photo) \(width) x \(height); make them agree"),
        path: photo.labels)
    }
    self.table = table
    row = [UInt16](repeating: 0, count: width)
  }

  /// Brings the next row to `row`.
  package func next() throws(SegmentationError) {
    do throws(RasterError) {
      try decoder.readRow(into: &row)
    } catch {
      throw SegmentationError(.photo(error.description))
    }
    for x in row.indices { row[x] = table[Int(row[x])] }
  }
}
