// What the phases ask of a photo: its size, and small copies made in one pass from the top.

/// A small 8-bit copy of the photo that a phase asks for.
package struct CopyRequest {
  package enum Kind: Equatable {
    /// Bilinear without antialias (OpenCV's rule) to the target size.
    case windows
    /// Bilinear to `padded`, then columns cut out, then antialiased bilinear (Pillow's rule) to the target size.
    case sam(paddedWidth: Int, paddedHeight: Int, columns: Range<Int>)
    /// Antialiased bilinear: for people to look at, and colours for a guided refinement.
    case preview
  }
  package var kind: Kind
  package var width: Int
  package var height: Int
  /// Shapes: [height, width, 3].
  package var pixels: UnsafeMutablePointer<UInt8>
}

/// A photo that can be read, from the top, any number of times.
package protocol PhotoPixels: AnyObject {
  /// Sizes after EXIF orientation.
  var width: Int { get }
  var height: Int { get }
  /// Fills all copies in one pass over the photo.
  func load(_ copies: [CopyRequest]) throws
  /// Private memory that one pass allocates besides the copies, bytes.
  func workingByteCount(_ copies: [CopyRequest]) -> Int
}
