// JPEG out, row by row, complete or not at all.

import CRaster
import System

/// Writes a picture as baseline JPEG: an atomic file with libjpeg in front. A comment names this program.
///
/// - Shapes: rows [width * 3], RGB, height times.
/// - Memory: about 64 KiB and 16 rows.
/// - Errors: those of `AtomicFile`; `.badSize` beyond 65,500 pixels a side.
package final class JPEGWriter: PictureWriter {
  private let file: AtomicFile
  private let height: Int
  private var writer: OpaquePointer?
  private var row = 0

  /// Writes the headers to `file`. `quality`: 1...100, as libjpeg has it.
  package init(_ file: AtomicFile, width: Int, height: Int, quality: Int = 92) throws(RasterError) {
    precondition((1...100).contains(quality), "quality is 1 to 100")
    guard (1...65_500).contains(width), (1...65_500).contains(height) else {
      throw RasterError(.badSize(width: width, height: height), path: file.path)
    }
    (self.file, self.height) = (file, height)
    var failure = cr_failure()
    writer = cr_jpeg_writer_open(
      file.openDescriptor, UInt32(width), UInt32(height), Int32(quality), &failure)
    if writer == nil { throw RasterError(failure, path: file.path) }
  }

  deinit { cr_jpeg_writer_close(writer) }

  package func writeRow(_ row: UnsafePointer<UInt8>) throws(RasterError) {
    precondition(self.row < height, "all \(height) rows have been written")
    var failure = cr_failure()
    guard let writer else { throw RasterError(.corrupt("writer is spent"), path: file.path) }
    try check(cr_jpeg_writer_row(writer, row, &failure), failure)
    self.row += 1
  }

  package func end() throws(RasterError) -> AtomicFile {
    precondition(row == height, "\(row) of \(height) rows have been written")
    var failure = cr_failure()
    guard let writer else { throw RasterError(.corrupt("writer is spent"), path: file.path) }
    try check(cr_jpeg_writer_finish(writer, &failure), failure)
    return file
  }

  private func check(_ code: Int32, _ failure: cr_failure) throws(RasterError) {
    guard code != CR_OK else { return }
    cr_jpeg_writer_close(writer)
    writer = nil
    file.abort()
    throw RasterError(failure, path: file.path, row: row)
  }
}
