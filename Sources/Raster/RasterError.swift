// The one error of this target: what is wrong with a photo or an output file, and where.

/// A photo, an output file or its place on disk that cannot be used.
///
/// - Units: `offset` in bytes of the file, `row` counted from the top of the stored picture.
package struct RasterError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What went wrong, with the numbers that disagree.
  package enum Reason: Equatable, Sendable {
    /// The system refused `action`; `code` is errno.
    case system(action: String, code: Int32)
    /// The path names something else than a regular file.
    case notAFile(kind: String)
    /// The file has no bytes.
    case empty
    /// The first bytes belong to no known format.
    case unknownFormat
    /// A valid file of a kind that is not read.
    case unsupported(String)
    /// A picture, but not one of class numbers.
    case notNumbers(String)
    /// The file ends before the picture does.
    case truncated(String)
    /// The bytes contradict the format.
    case corrupt(String)
    /// The header promises a picture outside the limits.
    case badSize(width: Int, height: Int)
    /// The header promises far more pixels than the bytes of a photo can hold.
    case bomb(width: Int, height: Int, byteCount: Int)
    /// The file can only be decoded with the whole picture in memory, and the caller has not allowed that.
    case wholeImageRefused(byteCount: Int)
    /// A library needed more memory than its limit.
    case outOfMemory(String)
    /// More output files are open at once than the clean-up table holds.
    case tooManyOutputs
  }

  /// What went wrong.
  package var reason: Reason
  /// The file concerned, as the caller named it.
  package var path: String
  /// Bytes into the file, if known.
  package var offset: Int?
  /// The stored row being decoded or written, if any.
  package var row: Int?

  /// Makes an error value.
  package init(_ reason: Reason, path: String, offset: Int? = nil, row: Int? = nil) {
    self.reason = reason
    self.path = path
    self.offset = offset
    self.row = row
  }

  /// One line: the file, what is wrong with it, where, and what to do.
  package var description: String {
    var place = ""
    if let row { place += ", row \(row)" }
    if let offset { place += ", byte \(offset)" }
    return "\(path): \(explanation)\(place)"
  }

  private var explanation: String {
    switch reason {
    case .system(let action, let code):
      return "cannot \(action): \(systemMessage(code).lowercased())"
    case .notAFile(let kind):
      return "is a \(kind); name a regular file"
    case .empty:
      return "is empty; name a jpeg, png or ppm photo"
    case .unknownFormat:
      return "is not a jpeg, png or ppm photo; convert it first"
    case .unsupported(let what):
      return "cannot be read (\(what)); convert it to an 8-bit jpeg or png"
    case .notNumbers(let what):
      return "is no label map (\(what)); save class numbers as an indexed or grey png"
    case .truncated(let what):
      return "ends too early (\(what)); copy it again"
    case .corrupt(let what):
      return "is damaged (\(what)); copy it again"
    case .badSize(let width, let height):
      return "has a size of \(width) x \(height); sides must be 1 to \(PhotoDecoder.sideLimit) pixels, "
        + "2^31 pixels in all; scale it down"
    case .bomb(let width, let height, let byteCount):
      return "promises \(width) x \(height) pixels in \(byteCount) bytes, more than "
        + "\(PhotoDecoder.pixelsPerByteLimit) a byte; if that is meant, save it as a baseline jpeg"
    case .wholeImageRefused(let byteCount):
      return "needs \(byteCount) bytes because it is progressive or interlaced; save it as baseline jpeg or "
        + "non-interlaced png, or allow more memory"
    case .outOfMemory(let what):
      return "needs more memory than allowed (\(what)); scale it down"
    case .tooManyOutputs:
      return "cannot be written: 64 outputs are open already; finish some first"
    }
  }
}
