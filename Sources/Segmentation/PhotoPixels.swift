// What the phases ask of a photo: its size, and small copies made in one pass from the top.
import Compute
import Raster

/// A small 8-bit copy of the photo that a phase asks for.
package struct CopyRequest {
  package enum Kind: Equatable {
    /// Bilinear without antialias (OpenCV's rule) to the target size.
    case windows
    /// Bilinear to `padded`, then columns cut out, then antialiased bilinear (Pillow's rule) to the target
    /// size.
    case sam(paddedWidth: Int, paddedHeight: Int, columns: Range<Int>)
    /// Antialiased bicubic (Pillow's rule), whatever the aspect.
    case square
    /// Antialiased bilinear: for people to look at, and colours for a guided refinement.
    case preview
    /// Every pixel of the photo as it is, upright.
    case whole
  }
  package var kind: Kind
  package var width: Int
  package var height: Int
  /// Shapes: [height, width, 3].
  package var pixels: UnsafeMutablePointer<UInt8>
  /// Told of every row that has been put there.
  package var rowStored: (() -> Void)?
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
  /// What is wrong with the photo although it could be read; known after the first `load`.
  var remark: String? { get }
  /// Where on earth the pixels lie, where the photo says so.
  var place: GeoTags? { get }
  /// The bytes that the photo is in; nil: no file.
  ///
  /// - Memory: 1 MiB. Time: one pass over the file.
  /// - Errors: `.photo` where the file cannot be read again.
  func contents() throws(SegmentationError) -> FileContents?
  /// Hands over all rows, from the top. Shapes: `row` [width * 3], valid during the call.
  ///
  /// - Memory: `rowByteCount`.
  func eachRow(_ body: (_ y: Int, _ row: UnsafePointer<UInt8>) throws -> Void) throws
  /// Private memory that `eachRow` allocates, bytes.
  var rowByteCount: Int { get }
}

/// What tells a file from another.
package struct FileContents: Equatable, Sendable {
  package let sha256: String
  package let byteCount: Int

  package init(sha256: String, byteCount: Int) { (self.sha256, self.byteCount) = (sha256, byteCount) }
}

extension PhotoPixels {
  package func contents() throws(SegmentationError) -> FileContents? { nil }
  package var remark: String? { nil }
  package var place: GeoTags? { nil }
  package var rowByteCount: Int { 0 }

  package func eachRow(_ body: (_ y: Int, _ row: UnsafePointer<UInt8>) throws -> Void) throws {
    preconditionFailure("a photo without rows")
  }

  /// Fills copies in a stage of its own.
  func read(_ copies: [CopyRequest], _ run: RunContext) throws {
    try run.stage(.photo) {
      run.note(Work(float: Double(width * height) * 1500 + 1e9))
      run.log.image(workingByteCount(copies))
      if !run.isPlanning { try load(copies) }
    }
  }

  /// Fills one copy.
  func copy(_ request: CopyRequest, _ run: RunContext) throws -> CopyRequest {
    try read([request], run)
    return request
  }

  /// The copy that windows are cut from, reserved and filled, and another one in the same pass.
  ///
  /// - Shapes: [copyHeight, copyWidth, 3].
  func windowCopy(_ plan: WindowPlan, alongside other: CopyRequest?, _ run: RunContext) throws
    -> UnsafePointer<UInt8>
  {
    let pixels = try run.arena.reserve(UInt8.self, plan.copyWidth * plan.copyHeight * 3)
    let copy = CopyRequest(kind: .windows, width: plan.copyWidth, height: plan.copyHeight, pixels: pixels)
    try read([copy] + [other].compactMap { $0 }, run)
    return UnsafePointer(pixels)
  }

  /// The photo squeezed to a square, reserved and filled.
  ///
  /// - Shapes: [side, side, 3].
  func squareCopy(side: Int, _ run: RunContext) throws -> UnsafePointer<UInt8> {
    let pixels = try run.arena.reserve(UInt8.self, side * side * 3)
    try read([CopyRequest(kind: .square, width: side, height: side, pixels: pixels)], run)
    return UnsafePointer(pixels)
  }

  /// A small copy for people to look at, or for colours, reserved and filled.
  ///
  /// - Shapes: [height, width, 3].
  func smallCopy(height: Int, width: Int, _ run: RunContext) throws -> UnsafePointer<UInt8> {
    let pixels = try run.arena.reserve(UInt8.self, width * height * 3)
    try read([CopyRequest(kind: .preview, width: width, height: height, pixels: pixels)], run)
    return UnsafePointer(pixels)
  }
}
