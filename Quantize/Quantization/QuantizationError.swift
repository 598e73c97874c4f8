// What can be wrong with a checkpoint, a vocabulary file, or the model asked for.

import Container
import Glibc

/// A failure of the offline side: which file, where in it, and what to do.
///
/// `description` is one lower-case line; text taken from the file is shortened and its control bytes are
/// escaped.
package struct QuantizationError: Error, Equatable, Sendable {
  package enum Reason: Equatable, Sendable {
    // The file as a whole.
    case cannotOpen(errno: Int32)
    case cannotRead(errno: Int32)
    case cannotWrite(errno: Int32)
    case notARegularFile(kind: String)
    case emptyFile
    case unknownFormat(hint: String)
    // Its bytes.
    case truncated(needed: Int, available: Int)
    case malformed(String)
    case unsupported(String)
    case limitExceeded(what: String, limit: Int, found: Int)
    case checksumMismatch(stored: UInt32, computed: UInt32)
    // A pickle that wants more than tensors.
    case opcodeNotAllowed(UInt8)
    case globalNotAllowed(String)
    // Tensors.
    case duplicateName
    case noTensors
    case noSuchTensor
    case tensorOutsideStorage(lastElement: Int, storageElements: Int)
    case negativeStride(Int)
    case rowsOutOfRange(lower: Int, upper: Int, rows: Int)
    case shapeMismatch(expected: [Int], found: [Int])
    /// The first such element, counted through the tensor in row-major order.
    case notFinite(element: Int)
    case beyondHalf(element: Int)
    // Vocabularies.
    case tooFewMerges(needed: Int, found: Int)
    // The model being built.
    case unsupportedModel(String)
  }

  package var reason: Reason
  package var path: String
  /// Position in the file in bytes, if known.
  package var offset: Int?
  /// Tensor, archive entry or field, if known.
  package var name: String?

  package init(_ reason: Reason, path: String, offset: Int? = nil, name: String? = nil) {
    self.reason = reason
    self.path = path
    self.offset = offset
    self.name = name
  }
}

extension QuantizationError: CustomStringConvertible {
  package var description: String {
    var line = printable(path, limit: 400)
    if let name { line += ": '" + printable(name, limit: 120) + "'" }
    if let offset { line += " at byte \(offset)" }
    return line + ": " + reason.description
  }
}

extension QuantizationError.Reason: CustomStringConvertible {
  package var description: String {
    switch self {
    case .cannotOpen(let code): return "cannot open: " + Self.system(code)
    case .cannotRead(let code): return "cannot read: " + Self.system(code)
    case .cannotWrite(let code): return "cannot write: " + Self.system(code)
    case .notARegularFile(let kind): return "this is \(kind); name a regular file"
    case .emptyFile: return "the file is empty; download it again"
    case .unknownFormat(let hint): return hint
    case .truncated(let needed, let available):
      return "\(needed) bytes are needed and \(available) are there; the file is cut off, download it again"
    case .malformed(let what): return printable(what, limit: 300)
    case .unsupported(let what): return printable(what, limit: 300)
    case .limitExceeded(let what, let limit, let found):
      return "\(printable(what, limit: 100)): \(found) is over the limit of \(limit)"
    case .checksumMismatch(let stored, let computed):
      return "crc-32 is \(String(computed, radix: 16)), the archive says \(String(stored, radix: 16)); "
        + "the file is damaged, download it again"
    case .opcodeNotAllowed(let code):
      return "pickle opcode 0x\(String(code, radix: 16)) is not one that tensors need; refused"
    case .globalNotAllowed(let name):
      return "pickle asks for '\(printable(name, limit: 120))', which tensors do not need; "
        + "refused, save a plain state_dict instead"
    default: return tensorDescription
    }
  }

  private var tensorDescription: String {
    switch self {
    case .duplicateName: return "the name occurs twice; save the state_dict again"
    case .noTensors: return "no tensors inside; name a file that holds a state_dict"
    case .noSuchTensor: return "no tensor of this name"
    case .tensorOutsideStorage(let last, let count):
      return "reaches element \(last) of a storage of \(count); the file is damaged or forged"
    case .negativeStride(let stride): return "stride \(stride) is negative; save a contiguous copy"
    case .rowsOutOfRange(let lower, let upper, let rows):
      return "rows \(lower)..<\(upper) are asked for and there are \(rows)"
    case .shapeMismatch(let expected, let found): return "shape \(found) where \(expected) is expected"
    case .notFinite(let element): return "element \(element) is nan or infinite; use an intact checkpoint"
    case .beyondHalf(let element):
      return "element \(element) is too large for a half float; use an intact checkpoint"
    case .tooFewMerges(let needed, let found):
      return "\(found) merges are there and \(needed) are needed; " + BytePairSource.whereToGet
    case .unsupportedModel(let what): return printable(what, limit: 300)
    default: return "unknown"
    }
  }

  private static func system(_ code: Int32) -> String {
    guard let text = strerror(code) else { return "error \(code)" }
    return String(cString: text).lowercased()
  }
}
