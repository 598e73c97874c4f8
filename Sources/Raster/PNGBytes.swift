// Small pictures as PNG bytes in memory, for pages that carry their pictures.

import CRaster
import System

extension PNGLayout {
  /// The bytes of a PNG file. Shapes: `pixels` [height, width] of the layout's pixels.
  ///
  /// - Memory: the bytes, and as much again while they are made.
  /// - Errors: `.file` where no file in memory can be had.
  package func bytes(
    of pixels: UnsafeRawPointer, width: Int, height: Int
  ) throws(RasterError) -> [UInt8] {
    let file: AtomicFile
    do throws(SystemError) { file = try AtomicFile(inMemory: "page") } catch { throw RasterError(error) }
    var failure = cr_failure()
    let opened = open(
      file.openDescriptor, width: width, height: height, compression: 9, isSigned: false, &failure)
    guard let writer = opened else {
      throw RasterError(failure, path: "page")
    }
    defer { cr_png_writer_close(writer) }
    var code: Int32 = 0
    for y in 0..<height where code == CR_OK {
      code = cr_png_writer_row(writer, pixels + y * width * bytesPerPixel, &failure)
    }
    if code == CR_OK { code = cr_png_writer_finish(writer, &failure) }
    if code != CR_OK { throw RasterError(failure, path: "page") }
    do throws(SystemError) { return try file.bytes() } catch { throw RasterError(error) }
  }
}
