// What stands at which address, and who may ask for it.
import Segmentation
import System

/// The head of a request, as far as it matters here.
package struct RequestHead: Sendable {
  package var method = "GET"
  /// As it was sent: `/v1/segment?class=dog`.
  package var target = "/"
  package var contentType: String?
  /// nil where it is missing.
  package var contentLength: String?
  package var authorization: String?
  package var host: String?
  package var origin: String?
  package var isChunked = false

  package init() {}
}

/// Who may ask.
package struct ServeAccess: Sendable {
  /// Bearer token; nil: none is needed.
  package var token: [UInt8]?
  /// Names under which clients may reach the server, in lower case, without ports; empty: any.
  package var hosts: Set<String> = []

  package init() {}

  /// Compares in a time that does not tell how much of it was right.
  package static func isSame(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    // A digest has one length, whatever the token's.
    var digests: [[UInt8]] = []
    for bytes in [one, other] {
      var digest = SHA256Digest()
      bytes.withUnsafeBytes { digest.update($0) }
      digests.append(Array(digest.finishHex().utf8))
    }
    var difference: UInt8 = 0
    for (left, right) in zip(digests[0], digests[1]) { difference |= left ^ right }
    return difference == 0
  }

  /// - Errors: 401 for a token that is missing or wrong.
  func checkToken(_ head: RequestHead) throws(Refusal) {
    guard let token else { return }
    let parts = (head.authorization ?? "").split(separator: " ", maxSplits: 1)
    guard parts.count == 2, parts[0].lowercased() == "bearer",
      Self.isSame(Array(parts[1].trimmingSpaces.utf8), token)
    else { throw Refusal(401, "a token is needed: Authorization: Bearer TOKEN") }
  }

  /// A page of another site must not make a visitor's browser ask here, under no name.
  ///
  /// - Errors: 403.
  func checkOrigin(_ head: RequestHead) throws(Refusal) {
    let host = head.host?.lowercased() ?? ""
    if !hosts.isEmpty && !hosts.contains(Self.withoutPort(host)) {
      throw Refusal(
        403, "this server is not called '\(printable(host, limit: 80))'; --host NAME allows another name")
    }
    if let origin = head.origin?.lowercased(), origin != "http://" + host, origin != "https://" + host {
      throw Refusal(403, "pages of '\(printable(origin, limit: 80))' may not ask this server")
    }
  }

  private static func withoutPort(_ host: String) -> String {
    if host.hasPrefix("["), let end = host.firstIndex(of: "]") { return String(host[...end]) }
    return host.split(separator: ":", omittingEmptySubsequences: false).first.map(String.init) ?? host
  }
}

/// What becomes of a request once its head is there.
package enum Decision {
  case answer(Answer)
  /// Its body is a photo.
  case upload(Upload)
}

/// Everything that a server can say without working on a photo.
package struct ServeSite: Sendable {
  package let access: ServeAccess
  package let limits: ServeLimits
  package let defaults: SegmentOptions
  package let hasVocabulary: Bool
  /// What words of requests are placed in that name nothing; nil: nobody said.
  package let templates: TemplateList?
  /// Whether requests may choose what words are placed in.
  let takesTemplates: Bool
  /// `/v1/model`.
  package let model: JSON
  let held: HeldBytes
  let policy: String

  package init(
    access: ServeAccess, limits: ServeLimits, defaults: SegmentOptions, modelName: String, modelID: String,
    vocabulary: [String]?, templates: TemplateList? = nil
  ) {
    (self.access, self.limits, self.defaults) = (access, limits, defaults)
    self.templates = templates
    hasVocabulary = vocabulary != nil
    takesTemplates = vocabulary == nil && defaults.method != .pnpOVSS
    let usual = TemplateList.name((templates ?? .all).identifier)
    held = HeldBytes(limit: limits.heldByteCount)
    policy = Self.contentPolicy()
    model = .object([
      ("name", .string(modelName)), ("model_id", .string(modelID)), ("version", .string(Trident.version)),
      ("method", .string(defaults.method.rawValue)), ("needs_token", .bool(access.token != nil)),
      ("vocabulary", vocabulary.map { .array($0.map { .string($0) }) } ?? .null),
      ("templates", takesTemplates ? .string(usual) : .null),
      ("formats", .array(ServedFormat.names.map { .string($0) })),
      (
        "limits",
        .object([
          ("body_bytes", .int(limits.bodyByteCount)), ("phrases", .int(limits.phraseCount)),
          ("pixels", .int(limits.pixelCount)), ("queue", .int(limits.queueLength)),
          ("seconds", .int(limits.seconds)), ("work_seconds", .int(limits.workSeconds)),
        ])
      ), ("options", defaults.json),
    ])
  }

  /// Looks at a request's head.
  ///
  /// - Errors: 400, 401, 403, 404, 405, 411, 413, 415.
  package func decide(_ head: RequestHead, metrics: () -> String) throws(Refusal) -> Decision {
    let (path, fields) = try FormFields.split(target: head.target)
    let isPhoto = path == "/v1/segment"
    guard isPhoto || ["/", "/healthz", "/metrics", "/openapi.json", "/v1/model"].contains(path) else {
      throw Refusal(404, "there is no such address; /openapi.json lists those that are")
    }
    try access.checkOrigin(head)
    let allowed = isPhoto ? ["POST"] : ["GET", "HEAD"]
    guard allowed.contains(head.method) else {
      throw Refusal(
        405, "this address takes \(allowed.joined(separator: " and "))",
        allowed: allowed.joined(separator: ", "))
    }
    if path.hasPrefix("/v1/") || path == "/metrics" { try access.checkToken(head) }
    switch path {
    case "/": return .answer(page)
    case "/healthz": return .answer(Answer(.object([("status", .string("ok"))])))
    case "/metrics": return .answer(Answer("text/plain; version=0.0.4; charset=utf-8", .text(metrics())))
    case "/openapi.json": return .answer(Answer(OpenAPI.document(self)))
    case "/v1/model": return .answer(Answer(model))
    default: return .upload(try upload(head, fields))
    }
  }

  private func upload(_ head: RequestHead, _ fields: FormFields) throws(Refusal) -> Upload {
    guard !head.isChunked, let text = head.contentLength else {
      throw Refusal(411, "the photo's length must be known before it comes: send Content-Length")
    }
    guard let count = Int(text), count >= 0 else { throw Refusal(400, "Content-Length is no number") }
    // Fields of a form come on top.
    let upload = try Upload(
      contentType: head.contentType, fields: fields, limit: limits.bodyByteCount, budget: held)
    guard count <= limits.bodyByteCount + ServeLimits.fieldByteCount else {
      throw Refusal(413, "\(count) bytes, at most \(limits.bodyByteCount) are taken here")
    }
    return upload
  }

  private var page: Answer {
    var answer = Answer("text/html; charset=utf-8", .page)
    answer.headers = [
      ("Content-Security-Policy", policy),
      ("Permissions-Policy", "camera=(self), microphone=(), geolocation=()"),
    ]
    return answer
  }

  /// The page's own script and style by their digests, and nothing else: a text that looks like a script
  /// stays a text.
  private static func contentPolicy() -> String {
    let bytes = ServePage.bytes
    let page = bytes.bindMemory(to: UInt8.self)
    func digest(_ name: String) -> String {
      guard let start = find("<\(name)>", in: page, from: 0),
        let end = find("</\(name)>", in: page, from: start)
      else { return "" }
      var digest = SHA256Digest()
      digest.update(UnsafeRawBufferPointer(rebasing: bytes[(start + name.utf8.count + 2)..<end]))
      return "'sha256-" + String(decoding: base64(digest.finish()), as: UTF8.self) + "'"
    }
    return "default-src 'none'; script-src \(digest("script")); style-src \(digest("style")); "
      + "img-src 'self' blob: data:; media-src blob:; connect-src 'self'; base-uri 'none'; "
      + "form-action 'none'; frame-ancestors 'none'"
  }

  private static func find(_ text: String, in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
    let pattern = Array(text.utf8)
    guard bytes.count >= pattern.count else { return nil }
    return (start...bytes.count - pattern.count).first { index in
      pattern.indices.allSatisfy { bytes[index + $0] == pattern[$0] }
    }
  }
}
