// The one error of the Segmentation target: what went wrong, where, and which exit code it means.

import System

/// Why a segmentation, a vocabulary or one of their files was refused.
///
/// - Errors: a bad file, photo or budget throws this; a mistake of the caller traps instead.
public struct SegmentationError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: Equatable, Sendable {
    /// The request contradicts itself or an option is out of range.
    case usage(String)
    /// A class list cannot be used.
    case classes(String)
    /// A vocabulary file (.tvoc, .npz) is damaged or of another kind.
    case vocabulary(String)
    /// A file ends early: bytes a field needs, bytes that are left.
    case truncated(needed: Int, available: Int)
    /// A stored checksum disagrees with the bytes.
    case checksum(stored: UInt32, computed: UInt32)
    /// A number is larger than this program accepts.
    case limit(what: String, value: Int, limit: Int)
    /// The vocabulary was made with another model; both ids as 64 hexadecimal digits.
    case otherModel(file: String, model: String)
    /// The photo cannot be read or has a size that makes no sense.
    case photo(String)
    /// The model file lacks something or contradicts itself.
    case model(String)
    /// The memory budget is too small: bytes allowed, bytes needed, stage that needs them.
    case memory(limit: Int, needed: Int, stage: String)
    /// More work than is done without being asked: seconds planned, seconds allowed.
    case time(needed: Int, limit: Int)
    /// A result cannot be written.
    case output(String)
  }

  public var reason: Reason
  /// File the problem is in, if any.
  public var path: String?
  /// Field, tensor or array the problem is in, if any.
  public var field: String?
  /// 1-based line of a text file, if any.
  public var line: Int?

  public init(_ reason: Reason, path: String? = nil, field: String? = nil, line: Int? = nil) {
    self.reason = reason
    self.path = path
    self.field = field
    self.line = line
  }

  /// Exit code of the command line: 2 usage, 3 photo, 4 model or vocabulary file, 5 memory, 6 output.
  public var exitCode: Int32 {
    switch reason {
    case .usage, .classes: 2
    case .photo: 3
    case .vocabulary, .truncated, .checksum, .otherModel, .model: 4
    case .limit: field == "classes" || field == "arguments" ? 2 : 4
    case .memory, .time: 5
    case .output: 6
    }
  }

  /// One lower-case line: file, line, field, problem, fix.
  public var description: String {
    var text = ""
    if let path { text += path + ": " }
    if let line { text += "line \(line): " }
    if let field { text += field + ": " }
    return text + reason.message
  }

  /// The same problem, placed in a file.
  public func at(path: String) -> SegmentationError {
    SegmentationError(reason, path: path, field: field, line: line)
  }
}

extension SegmentationError.Reason {
  fileprivate var message: String {
    switch self {
    case .usage(let text), .classes(let text), .vocabulary(let text), .photo(let text), .model(let text),
      .output(let text):
      return text
    case .truncated(let needed, let available):
      return "needs \(needed) bytes, \(available) are left; the file is incomplete, make it again"
    case .checksum(let stored, let computed):
      return "checksum \(hex(stored)) stored, \(hex(computed)) computed; the file is damaged, make it again"
    case .limit(let what, let value, let limit):
      return "\(value) \(what), at most \(limit) are possible"
    case .otherModel(let file, let model):
      return "made with model \(file.prefix(12)), not with \(model.prefix(12)); make it again with this model"
    case .memory(let limit, let needed, let stage):
      let budget = "\(mebibytes(limit)) MiB allowed, \(mebibytes(needed)) MiB needed by \(stage)"
      return budget
        + "; raise the memory limit (--memory-limit; three quarters of the machine's where none is "
        + "named) or take a smaller photo or fewer classes"
    case .time(let needed, let limit):
      return
        "about \(needed) seconds of work are planned, \(limit) allowed; take a smaller photo or model, or "
        + "--lift-ceilings"
    }
  }

  private func hex(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }

  private func mebibytes(_ bytes: Int) -> Int { (bytes >> 20) + (bytes & 0xFFFFF == 0 ? 0 : 1) }
}

/// A position in a vocabulary file.
typealias ByteCursor = System.ByteCursor<[UInt8], SegmentationError>

/// Bytes that contradict their format.
extension SegmentationError: SystemFailure {
  package init(_ error: SystemError) {
    let reason: Reason =
      switch error.reason {
      case .truncated(let needed, let available): .truncated(needed: needed, available: available)
      case .tooLarge(let what, let found, let limit):
        .limit(what: what, value: Int(clamping: found), limit: limit)
      default: .vocabulary(error.reason.description)
      }
    self.init(reason, path: error.path, field: error.name)
  }

  /// An output that cannot be written.
  package static func output(_ error: SystemError) -> SegmentationError {
    SegmentationError(.output(error.description))
  }
}
