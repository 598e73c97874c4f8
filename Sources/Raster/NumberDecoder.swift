// Reads a picture of numbers: class indices of a label map, not colours.

import CRaster
import System

/// A PNG of numbers, decoded from top to bottom.
///
/// Palette pictures give their indices and grey ones their samples as stored: the colours of a palette and
/// the stretching of 1-, 2- and 4-bit grey are for people.
///
/// - Shapes: a row is [width] of 16-bit numbers.
/// - Memory: 96 KiB and three rows; an interlaced file is held as a whole, from the first row on.
/// - Errors: a file that is no PNG, holds colours or transparency, or is cut short or damaged.
package final class NumberDecoder {
  package let path: String
  package let width: Int
  package let height: Int
  private let file: InputFile
  private let decoder: OpaquePointer
  private var nextRow = 0

  /// Opens the file and reads its headers.
  package init(path: String) throws(RasterError) {
    let file = try InputFile.openOrStandardInput(path: path)
    guard try file.bytes(at: 0, upTo: 8) == [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A] else {
      let kind = try FileKind(file)
      if case .foreign(let name, _) = kind { throw RasterError(.notNumbers("it is \(name)"), path: path) }
      throw RasterError(.notNumbers("no png"), path: path)
    }
    var info = cr_png_info()
    var failure = cr_failure()
    guard let decoder = cr_png_open(file.descriptor, Int32(CR_PNG_NUMBERS), &info, &failure) else {
      if failure.code == CR_UNSUPPORTED { throw RasterError(.notNumbers("it holds colours"), path: path) }
      throw RasterError(failure, path: path)
    }
    self.path = path
    self.file = file
    self.decoder = decoder
    width = Int(info.width)
    height = Int(info.height)
    guard width * height <= PhotoDecoder.pixelLimit else {
      throw RasterError(.badSize(width: width, height: height), path: path)
    }
  }

  deinit { cr_png_close(decoder) }

  /// Decodes the next row.
  ///
  /// - Shapes: `row` [width], overwritten.
  /// - Errors: damage up to this row; with the last row also a missing end of file.
  package func readRow(into row: UnsafeMutablePointer<UInt16>) throws(RasterError) {
    precondition(nextRow < height, "all \(height) rows have been read")
    var failure = cr_failure()
    // Not before: whoever opens a file looks at its size first.
    if nextRow == 0, cr_png_start(decoder, &failure) != CR_OK { throw RasterError(failure, path: path) }
    var code = cr_png_numbers(decoder, row, &failure)
    if code == CR_OK && nextRow + 1 == height { code = cr_png_finish(decoder, &failure) }
    if code != CR_OK { throw RasterError(failure, path: path, row: nextRow) }
    nextRow += 1
  }
}
