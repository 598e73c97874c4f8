// The body of a request, taken as it comes: the photo into a file in memory, fields as text.
import Segmentation
import System

/// Counts the bytes of bodies that are held, over all requests. Any thread may ask.
package final class HeldBytes: @unchecked Sendable {
  private let lock = Lock()
  private let limit: Int
  private var held = 0

  package init(limit: Int) { self.limit = limit }

  package var count: Int { lock.with { held } }

  /// False where that many do not fit.
  func take(_ count: Int) -> Bool {
    lock.with {
      if held + count > limit { return false }
      held += count
      return true
    }
  }

  func giveBack(_ count: Int) { lock.with { held -= count } }
}

/// One photo with its fields.
///
/// - Memory: the photo's bytes, in a file without a name that lives in memory (memfd), never on disk; a
///   decoder reads it through its descriptor.
package final class Upload {
  /// What a client called the photo, for people alone: no file is ever looked for by this name.
  package private(set) var name = "photo"
  package private(set) var fields: FormFields
  private var file: AtomicFile?
  private var form: MultipartReader?
  private var part: MultipartReader.Part?
  private var text: [UInt8] = []
  private var fieldByteCount = 0
  private var byteCount = 0
  private let limit: Int
  private let budget: HeldBytes

  /// `fields`: those of the address.
  ///
  /// - Errors: 415 for a body that is neither a picture nor a form.
  package init(
    contentType: String?, fields: FormFields, limit: Int, budget: HeldBytes
  ) throws(Refusal) {
    (self.fields, self.limit, self.budget) = (fields, limit, budget)
    let type = (contentType ?? "").split(separator: ";").first.map {
      $0.trimmingSpaces.lowercased()
    }
    switch type {
    case "multipart/form-data": form = try MultipartReader(contentType: contentType ?? "")
    case let type? where type.hasPrefix("image/") || type == "application/octet-stream": break
    default:
      throw Refusal(
        415,
        "Content-Type is '\(printable(type ?? "", limit: 60))'; send a picture as image/jpeg, image/png "
          + "or application/octet-stream, or a form as multipart/form-data")
    }
  }

  deinit { budget.giveBack(byteCount) }

  /// Where the photo's bytes are, for a decoder; to be used while this object lives.
  package var path: String { "/proc/self/fd/\(file?.openDescriptor ?? -1)" }

  /// Takes a piece of the body.
  package func add(_ piece: UnsafeRawBufferPointer) throws {
    guard var form else { return try keep(piece) }
    // Held once, so that what it holds is not copied.
    self.form = nil
    defer { self.form = form }
    try form.add(piece) { event in try take(event) }
  }

  /// The whole body was there.
  ///
  /// - Errors: 400 for a form without an end, and for no photo.
  package func finish() throws(Refusal) {
    try form?.finish()
    if file == nil {
      throw Refusal(
        400, form == nil ? "the body is empty; it is to be the photo" : "the form has no part called 'photo'")
    }
  }

  private func take(_ event: MultipartReader.Event) throws {
    switch event {
    case .part(let part):
      self.part = part
      text = []
      guard part.name == "photo" else { return }
      if file != nil { throw Refusal(400, "the form has two photos; send one a request") }
      if let name = part.fileName { self.name = Self.shown(name) }
      file = try AtomicFile(inMemory: "the photo")
    case .bytes(let bytes):
      if part?.name == "photo" { return try bytes.withUnsafeBytes { try keep($0) } }
      fieldByteCount += bytes.count
      if fieldByteCount > ServeLimits.fieldByteCount {
        throw Refusal(413, "the form's fields are longer than \(ServeLimits.fieldByteCount) bytes")
      }
      text += bytes
    case .partEnded:
      guard let part, part.name != "photo" else {
        if byteCount == 0 { throw Refusal(400, "the photo is empty") }
        return
      }
      guard let value = String(validating: text, as: UTF8.self), !text.contains(0) else {
        throw Refusal(400, "the field '\(printable(part.name, limit: 60))' is not UTF-8")
      }
      fields.add(part.name, value)
    }
  }

  private func keep(_ piece: UnsafeRawBufferPointer) throws {
    if piece.isEmpty { return }
    if byteCount + piece.count > limit { throw Refusal(413, "the photo is longer than \(limit) bytes") }
    guard budget.take(piece.count) else {
      throw Refusal(429, "too many photos are on their way; try again", retryAfter: 5)
    }
    byteCount += piece.count
    if file == nil { file = try AtomicFile(inMemory: "the photo") }
    try file?.write(piece)
  }

  /// The last part of a name, in characters that do no harm.
  static func shown(_ name: String) -> String {
    let last = name.split(whereSeparator: { $0 == "/" || $0 == "\\" }).last.map(String.init) ?? ""
    let text = printable(last, limit: 120)
    return text.isEmpty || text == "." || text == ".." ? "photo" : text
  }
}

extension StringProtocol {
  /// Without spaces and tabs at both ends.
  var trimmingSpaces: SubSequence {
    var rest = self[...]
    while let first = rest.first, first == " " || first == "\t" { rest = rest.dropFirst() }
    while let last = rest.last, last == " " || last == "\t" { rest = rest.dropLast() }
    return rest
  }
}
