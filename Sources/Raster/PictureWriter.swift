// What takes the rows of a picture, whatever the format.
import System

/// A picture in bytes: red, green and blue, or indices.
package protocol PictureWriter: AnyObject {
  /// Writes the next row. Shapes: [width * 3], RGB; [width], indices.
  func writeRow(_ row: UnsafePointer<UInt8>) throws(RasterError)
  /// Ends the picture; its file lacks nothing but the name.
  func end() throws(RasterError) -> AtomicFile
}

/// A label map: indices, or numbers of 16 bits.
package protocol LabelWriter: PictureWriter {
  /// Writes the next row. Shapes: [width].
  func writeRow(_ row: UnsafePointer<UInt16>) throws(RasterError)
}

extension PNGWriter: LabelWriter {}
extension LabelTIFFWriter: LabelWriter {}
