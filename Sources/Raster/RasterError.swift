// The one error of this target: what is wrong with a photo or an output file, and where.

import CRaster
import System

/// A photo, an output file or its place on disk that cannot be used.
///
/// - Units: `offset` in bytes of the file, `row` counted from the top of the stored picture.
package struct RasterError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What went wrong, with the numbers that disagree.
  package enum Reason: Equatable, Sendable {
    /// The file cannot be opened, read or written.
    case file(SystemError.Reason)
    /// The first bytes belong to no known format, or to something that is no picture.
    case unknownFormat(String?)
    /// A picture of a format that is not read, and the command that makes one that is.
    case foreign(name: String, command: String)
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
    /// More than is decoded without being asked for.
    case aboveCeiling(what: String, limit: Int)
    /// A library needed more memory than its limit.
    case outOfMemory(String)
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

  /// The command that makes a readable picture of one that is not read.
  package var advice: String? {
    if case .foreign(_, let command) = reason { return command }
    return nil
  }

  private var explanation: String {
    switch reason {
    case .file(.empty):
      return "is empty; name a jpeg, png, ppm, webp or tiff photo"
    case .file(let reason):
      return reason.description
    case .unknownFormat(let what):
      return what.map { "is \($0); name a jpeg, png, ppm, webp or tiff photo" }
        ?? "is not a jpeg, png, ppm, webp or tiff photo; convert it first"
    case .foreign(let name, let command):
      let library = FileKind.library(for: name).map {
        "; or install \($0.name), which reads it (on Debian: apt install \($0.package))"
      }
      return "is \(name), which is not read; convert it: \(command)" + (library ?? "")
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
    case .aboveCeiling(let what, let limit):
      return "has more than \(limit) \(what), which no camera writes; save it as a baseline jpeg or a "
        + "non-interlaced png, or allow it with --lift-ceilings"
    case .outOfMemory(let what):
      return "needs more memory than allowed (\(what)); scale it down"
    }
  }
}

/// A photo file.
typealias InputFile = System.InputFile<RasterError>

extension RasterError: SystemFailure {
  package init(_ error: SystemError) {
    self.init(.file(error.reason), path: error.path ?? "", offset: error.offset)
  }

  /// Translates what a call into CRaster left behind.
  init(_ failure: cr_failure, path: String, row: Int? = nil, limit: Int = 0) {
    let words = withUnsafeBytes(of: failure.message) { raw in
      String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self).lowercased()
    }
    let reason: Reason
    switch Int(failure.code) {
    case CR_TRUNCATED: reason = .truncated(words)
    case CR_UNSUPPORTED: reason = .unsupported(words)
    case CR_TOO_MUCH: reason = .aboveCeiling(what: words, limit: limit)
    case CR_NO_MEMORY: reason = .outOfMemory(words)
    case CR_IO: reason = .file(.system(action: "read or write", code: failure.system_error))
    default: reason = .corrupt(words)
    }
    self.init(reason, path: path, offset: Int(failure.offset), row: row)
  }
}
