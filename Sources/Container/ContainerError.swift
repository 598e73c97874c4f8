// The one error type of this target: what disagreed, in which file, at which byte, in which key or tensor.

import System

/// Why a model file could not be read, checked or written.
///
/// `description` is one lower-case line; `offset` counts bytes from the start of the file.
package struct ContainerError: Error, Equatable, Sendable, CustomStringConvertible {
  package enum Reason: Equatable, Sendable {
    /// A system call failed; `code` is `errno`.
    case io(operation: String, code: Int32)
    case notRegularFile
    /// The file ends before a field or array that its header announces.
    case truncated(needed: UInt64, available: UInt64)
    case badMagic(found: UInt32)
    case unsupportedVersion(found: UInt32, supported: UInt32)
    /// A count, length or depth above the limit of this reader.
    case tooLarge(what: String, found: UInt64, limit: UInt64)
    /// Arithmetic on sizes from the file left the range of 64-bit integers.
    case overflow(what: String)
    case unknownValueType(UInt32)
    case unknownTensorType(UInt32)
    case invalidUTF8
    case invalidBool(UInt8)
    case invalidAlignment(found: UInt64)
    case invalidDimension(UInt64)
    case duplicateKey
    case duplicateTensor
    /// Tensors must follow each other without gaps or overlap: the offset found and the one expected.
    case misplacedTensor(found: UInt64, expected: UInt64)
    /// Bytes behind the last tensor.
    case trailingBytes(count: UInt64)
    case missingKey
    case missingTensor
    case wrongValueType(expected: String, found: String)
    case valueOutOfRange(expected: String, found: String)
    /// A tensor whose type or shape is not the one its user needs.
    case wrongTensor(expected: String, found: String)
    case checksumMismatch(expected: UInt32, found: UInt32)
    /// The identity that the file claims is not that of its contents.
    case otherIdentity(claimed: String, found: String)
    /// Padding between tensors holds something other than zero.
    case nonzeroPadding
    /// The file's size or modification time changed while it was in use.
    case changedWhileOpen
    case alreadyExists
    case other(String)
    /// Bytes supplied for a tensor do not match its declared size.
    case wrongByteCount(expected: Int, found: Int)
  }

  package var reason: Reason
  package var path: String?
  package var offset: Int?
  /// Key or tensor.
  package var name: String?

  package init(_ reason: Reason, path: String? = nil, offset: Int? = nil, name: String? = nil) {
    self.reason = reason
    self.path = path
    self.offset = offset
    self.name = name
  }

  package var description: String {
    var text = ""
    if let path { text += "\(path): " }
    if let name { text += "\(name): " }
    text += reason.description
    if let offset { text += " (at byte \(offset))" }
    return text
  }

  /// The same error with the file it concerns.
  func at(path: String) -> ContainerError {
    var copy = self
    copy.path = path
    return copy
  }
}

/// A position in a model file.
typealias ByteCursor = System.ByteCursor<UnsafeRawBufferPointer, ContainerError>

extension ContainerError: SystemFailure {
  package init(_ error: SystemError) {
    let reason: Reason
    switch error.reason {
    case .system(let action, let code): reason = .io(operation: action, code: code)
    case .notAFile: reason = .notRegularFile
    case .empty: reason = .truncated(needed: 4, available: 0)
    case .truncated(let needed, let available):
      reason = .truncated(needed: UInt64(needed), available: UInt64(available))
    case .tooLarge(let what, let found, let limit):
      reason = .tooLarge(what: what, found: found, limit: UInt64(limit))
    case .notUTF8: reason = .invalidUTF8
    default: reason = .other(error.reason.description)
    }
    self.init(reason, path: error.path, offset: error.reason == .empty ? 0 : error.offset, name: error.name)
  }
}

extension ContainerError.Reason: CustomStringConvertible {
  package var description: String {
    switch self {
    case .io(let operation, let code):
      return "cannot \(operation): \(systemMessage(code))"
    case .notRegularFile: return "not a regular file"
    case .truncated(let needed, let available):
      return "file ends too early: \(needed) bytes needed, \(available) left"
    case .badMagic(let found): return "not a GGUF file: magic is 0x\(String(found, radix: 16))"
    case .unsupportedVersion(let found, let supported):
      return "version \(found) is not supported, this program reads version \(supported)"
    case .tooLarge(let what, let found, let limit): return "\(what) is \(found), the limit is \(limit)"
    case .overflow(let what): return "\(what) does not fit in 64 bits"
    case .unknownValueType(let type): return "unknown value type \(type)"
    case .unknownTensorType(let type): return "unsupported tensor type \(type)"
    case .invalidUTF8: return "text is not valid utf-8"
    case .invalidBool(let value): return "boolean holds \(value)"
    case .invalidAlignment(let found): return "alignment \(found) is not usable"
    case .invalidDimension(let found): return "dimension \(found) is not usable"
    case .duplicateKey: return "key appears twice"
    case .duplicateTensor: return "tensor appears twice"
    default: return laterDescription
    }
  }

  /// The second half of the cases: contents rather than structure.
  private var laterDescription: String {
    switch self {
    case .misplacedTensor(let found, let expected):
      return "tensor starts at data offset \(found), expected \(expected): tensors must follow each other"
    case .trailingBytes(let count): return "\(count) bytes behind the last tensor"
    case .missingKey: return "key is missing"
    case .missingTensor: return "tensor is missing"
    case .wrongValueType(let expected, let found): return "expected \(expected), found \(found)"
    case .valueOutOfRange(let expected, let found): return "expected \(expected), found \(found)"
    case .wrongTensor(let expected, let found): return "expected \(expected), found \(found)"
    case .checksumMismatch(let expected, let found):
      return "checksum mismatch: stored \(String(expected, radix: 16)), computed \(String(found, radix: 16))"
    case .otherIdentity(let claimed, let found):
      return "says \(claimed.prefix(12)), the contents are \(found.prefix(12)): "
        + "the file was changed after it was made"
    case .nonzeroPadding: return "padding between tensors is not zero"
    case .changedWhileOpen: return "file changed while it was in use"
    case .alreadyExists: return "file exists already"
    case .other(let text): return text
    case .wrongByteCount(let expected, let found): return "\(expected) bytes declared, \(found) supplied"
    default: return "unknown error"
    }
  }
}
