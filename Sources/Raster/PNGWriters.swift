// PNG out, row by row, complete or not at all.

import CRaster

/// What the three writers share: an atomic file with libpng in front.
///
/// - Memory: 160 KiB and four rows at most: zlib takes 128 KiB (16 KiB window), libpng's buffer 8 KiB.
private final class PNGOutput {
  let file: AtomicFile
  let height: Int
  private var writer: OpaquePointer?
  private var row = 0

  init(path: String, layout: cr_png_layout) throws(RasterError) {
    let limit = 1 << 24
    let (width, height) = (Int(layout.width), Int(layout.height))
    guard (1...limit).contains(width), (1...limit).contains(height) else {
      throw RasterError(.badSize(width: width, height: height), path: path)
    }
    self.height = height
    file = try AtomicFile(path: path)
    var failure = cr_failure()
    var layout = layout
    writer = cr_png_writer_open(file.openDescriptor, &layout, &failure)
    if writer == nil { throw RasterError(failure, path: path) }
  }

  deinit { cr_png_writer_close(writer) }

  func write(_ bytes: UnsafeRawPointer) throws(RasterError) {
    precondition(row < height, "all \(height) rows have been written")
    var failure = cr_failure()
    guard let writer else { throw RasterError(.corrupt("writer is spent"), path: file.path) }
    try check(cr_png_writer_row(writer, bytes, &failure), failure)
    row += 1
  }

  func finish(_ ready: () -> Void) throws(RasterError) {
    precondition(row == height, "\(row) of \(height) rows have been written")
    var failure = cr_failure()
    guard let writer else { throw RasterError(.corrupt("writer is spent"), path: file.path) }
    try check(cr_png_writer_finish(writer, &failure), failure)
    try file.finish(ready)
  }

  private func check(_ code: Int32, _ failure: cr_failure) throws(RasterError) {
    guard code != CR_OK else { return }
    cr_png_writer_close(writer)
    writer = nil
    file.abort()
    throw RasterError(failure, path: file.path, row: row)
  }
}

private func makeLayout(_ kind: Int, _ width: Int, _ height: Int, _ compression: Int) -> cr_png_layout {
  precondition((0...9).contains(compression), "compression is 0 to 9")
  var layout = cr_png_layout()
  layout.width = UInt32(clamping: width)
  layout.height = UInt32(clamping: height)
  layout.kind = Int32(kind)
  layout.level = Int32(compression)
  return layout
}

/// Writes a label map as an 8-bit indexed PNG.
///
/// - Shapes: rows [width] of palette indices, height times.
/// - Memory: `pngWriterByteCount(width:)`.
/// - Errors: those of `AtomicFile`; the target is untouched until `finish()` returns.
package final class IndexedPNGWriter {
  private let output: PNGOutput

  /// Creates the file beside `path` and writes the headers; `compression` is zlib's level.
  package init(
    path: String, width: Int, height: Int, palette: Palette = .standard, compression: Int = 6
  ) throws(RasterError) {
    var layout = makeLayout(CR_INDEXED, width, height, compression)
    layout.colour_count = Int32(palette.count)
    let result = palette.bytes.withUnsafeBufferPointer { bytes in
      layout.colours = bytes.baseAddress
      return Result<PNGOutput, RasterError> { () throws(RasterError) in
        try PNGOutput(path: path, layout: layout)
      }
    }
    output = try result.get()
  }

  /// Writes the next row. Shapes: `row` [width], each below the palette's count.
  package func writeRow(_ row: UnsafePointer<UInt8>) throws(RasterError) { try output.write(row) }

  /// Ends the file and gives it its name; `ready` as in `AtomicFile`.
  package func finish(_ ready: () -> Void = {}) throws(RasterError) { try output.finish(ready) }
}

/// Writes a label map as a 16-bit greyscale PNG.
///
/// - Shapes: rows [width] of native 16-bit numbers, height times.
/// - Memory: `pngWriterByteCount(width:)`.
/// - Errors: those of `AtomicFile`; the target is untouched until `finish()` returns.
package final class GreyPNGWriter {
  private let output: PNGOutput

  /// Creates the file beside `path` and writes the headers; `compression` is zlib's level.
  package init(path: String, width: Int, height: Int, compression: Int = 6) throws(RasterError) {
    output = try PNGOutput(path: path, layout: makeLayout(CR_GREY16, width, height, compression))
  }

  /// Writes the next row. Shapes: `row` [width].
  package func writeRow(_ row: UnsafePointer<UInt16>) throws(RasterError) { try output.write(row) }

  /// Ends the file and gives it its name; `ready` as in `AtomicFile`.
  package func finish(_ ready: () -> Void = {}) throws(RasterError) { try output.finish(ready) }
}

/// Writes a picture as an 8-bit RGB PNG.
///
/// - Shapes: rows [width * 3], height times.
/// - Memory: `pngWriterByteCount(width:)`.
/// - Errors: those of `AtomicFile`; the target is untouched until `finish()` returns.
package final class RGBPNGWriter {
  private let output: PNGOutput

  /// Creates the file beside `path` and writes the headers; `compression` is zlib's level.
  package init(path: String, width: Int, height: Int, compression: Int = 6) throws(RasterError) {
    output = try PNGOutput(path: path, layout: makeLayout(CR_RGB, width, height, compression))
  }

  /// Writes the next row. Shapes: `row` [width * 3].
  package func writeRow(_ row: UnsafePointer<UInt8>) throws(RasterError) { try output.write(row) }

  /// Ends the file and gives it its name; `ready` as in `AtomicFile`.
  package func finish(_ ready: () -> Void = {}) throws(RasterError) { try output.finish(ready) }
}

/// Upper bound of what any of the three writers allocates.
///
/// - Units: bytes: 128 KiB of zlib, 32 KiB of libpng and the objects, and four rows of 3 bytes a pixel.
package func pngWriterByteCount(width: Int) -> Int { 160 * 1024 + 4 * (3 * width + 64) }
