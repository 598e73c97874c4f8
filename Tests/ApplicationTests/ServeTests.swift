// What a server makes of requests: addresses, forms, limits, tokens, and the line of photos.
import Application
import Segmentation
import System
import TestSupport
import Testing

@Suite struct ServeTests {
  private let limits = ServeLimits()

  private func fields(_ pairs: (String, String)...) -> FormFields {
    var fields = FormFields()
    for (key, value) in pairs { fields.add(key, value) }
    return fields
  }

  /// What a body throws is a refusal with this status.
  private func refused<Value>(
    _ status: Int, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Value
  ) {
    let refusal = thrownError(Refusal.self, sourceLocation: sourceLocation, from: body)
    if let refusal, refusal.status != status {
      Issue.record("\(refusal.status), not \(status): \(refusal.text)", sourceLocation: sourceLocation)
    }
  }

  // MARK: addresses

  @Test func addressesAreTakenApart() throws {
    let (path, found) = try FormFields.split(target: "/v1/segment?class=dog%3B+puppy&class=gr%C3%A4s&x&y=")
    #expect(path == "/v1/segment")
    #expect(
      found
        == fields(("class", "dog; puppy"), ("class", "gr\u{e4}s"), ("x", ""), ("y", "")))
    for bad in ["/?a=%", "/?a=%1", "/?a=%zz", "/?a=%ff", "/?a=%00", "/%C3"] {
      refused(400) { try FormFields.split(target: bad) }
    }
  }

  // MARK: forms

  private static let form =
    "--b\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a b.jpg\"\r\n"
    + "Content-Type: image/jpeg\r\n\r\n\r\n--x-\r\nbytes\r\n--b\r\n"
    + "Content-Disposition: form-data; name=class\r\n\r\ndog; puppy\r\n--b\r\n"
    + "content-disposition: form-data; name=\"empty\"\r\n\r\n\r\n--b--\r\n"

  /// Parts as `name|file|type|content`, whatever the pieces are.
  private func parts(_ text: String, piece: Int, boundary: String = "b") throws -> [String] {
    var reader = try MultipartReader(contentType: "multipart/form-data; boundary=\(boundary)")
    var found: [String] = []
    let bytes = Array(text.utf8)
    for start in stride(from: 0, to: bytes.count, by: piece) {
      let some = Array(bytes[start..<min(start + piece, bytes.count)])
      try some.withUnsafeBytes { raw in
        try reader.add(raw) { event in
          switch event {
          case .part(let part): found.append("\(part.name)|\(part.fileName ?? "-")|\(part.type ?? "-")|")
          case .bytes(let bytes): found[found.count - 1] += String(decoding: bytes, as: UTF8.self)
          case .partEnded: found[found.count - 1] += "."
          }
        }
      }
    }
    try reader.finish()
    return found
  }

  @Test func formsAreReadInAnyPieces() throws {
    let wanted = ["photo|a b.jpg|image/jpeg|\r\n--x-\r\nbytes.", "class|-|-|dog; puppy.", "empty|-|-|."]
    for piece in [1, 2, 3, 5, 7, 11, 64, 1000] {
      let found = try parts(Self.form, piece: piece)
      #expect(found == wanted, "pieces of \(piece)")
    }
    let preamble = try parts(
      "hello\r\n--b\r\nContent-Disposition: form-data; name=\"a\\\"b\"\r\n\r\nx\r\n--b--", piece: 4)
    #expect(preamble == ["a\"b|-|-|x."])
  }

  @Test func badFormsAreRefused() {
    let head = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"
    for bad in [
      "", "--b", head, head + "x", head + "x\r\n--b", head + "x\r\n--b?", "--b\r\nno colon\r\n\r\nx\r\n--b--",
      "--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--", "--b\r\n" + String(repeating: "a", count: 9000),
    ] {
      refused(400) { try parts(bad, piece: 100) }
    }
    refused(400) { try parts("", piece: 1, boundary: "") }
    refused(400) { try MultipartReader(contentType: "multipart/form-data") }
  }

  /// Whatever comes, a form is read or refused.
  @Test func damagedFormsEndInRefusals() throws {
    let form = Array(Self.form.utf8)
    var numbers = SeededRandom(seed: 21)
    for _ in 0..<2000 {
      var bytes = form
      for _ in 0..<Int.random(in: 1...4, using: &numbers) {
        let place = Int.random(in: 0..<bytes.count, using: &numbers)
        switch Int.random(in: 0..<3, using: &numbers) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &numbers)
        case 1: bytes.remove(at: place)
        default: bytes.insert(contentsOf: form.dropFirst(place).prefix(9), at: place)
        }
      }
      let cut = Int.random(in: 0...bytes.count, using: &numbers)
      do {
        let upload = try Upload(
          contentType: "multipart/form-data; boundary=b", fields: FormFields(), limit: 1000,
          budget: HeldBytes(limit: 1000))
        for piece in [Array(bytes[..<cut]), Array(bytes[cut...])] {
          try piece.withUnsafeBytes { try upload.add($0) }
        }
        try upload.finish()
      } catch is Refusal {
        continue
      }
    }
  }

  // MARK: uploads

  private func upload(
    _ type: String?, _ body: String, limit: Int = 1000, budget: HeldBytes = HeldBytes(limit: 2000)
  ) throws -> Upload {
    let upload = try Upload(contentType: type, fields: FormFields(), limit: limit, budget: budget)
    try Array(body.utf8).withUnsafeBytes { try upload.add($0) }
    try upload.finish()
    return upload
  }

  @Test func photosAreKeptInMemory() throws {
    let budget = HeldBytes(limit: 1000)
    do {
      let form = try upload("multipart/form-data; boundary=b", Self.form, budget: budget)
      #expect(form.name == "a b.jpg")
      #expect(form.fields == fields(("class", "dog; puppy"), ("empty", "")))
      #expect(try FileBytes.read(form.path, limit: 100) == Array("\r\n--x-\r\nbytes".utf8))
      #expect(budget.count == 13)
      let raw = try upload("image/png", "abc", budget: budget)
      #expect(try FileBytes.read(raw.path, limit: 100) == Array("abc".utf8))
      #expect(budget.count == 16)
    }
    #expect(budget.count == 0)
  }

  @Test func uploadsAreBounded() {
    refused(415) { try upload("text/plain", "x") }
    refused(415) { try upload(nil, "x") }
    refused(400) { try upload("image/png", "") }
    refused(413) { try upload("image/png", "abcd", limit: 3) }
    refused(429) { try upload("image/png", "abcd", budget: HeldBytes(limit: 3)) }
    let two = Self.form.replacing("name=class", with: "name=photo")
    refused(400) { try upload("multipart/form-data; boundary=b", two) }
    let none = Self.form.replacing("name=\"photo\"", with: "name=\"photos\"")
    refused(400) { try upload("multipart/form-data; boundary=b", none) }
    #expect(Refusal(429, "x", retryAfter: 5).retryAfter == 5)
  }

  @Test func namesNameNoFile() throws {
    for (name, shown) in [
      ("../../etc/passwd", "passwd"), ("C:\\x\\y.jpg", "y.jpg"), ("..", "photo"), ("", "photo"),
    ] {
      let body = Self.form.replacing("a b.jpg", with: name.replacing("\\", with: "\\\\"))
      #expect(try upload("multipart/form-data; boundary=b", body).name == shown)
    }
  }

  // MARK: fields

  private func form(
    _ pairs: (String, String)..., words: Int = 256, templates: TemplateList? = nil, vocabulary: Bool = false
  ) throws -> SegmentForm {
    var limits = limits
    limits.phraseCount = words
    var fields = FormFields()
    for (key, value) in pairs { fields.add(key, value) }
    return try SegmentForm(
      fields, SegmentOptions(), limits, templates: templates, hasVocabulary: vocabulary)
  }

  @Test func fieldsBecomeARun() throws {
    let found = try form(
      ("class", "dog; puppy"), ("classes", "grass\nsky\r\n"), ("short-side", "224"), ("background", "true"),
      ("negative", "wall; floor"), ("include", "labels,csv,json"))
    #expect(found.classes == ["dog; puppy", "grass", "sky"])
    #expect(found.background && found.negatives == ["wall", " floor"])
    #expect(found.options.shortSide == 224)
    #expect(found.include.map(\.name) == ["labels", "csv"])
    #expect(try form(("class", "a"), ("format", "overlay")).format.contentType == "image/png")
  }

  @Test func fieldsAreChecked() {
    refused(400) { try form() }
    refused(400) { try form(("class", " ")) }
    refused(400) { try form(("class", "a"), ("format", "gif")) }
    refused(400) { try form(("class", "a"), ("format", "csv"), ("include", "labels")) }
    refused(400) { try form(("class", "a"), ("background", "maybe")) }
    refused(400) { try form(("class", "a"), ("beta", "1"), ("beta", "2")) }
    refused(400) { try form(("class", "a"), ("beta", "much")) }
    refused(400) { try form(("class", "a"), ("redundancy", "0.2")) }
    refused(400) { try form(("class", "a"), ("vocabulary", "/etc/passwd")) }
    refused(400) { try form(("class", "a"), ("output", "/tmp/x.png")) }
    refused(413) { try form(("class", "a; b"), ("class", "c"), words: 2) }
    refused(413) { try form(("class", "a"), ("negative", "b; c"), words: 2) }
  }

  @Test func templatesAreNamedAndNeverRead() throws {
    #expect(try form(("class", "a")).templates == nil)
    #expect(try form(("class", "a"), ("templates", "seven")).templates == .seven)
    #expect(try form(("class", "a"), ("templates", "all"), templates: .one).templates == .all)
    let own = try TemplateList(bytes: Array("a map of {}".utf8))
    #expect(try form(("class", "a"), templates: own).templates == own)
    // Vectors that are kept are of the same words in the same sentences.
    var keys = Set(try TemplateList.names.map { try form(("class", "a"), ("templates", $0)).wordKey })
    keys.insert(try form(("class", "a"), templates: own).wordKey)
    keys.insert(try form(("class", "a")).wordKey)
    #expect(keys.count == 5)
    for bad in ["", "eight", "ALL", "/etc/passwd", "./t.txt", "all,one"] {
      refused(400) { try form(("class", "a"), ("templates", bad)) }
    }
    refused(400) { try form(("class", "a"), ("templates", "all"), ("templates", "one")) }
    refused(400) { try form(("templates", "all"), vocabulary: true) }
    refused(400) { try form(("absent", "relevancy"), vocabulary: true) }
    #expect(try form(vocabulary: true).classes.isEmpty)
  }

  // MARK: the site

  private func site(token: String? = nil, hosts: Set<String> = []) -> ServeSite {
    var access = ServeAccess()
    (access.token, access.hosts) = (token.map { Array($0.utf8) }, hosts)
    return ServeSite(
      access: access, limits: limits, defaults: SegmentOptions(), modelName: "m", modelID: "0",
      vocabulary: nil)
  }

  private func ask(
    _ site: ServeSite, _ method: String, _ target: String, _ change: (inout RequestHead) -> Void = { _ in }
  )
    -> Int
  {
    var head = RequestHead()
    (head.method, head.target, head.host) = (method, target, "localhost:8080")
    head.contentType = "image/png"
    head.contentLength = "10"
    change(&head)
    do throws(Refusal) {
      switch try site.decide(head, metrics: { "" }) {
      case .answer(let answer): return answer.status
      case .upload: return 100
      }
    } catch { return error.status }
  }

  @Test func everyAddressAnswers() {
    let open = site()
    for path in ["/", "/healthz", "/metrics", "/openapi.json", "/v1/model"] {
      #expect(ask(open, "GET", path) == 200, "\(path)")
      #expect(ask(open, "POST", path) == 405, "\(path)")
    }
    #expect(ask(open, "GET", "/etc/passwd") == 404)
    #expect(ask(open, "GET", "/../page.html") == 404)
    #expect(ask(open, "GET", "/v1/segment") == 405)
    #expect(ask(open, "POST", "/v1/segment?class=a") == 100)
    #expect(ask(open, "POST", "/v1/segment") { $0.contentLength = nil } == 411)
    #expect(ask(open, "POST", "/v1/segment") { $0.isChunked = true } == 411)
    #expect(ask(open, "POST", "/v1/segment") { $0.contentLength = "-1" } == 400)
    #expect(ask(open, "POST", "/v1/segment") { $0.contentLength = "99999999999" } == 413)
    #expect(ask(open, "POST", "/v1/segment") { $0.contentType = "text/html" } == 415)
  }

  @Test func strangersAreRefused() {
    let guarded = site(token: "0123456789abcdef", hosts: ["localhost"])
    #expect(ask(guarded, "GET", "/v1/model") == 401)
    #expect(ask(guarded, "GET", "/metrics") { $0.authorization = "Bearer 0123456789abcdeg" } == 401)
    #expect(ask(guarded, "GET", "/metrics") { $0.authorization = "Basic 0123456789abcdef" } == 401)
    #expect(ask(guarded, "GET", "/metrics") { $0.authorization = "bearer  0123456789abcdef" } == 200)
    #expect(ask(guarded, "GET", "/healthz") == 200)
    #expect(ask(guarded, "GET", "/healthz") { $0.host = "evil.example:8080" } == 403)
    #expect(ask(guarded, "GET", "/healthz") { $0.host = nil } == 403)
    #expect(ask(guarded, "GET", "/healthz") { $0.origin = "https://evil.example" } == 403)
    #expect(ask(guarded, "GET", "/healthz") { $0.origin = "http://localhost:8080" } == 200)
  }

  @Test func tokensAreComparedWhole() {
    let token = Array("0123456789abcdef".utf8)
    #expect(ServeAccess.isSame(token, token))
    for other in [[], token.dropLast(), token + [0x30]] as [[UInt8]] {
      #expect(!ServeAccess.isSame(Array(other), token))
    }
  }

  @Test func thePageIsTheOneThatCanBeRead() throws {
    let page = try FileBytes.read(repository + "/Sources/CServe/page.html", limit: 1 << 20)
    // Scripts/embed-page.py puts it there.
    #expect(Array(ServePage.bytes) == page)
  }

  // MARK: the line

  private func call(_ answered: @escaping @Sendable (Answer) -> Void = { _ in }) throws -> PhotoCall {
    PhotoCall(try form(("class", "a")), try upload("image/png", "x"), respond: answered)
  }

  @Test func theLineIsBounded() throws {
    let queue = PhotoQueue(limit: 1)
    let calls = [try call(), try call(), try call()]
    #expect(queue.offer(calls[0]) == .taken)
    #expect(queue.next() === calls[0])
    #expect(!queue.isFull)
    #expect(queue.offer(calls[1]) == .taken)
    #expect(queue.isFull)
    #expect(queue.offer(calls[2]) == .full)
    #expect(queue.withdraw(calls[1]))
    #expect(queue.offer(calls[2]) == .taken)
    #expect(queue.stop().count == 1)
    #expect(calls[0].isCancelled && calls[1].isCancelled)
    #expect(queue.next() == nil)
    #expect(queue.offer(calls[1]) == .stopped)
  }

  @Test func aPhotoIsAnsweredOnce() throws {
    final class Count: @unchecked Sendable { var value = 0 }
    let count = Count()
    let call = try call { _ in count.value += 1 }
    call.answer(Answer(Refusal(503, "x")))
    call.answer(Answer(Refusal(503, "x")))
    #expect(count.value == 1)
  }
}
