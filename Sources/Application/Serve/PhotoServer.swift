// Works on the photos of a server, one after another, on the thread that calls.
import Segmentation
import System

/// What a job says of one photo and its words.
private final class Remarks: JobListener {
  private(set) var lines: [String] = []

  init(_ known: [String]) { for text in known { warn(text) } }

  func warn(_ text: String) {
    let prefix = "warning: "
    let line = printable(text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text, limit: 1000)
    if !lines.contains(line) { lines.append(line) }
  }
}

/// A model and the line of photos that wait for it.
///
/// - Memory: what one photo's plan says, inside the session's limit; the words of the last request; results
///   in files in memory until their client has them.
package final class PhotoServer {
  private let session: Session
  private let limits: ServeLimits
  private let vocabulary: String?
  private let listener: any JobListener
  private let metrics: ServeMetrics
  private let shelf = ResultShelf()
  /// Those of the last request: who tries one photo after another pays for the words once.
  private var words: (key: [String], words: Words, remarks: [String])?

  package init(
    _ session: Session, _ limits: ServeLimits, vocabulary: String?, _ metrics: ServeMetrics,
    listener: any JobListener
  ) {
    (self.session, self.limits, self.vocabulary) = (session, limits, vocabulary)
    (self.metrics, self.listener) = (metrics, listener)
  }

  /// Answers every photo of the line until it ends.
  package func run(_ queue: PhotoQueue) {
    AtomicFile.receiver = (ResultShelf.prefix, shelf)
    defer { AtomicFile.receiver = nil }
    while let call = queue.next() {
      call.answer(answer(call))
      shelf.empty()
      Heap.trim()
    }
  }

  /// One photo's answer, whatever happens to it.
  func answer(_ call: PhotoCall) -> Answer {
    let start = monotonicSeconds()
    let end = start + Double(limits.workSeconds)
    do {
      let result = try segment(call) { call.isCancelled || monotonicSeconds() > end }
      metrics.finished("done", seconds: monotonicSeconds() - start, planned: result.planned)
      return result.answer
    } catch is CancellationError {
      metrics.finished("cancelled", seconds: 0)
      if call.isCancelled { return Answer(Refusal(503, "the server is stopping", retryAfter: 10)) }
      return Answer(Refusal(503, "the photo took longer than \(limits.workSeconds) s, and was given up"))
    } catch {
      metrics.finished("failed", seconds: 0)
      let refusal = Refusal(error, path: call.upload.path, name: call.upload.name)
      if refusal.status == 500 {
        // The client learns less.
        listener.warn(printable((error as? SegmentationError)?.description ?? "\(error)", limit: 2000))
      }
      return Answer(refusal)
    }
  }

  private func segment(
    _ call: PhotoCall, isCancelled: @escaping () -> Bool
  ) throws -> (answer: Answer, planned: Int) {
    if isCancelled() { throw CancellationError() }
    let (form, name) = (call.form, call.upload.name)
    let photo = try PhotoFile(
      path: call.upload.path, called: name, ceilings: session.runtime.photoCeilings)
    guard photo.width * photo.height <= limits.pixelCount else {
      throw Refusal(
        413, "\(photo.width) x \(photo.height) pixels, at most \(limits.pixelCount) are taken here")
    }
    let (words, remarks) = try words(of: form)
    // What looks wrong is told to who asked, and to nobody else.
    let hearing = Remarks(remarks)
    let job = PhotoJob(session, words, form.options, listener: hearing)
    let summary = form.format.name == ServedFormat.json.name ? SummarySink() : nil
    let files = summary == nil ? [form.format] : form.include
    let sinks = files.map { $0.makeSink(ResultShelf.prefix + $0.name) }
    let report = try job.run(
      photo, name: name, into: sinks + (summary.map { [$0] } ?? []), isCancelled: isCancelled)
    let planned = report.run.plan.peak
    let base = baseName(name)
    guard let summary else {
      guard let file = shelf.files[form.format.name] else { throw Refusal(500, "the result is missing") }
      var answer = Answer(form.format.contentType, .file(file))
      answer.headers = [("Content-Disposition", Self.disposition(base + form.format.ending))]
      return (answer, planned)
    }
    return (try bundle(report.summary(summary.classes, hearing.lines), files, base), planned)
  }

  /// The summary with the files that were asked for.
  private func bundle(
    _ json: JSON, _ files: [ServedFormat], _ base: String
  ) throws -> Answer {
    if files.isEmpty { return Answer(json) }
    let out = try AtomicFile(inMemory: "the answer")
    // The files come last: in the place of the brace that ends the summary.
    try out.write(String(json.text(indent: -1).dropLast()) + ",\"files\":{")
    for (index, format) in files.enumerated() {
      guard let file = shelf.files[format.name] else { throw Refusal(500, "a result is missing") }
      let (name, type) = (JSON.quoted(base + format.ending), JSON.quoted(format.contentType))
      try out.write(
        (index > 0 ? "," : "") + "\"\(format.name)\":{\"name\":\(name),\"type\":\(type),\"base64\":\"")
      try appendBase64(of: file, to: out)
      try out.write("\"}")
    }
    try out.write("}}\n")
    return Answer("application/json", .file(try MemoryFile(copying: out.openDescriptor)))
  }

  private func words(
    of form: SegmentForm
  ) throws(SegmentationError) -> (words: Words, remarks: [String]) {
    let key = form.wordKey
    if let words, words.key == key { return (words.words, words.remarks) }
    // The old vectors go before new ones come.
    words = nil
    Heap.trim()
    let fresh = try Words(form.source(vocabulary), session)
    let remarks = fresh.remarks
    words = (key, fresh, remarks)
    return (fresh, remarks)
  }

  /// - Source: RFC 6266; names that are no ASCII go encoded.
  static func disposition(_ name: String) -> String {
    let plain = String(
      name.unicodeScalars.map { scalar -> Character in
        let isPlain =
          scalar.isASCII && scalar.value >= 32 && scalar != "\"" && scalar != "\\" && scalar != "%"
        return isPlain ? Character(scalar) : "_"
      })
    var encoded = ""
    for byte in name.utf8 {
      let scalar = Unicode.Scalar(byte)
      let isSafe =
        scalar.isASCII
        && (scalar.properties.isAlphabetic || (48...57).contains(byte)
          || ".-_".unicodeScalars.contains(scalar))
      let hex = String(byte, radix: 16, uppercase: true)
      encoded += isSafe ? String(scalar) : "%" + (hex.utf8.count < 2 ? "0" : "") + hex
    }
    return "inline; filename=\"\(plain)\"; filename*=UTF-8''\(encoded)"
  }
}
