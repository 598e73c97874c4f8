// What can be wrong with a checkpoint, a vocabulary file, or the model asked for.

import System

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

/// A checkpoint or vocabulary file.
typealias InputFile = System.InputFile<QuantizationError>

extension InputFile {
  func error(_ reason: QuantizationError.Reason, at offset: Int? = nil, name: String? = nil)
    -> QuantizationError
  {
    QuantizationError(reason, path: path, offset: offset, name: name)
  }

  /// The value of a JSON text that begins at `offset`; `isTable`: as in `JSONReader.parse`.
  func json(_ bytes: [UInt8], at offset: Int, isTable: Bool = false) throws(QuantizationError) -> JSON {
    do throws(SystemError) { return try JSONReader.parse(bytes, isTable: isTable) } catch {
      throw failure(error.reason, at: offset + (error.offset ?? 0), name: error.name)
    }
  }
}

extension QuantizationError: SystemFailure {
  package init(_ error: SystemError) {
    let reason: Reason =
      switch error.reason {
      case .system("open", let code): .cannotOpen(errno: code)
      case .system("read", let code): .cannotRead(errno: code)
      case .system(_, let code): .cannotWrite(errno: code)
      case .notAFile(let kind): .notARegularFile(kind: "a " + kind)
      case .empty: .emptyFile
      case .truncated(let needed, let available): .truncated(needed: needed, available: available)
      case .tooLarge(let what, let found, let limit):
        .limitExceeded(what: what, limit: limit, found: Int(clamping: found))
      case .unsupported(let what): .unsupported(what)
      case .duplicate: .duplicateName
      default: .malformed(error.reason.description)
      }
    self.init(reason, path: error.path ?? "", offset: error.offset, name: error.name)
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
    case .cannotOpen(let code): return "cannot open: " + systemMessage(code)
    case .cannotRead(let code): return "cannot read: " + systemMessage(code)
    case .cannotWrite(let code): return "cannot write: " + systemMessage(code)
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
    case .tooFewMerges(let needed, let found):
      return "\(found) merges are there and \(needed) are needed; " + BytePairSource.whereToGet
    case .unsupportedModel(let what): return printable(what, limit: 500)
    }
  }
}
