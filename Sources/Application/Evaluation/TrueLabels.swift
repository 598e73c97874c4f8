// A label map as rows of classes.
import Raster
import Segmentation
import System

/// The true labels of one photo, row by row.
///
/// - Shapes: rows [width] of classes, `LabelRule.ignored`, or stray numbers.
/// - Errors: `.photo`: not a label map, damaged, or of another size than the photo.
package final class TrueLabels {
  private let decoder: NumberDecoder
  private let table: [UInt16]
  private let numbers: LabelNumbers?
  package private(set) var row: [UInt16]

  /// `numbers`: learns what is stored. `isTurned`: the photo is not seen as it is stored.
  init(
    _ photo: LabelledPhoto, width: Int, height: Int, table: [UInt16], numbers: LabelNumbers? = nil,
    isTurned: Bool = false
  ) throws(SegmentationError) {
    do throws(RasterError) {
      decoder = try NumberDecoder(path: photo.labels)
    } catch {
      throw SegmentationError(.photo(error.description))
    }
    if isTurned, decoder.width == height, decoder.height == width, width != height {
      throw SegmentationError(
        .photo(
          "is \(decoder.width) x \(decoder.height): its photo \(photo.photo) is stored so, and EXIF turns it "
            + "to \(width) x \(height); --orientation stored reads photos as they are stored"),
        path: photo.labels)
    }
    guard decoder.width == width, decoder.height == height else {
      throw SegmentationError(
        .photo(
          "is \(decoder.width) x \(decoder.height), its photo \(photo.photo) \(width) x \(height); "
            + "make them agree"),
        path: photo.labels)
    }
    (self.table, self.numbers) = (table, numbers)
    row = [UInt16](repeating: 0, count: width)
  }

  /// Brings the next row to `row`.
  package func next() throws(SegmentationError) {
    do throws(RasterError) {
      try decoder.readRow(into: &row)
    } catch {
      throw SegmentationError(.photo(error.description))
    }
    numbers?.add(row)
    for x in row.indices { row[x] = table[Int(row[x])] }
  }
}
