// PNG out, row by row, complete or not at all.

import CRaster
import System

/// How a PNG stores its pixels.
package enum PNGLayout: Sendable {
  /// One byte a pixel, each below the palette's count.
  case indexed(Palette)
  /// One byte a pixel.
  case grey8
  /// One native 16-bit number a pixel.
  case grey16
  /// Three bytes a pixel.
  case rgb

  private var form: (kind: Int, bytesPerPixel: Int) {
    switch self {
    case .indexed: (CR_INDEXED, 1)
    case .grey8: (CR_GREY8, 1)
    case .grey16: (CR_GREY16, 2)
    case .rgb: (CR_RGB, 3)
    }
  }

  var bytesPerPixel: Int { form.bytesPerPixel }

  /// Starts a PNG; nil, and why in `failure`. `compression` is zlib's level.
  func open(
    _ descriptor: Int32, width: Int, height: Int, compression: Int, isSigned: Bool,
    _ failure: inout cr_failure
  ) -> OpaquePointer? {
    precondition((0...9).contains(compression), "compression is 0 to 9")
    var layout = cr_png_layout()
    (layout.width, layout.height) = (UInt32(width), UInt32(height))
    (layout.kind, layout.level) = (Int32(form.kind), Int32(compression))
    layout.is_signed = isSigned ? 1 : 0
    guard case .indexed(let palette) = self else { return cr_png_writer_open(descriptor, &layout, &failure) }
    layout.colour_count = Int32(palette.count)
    return palette.bytes.withUnsafeBufferPointer { bytes in
      layout.colours = bytes.baseAddress
      return cr_png_writer_open(descriptor, &layout, &failure)
    }
  }
}

/// Writes a picture as PNG: an atomic file with libpng in front.
///
/// - Shapes: rows [width] of the layout's pixels, height times.
/// - Memory: 160 KiB and four rows at most: zlib takes 128 KiB (16 KiB window), libpng's buffer 8 KiB.
/// - Errors: those of `AtomicFile`; the target is untouched until the file has its name.
package final class PNGWriter {
  private let file: AtomicFile
  private let height: Int
  private var writer: OpaquePointer?
  private var row = 0

  /// Creates the file beside `path` and writes the headers; `compression` is zlib's level; `isSigned`: a text
  /// chunk names this program.
  package convenience init(
    path: String, _ layout: PNGLayout, width: Int, height: Int, compression: Int = 6, isSigned: Bool = false
  ) throws(RasterError) {
    let file: AtomicFile
    do throws(SystemError) { file = try AtomicFile(path: path) } catch { throw RasterError(error) }
    try self.init(file, layout, width: width, height: height, compression: compression, isSigned: isSigned)
  }

  /// Writes the headers to a file that is open already.
  package init(
    _ file: AtomicFile, _ layout: PNGLayout, width: Int, height: Int, compression: Int = 6,
    isSigned: Bool = false
  ) throws(RasterError) {
    (self.file, self.height) = (file, height)
    guard (1...1 << 24).contains(width), (1...1 << 24).contains(height) else {
      throw RasterError(.badSize(width: width, height: height), path: file.path)
    }
    var failure = cr_failure()
    writer = layout.open(
      file.openDescriptor, width: width, height: height, compression: compression, isSigned: isSigned,
      &failure)
    if writer == nil { throw RasterError(failure, path: file.path) }
  }

  deinit { cr_png_writer_close(writer) }

  /// Writes the next row of bytes: indices, or red, green and blue.
  package func writeRow(_ row: UnsafePointer<UInt8>) throws(RasterError) { try write(row) }

  /// Writes the next row of 16-bit numbers.
  package func writeRow(_ row: UnsafePointer<UInt16>) throws(RasterError) { try write(row) }

  private func write(_ pixels: UnsafeRawPointer) throws(RasterError) {
    precondition(row < height, "all \(height) rows have been written")
    var failure = cr_failure()
    guard let writer else { throw RasterError(.corrupt("writer is spent"), path: file.path) }
    try check(cr_png_writer_row(writer, pixels, &failure), failure)
    row += 1
  }

  /// Ends the picture; its file lacks nothing but the name.
  package func end() throws(RasterError) -> AtomicFile {
    precondition(row == height, "\(row) of \(height) rows have been written")
    var failure = cr_failure()
    guard let writer else { throw RasterError(.corrupt("writer is spent"), path: file.path) }
    try check(cr_png_writer_finish(writer, &failure), failure)
    return file
  }

  /// Ends the picture and gives its file the name.
  package func finish() throws(RasterError) {
    let file = try end()
    do throws(SystemError) { try file.finish() } catch { throw RasterError(error) }
  }

  private func check(_ code: Int32, _ failure: cr_failure) throws(RasterError) {
    guard code != CR_OK else { return }
    cr_png_writer_close(writer)
    writer = nil
    file.abort()
    throw RasterError(failure, path: file.path, row: row)
  }
}
