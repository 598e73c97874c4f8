// Small pictures as PNG bytes in memory, for pages that carry their pictures.

import CRaster

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The bytes of a PNG file.
///
/// - Memory: the bytes, and as much again while they are made.
/// - Errors: `.system` where no file in memory can be had.
package enum PNGBytes {
  /// A picture in colour. Shapes: `pixels` [height, width, 3].
  package static func colours(_ pixels: UnsafePointer<UInt8>, width: Int, height: Int) throws(RasterError) -> [UInt8] {
    var layout = cr_png_layout()
    layout.kind = Int32(CR_RGB)
    return try encode(layout, pixels, width: width, height: height, stride: 3 * width)
  }

  /// A picture of palette indices. Shapes: `indices` [height, width], each below the palette's count.
  package static func indices(
    _ indices: UnsafePointer<UInt8>, width: Int, height: Int, palette: Palette
  ) throws(RasterError) -> [UInt8] {
    var layout = cr_png_layout()
    layout.kind = Int32(CR_INDEXED)
    layout.colour_count = Int32(palette.count)
    let result = palette.bytes.withUnsafeBufferPointer { colours in
      layout.colours = colours.baseAddress
      return Result<[UInt8], RasterError> { () throws(RasterError) in
        try encode(layout, indices, width: width, height: height, stride: width)
      }
    }
    return try result.get()
  }

  private static func encode(
    _ layout: cr_png_layout, _ rows: UnsafePointer<UInt8>, width: Int, height: Int, stride: Int
  ) throws(RasterError) -> [UInt8] {
    var layout = layout
    layout.width = UInt32(width)
    layout.height = UInt32(height)
    layout.level = 9
    let descriptor = cr_create_in_memory()
    guard descriptor >= 0 else {
      throw RasterError(.system(action: "make a file in memory", code: -descriptor), path: "page")
    }
    defer { close(descriptor) }
    var failure = cr_failure()
    guard let writer = cr_png_writer_open(descriptor, &layout, &failure) else {
      throw RasterError(failure, path: "page")
    }
    defer { cr_png_writer_close(writer) }
    var code: Int32 = 0
    for y in 0..<height where code == CR_OK { code = cr_png_writer_row(writer, rows + y * stride, &failure) }
    if code == CR_OK { code = cr_png_writer_finish(writer, &failure) }
    if code != CR_OK { throw RasterError(failure, path: "page") }
    var bytes = [UInt8](repeating: 0, count: Int(lseek(descriptor, 0, SEEK_END)))
    let got = cr_read_at(descriptor, &bytes, bytes.count, 0)
    guard got == bytes.count else { throw RasterError(.system(action: "read", code: EIO), path: "page") }
    return bytes
  }
}
