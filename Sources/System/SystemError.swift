// The one error of this target: what the operating system, or a plain format, refused, and where.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A call that failed, a file of the wrong kind, or bytes that contradict their format.
///
/// - Units: `offset` in bytes of the file.
package struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  package enum Reason: Equatable, Sendable {
    /// The system refused `action`; `code` is errno.
    case system(action: String, code: Int32)
    /// The path names something else than a regular file.
    case notAFile(kind: String)
    /// The file has no bytes.
    case empty
    /// More output files are open at once than the clean-up table holds.
    case tooManyOutputs
    /// The bytes end before a field that they announce.
    case truncated(needed: Int, available: Int)
    /// A size, count or depth above what its reader accepts.
    case tooLarge(what: String, found: UInt64, limit: Int)
    /// The bytes contradict their format.
    case malformed(String)
    /// A valid file of a kind that is not read.
    case unsupported(String)
    case notUTF8
    /// A name that occurs twice.
    case duplicate
  }

  package var reason: Reason
  /// The file concerned, as the caller named it.
  package var path: String?
  package var offset: Int?
  /// Field, member or entry, if known.
  package var name: String?

  package init(_ reason: Reason, path: String? = nil, offset: Int? = nil, name: String? = nil) {
    self.reason = reason
    self.path = path
    self.offset = offset
    self.name = name
  }

  /// The call that just failed, by errno.
  static func errno(_ action: String, _ path: String? = nil) -> SystemError {
    #if canImport(Glibc)
      SystemError(.system(action: action, code: Glibc.errno), path: path)
    #else
      SystemError(.system(action: action, code: Musl.errno), path: path)
    #endif
  }

  /// One line: the file, the field, what is wrong.
  package var description: String {
    [path, name, reason.description].compactMap { $0 }.joined(separator: ": ")
  }
}

extension SystemError.Reason: CustomStringConvertible {
  package var description: String {
    switch self {
    case .system(let action, let code): "cannot \(action): \(systemMessage(code))"
    case .notAFile(let kind): "is a \(kind); name a regular file"
    case .empty: "is empty"
    case .tooManyOutputs: "cannot be written: 512 outputs are open already; finish some first"
    case .truncated(let needed, let available): "ends too early: \(needed) bytes needed, \(available) left"
    case .tooLarge(let what, let found, let limit): "\(found) \(what), at most \(limit) are possible"
    case .malformed(let text), .unsupported(let text): text
    case .notUTF8: "is not valid UTF-8"
    case .duplicate: "occurs twice"
    }
  }
}

/// The error of a library, made from one of this target's. Readers here throw it, so that their callers need
/// not translate.
package protocol SystemFailure: Error {
  init(_ error: SystemError)
}

extension SystemError: SystemFailure {
  package init(_ error: SystemError) { self = error }
}

/// The system's words for an errno value, in lower case.
package func systemMessage(_ code: Int32) -> String {
  guard let text = strerror(code) else { return "error \(code)" }
  return String(cString: text).lowercased()
}
