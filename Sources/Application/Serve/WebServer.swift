// Connections in, requests through, answers out: libmicrohttpd's one thread and what watches over it.
import CServe
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Serves a site.
///
/// One thread of the library reads and writes all connections. A photo that is whole goes into the line, and
/// its connection rests until the answer is there. `watch` looks after connections from a thread of its own:
/// one that sends its request too slowly is told so and ended; where all places are taken, the one that has
/// been at it longest makes room.
///
/// - Memory: 32 KiB a connection while a request is on it.
package final class WebServer: @unchecked Sendable {
  private let library: HTTPLibrary
  let site: ServeSite
  let queue: PhotoQueue
  let metrics: ServeMetrics
  private let lock = Lock()
  private var connections: [OpaquePointer: Connection] = [:]
  private var isStopping = false
  private var daemon: OpaquePointer?
  /// Told of every photo's answer: status, and seconds since the request began.
  private let log: @Sendable (String) -> Void

  /// What a connection is at, and since when.
  private struct Connection {
    enum Phase { case idle, reading, working, sending }
    let socket: Int32
    var phase = Phase.reading
    var since = monotonicSeconds()
    /// Until this time its answer should be gone.
    var sendsUntil = 0.0
    var call: PhotoCall?
    /// The head of the request that is read is there.
    var hasHead = false
  }

  /// - Errors: `.unsupported` where libmicrohttpd is missing.
  package init(
    _ site: ServeSite, _ queue: PhotoQueue, _ metrics: ServeMetrics, log: @escaping @Sendable (String) -> Void
  ) throws(SystemError) {
    library = try HTTPLibrary()
    (self.site, self.queue, self.metrics, self.log) = (site, queue, metrics, log)
  }

  /// Begins to serve; this object must live until `stop`.
  ///
  /// - Errors: what the library refuses.
  package func start(_ listener: Listener) throws(SystemError) {
    var settings = cserve_settings()
    settings.listener = listener.descriptor
    settings.connection_limit = UInt32(site.limits.connectionCount)
    settings.head_limit = ServeLimits.headByteCount
    // What `watch` does in time comes first; this is for what it cannot see.
    settings.idle_seconds = UInt32(site.limits.seconds + 5)
    settings.context = Unmanaged.passUnretained(self).toOpaque()
    settings.target = { context, target, connection in
      guard let context, let target, let connection else { return nil }
      let server = Unmanaged<WebServer>.fromOpaque(context).takeUnretainedValue()
      server.begin(connection)
      return Unmanaged.passRetained(WebRequest(target: String(cString: target))).toOpaque()
    }
    settings.handler = { context, connection, _, method, _, bytes, count, state in
      guard let context, let connection, let count, let held = state?.pointee else { return MHD_NO }
      let server = Unmanaged<WebServer>.fromOpaque(context).takeUnretainedValue()
      let request = Unmanaged<WebRequest>.fromOpaque(held).takeUnretainedValue()
      let piece = UnsafeRawBufferPointer(start: bytes, count: count.pointee)
      count.pointee = 0
      return server.handle(request, connection, method.map { String(cString: $0) } ?? "", piece)
    }
    settings.completed = { context, connection, state, _ in
      guard let context, let connection, let held = state?.pointee else { return }
      state?.pointee = nil
      Unmanaged<WebServer>.fromOpaque(context).takeUnretainedValue().complete(connection)
      Unmanaged<WebRequest>.fromOpaque(held).release()
    }
    settings.notified = { context, connection, _, code in
      guard let context, let connection else { return }
      let server = Unmanaged<WebServer>.fromOpaque(context).takeUnretainedValue()
      server.notice(connection, hasBegun: code == MHD_CONNECTION_NOTIFY_STARTED)
    }
    var functions = library.functions
    daemon = cserve_start(&functions, &settings)
    if daemon == nil {
      throw SystemError(.unsupported("libmicrohttpd does not start at \(listener.address)"))
    }
  }

  // MARK: on the thread of connections

  private func notice(_ connection: OpaquePointer, hasBegun: Bool) {
    let socket = socket(of: connection)
    lock.with { connections[connection] = hasBegun ? Connection(socket: socket) : nil }
  }

  private func socket(of connection: OpaquePointer) -> Int32 {
    var functions = library.functions
    return cserve_socket(&functions, connection)
  }

  private func begin(_ connection: OpaquePointer) {
    lock.with {
      // The clock of a new connection runs from its first moment on.
      if connections[connection]?.phase == .idle { connections[connection]?.since = monotonicSeconds() }
      connections[connection]?.phase = .reading
      connections[connection]?.hasHead = false
    }
  }

  private func complete(_ connection: OpaquePointer) {
    lock.with {
      connections[connection]?.call?.cancel()
      connections[connection]?.call = nil
      connections[connection]?.phase = .idle
      connections[connection]?.hasHead = false
      connections[connection]?.since = monotonicSeconds()
    }
  }

  /// A step of a request: its head, a piece of its body, its end, or its answer.
  private func handle(
    _ request: WebRequest, _ connection: OpaquePointer, _ method: String, _ piece: UnsafeRawBufferPointer
  ) -> MHD_Result {
    if !request.hasHead {
      request.hasHead = true
      return head(of: request, connection, method)
    }
    if piece.count > 0 {
      request.take(piece)
      return MHD_YES
    }
    if let answer = request.answer { return send(answer, request, connection) }
    return end(of: request, connection)
  }

  private func head(
    of request: WebRequest, _ connection: OpaquePointer, _ method: String
  ) -> MHD_Result {
    var head = RequestHead()
    (head.method, head.target) = (method, request.target)
    request.isPhoto = method == "POST" && request.target.prefix { $0 != "?" } == "/v1/segment"
    head.contentType = library.header("Content-Type", of: connection)
    head.contentLength = library.header("Content-Length", of: connection)
    head.authorization = library.header("Authorization", of: connection)
    head.host = library.header("Host", of: connection)
    head.origin = library.header("Origin", of: connection)
    head.isChunked = library.header("Transfer-Encoding", of: connection) != nil
    do throws(Refusal) {
      switch try site.decide(head, metrics: metricsText) {
      case .answer(let answer): request.answer = answer
      case .upload(let upload): request.upload = upload
      }
    } catch {
      request.answer = Answer(error)
    }
    lock.with { connections[connection]?.hasHead = true }
    // A body that nobody wants is read and dropped, so that its sender sees the answer and not a broken
    // connection; but not one that is very long, or not sent yet. One of unknown length ends in time, or
    // `watch` ends it.
    let count = head.isChunked ? 1 : head.contentLength.flatMap { Int($0) } ?? 0
    let isDropped =
      count > 0 && count <= 4 * site.limits.bodyByteCount && library.header("Expect", of: connection) == nil
    if let answer = request.answer, !isDropped { return send(answer, request, connection) }
    return MHD_YES
  }

  private func metricsText() -> String {
    let (waiting, isBusy) = queue.load
    let count = lock.with { connections.count }
    var modelID = ""
    if case .string(let text)? = site.model.member("model_id") { modelID = text }
    return metrics.text(
      waiting: waiting, isBusy: isBusy, connections: count, heldBytes: site.held.count, modelID: modelID)
  }

  /// The body is whole: its photo waits for its turn, and its connection for that.
  private func end(of request: WebRequest, _ connection: OpaquePointer) -> MHD_Result {
    guard let upload = request.upload else { return MHD_NO }
    request.upload = nil
    let form: SegmentForm
    do throws(Refusal) {
      try upload.finish()
      form = try SegmentForm(
        upload.fields, site.defaults, site.limits, templates: site.templates,
        hasVocabulary: site.hasVocabulary)
    } catch {
      return send(Answer(error), request, connection)
    }
    // Only this thread lets photos wait, so that there is room afterwards, too.
    if queue.isFull {
      let text = "\(site.limits.queueLength) photos wait already; try again"
      let seconds = metrics.retryAfter(waiting: queue.load.waiting)
      return send(Answer(Refusal(429, text, retryAfter: seconds)), request, connection)
    }
    // Rests before anybody can answer.
    let resting = library.rest(connection)
    let call = PhotoCall(form, upload) { answer in
      request.answer = answer
      resting.wake()
    }
    lock.with {
      connections[connection]?.phase = .working
      connections[connection]?.call = call
    }
    if queue.offer(call) != .taken {
      call.answer(Answer(Refusal(503, "the server is stopping", retryAfter: 10)))
    }
    return MHD_YES
  }

  private func send(_ answer: Answer, _ request: WebRequest, _ connection: OpaquePointer) -> MHD_Result {
    metrics.answered(answer.status)
    lock.with {
      let now = monotonicSeconds()
      connections[connection]?.call = nil
      connections[connection]?.phase = .sending
      connections[connection]?.since = now
      // 16 KiB a second are the least.
      connections[connection]?.sendsUntil =
        now + Double(site.limits.seconds) + Double(answer.byteCount) / 16384
    }
    if request.isPhoto { log("\(answer.status), \(fixed(monotonicSeconds() - request.start, 2)) s") }
    return library.send(answer, on: connection)
  }

  // MARK: on the thread that watches

  private static let late = late408()

  private static func late408() -> String {
    let body = Refusal(408, "the request did not come in in time").json.text() + "\n"
    return "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close\r\n"
      + "Content-Length: \(body.utf8.count)\r\n\r\n" + body
  }

  /// Ends connections whose time is over; withdraws photos whose clients are gone.
  package func watch() {
    let now = monotonicSeconds()
    let limit = Double(site.limits.seconds)
    var gone: [PhotoCall] = []
    lock.with {
      var lateCount = 0
      for connection in connections.values {
        switch connection.phase {
        case .working:
          if let call = connection.call, cserve_is_gone(connection.socket) != 0 { gone.append(call) }
        case .sending:
          if now > connection.sendsUntil { cserve_hang_up(connection.socket, nil, 0) }
        case .idle: if now - connection.since > limit { cserve_hang_up(connection.socket, nil, 0) }
        case .reading:
          if now - connection.since > limit {
            cserve_hang_up(connection.socket, Self.late, Self.late.utf8.count)
            lateCount += 1
          }
        }
      }
      lateCount += makeRoom(now, limit)
      for _ in 0..<lateCount { metrics.answered(408) }
    }
    for call in gone where queue.withdraw(call) {
      call.answer(Answer(Refusal(503, "the client is gone")))
    }
  }

  /// Where no place is left, half of them is made free: first of those whose request has no head yet, then of
  /// those that have been at it longest. Returns how many were told that they are late.
  private func makeRoom(_ now: Double, _ limit: Double) -> Int {
    guard connections.count >= site.limits.connectionCount else { return 0 }
    var lateCount = 0
    // Those whose time is over were ended already.
    let slow = connections.values.filter {
      ($0.phase == .reading || $0.phase == .idle) && now - $0.since > 2 && now - $0.since <= limit
    }
    for connection in slow.sorted(by: { ($0.hasHead ? 1 : 0, $0.since) < ($1.hasHead ? 1 : 0, $1.since) })
      .prefix(site.limits.connectionCount / 2)
    {
      let isLate = connection.phase == .reading
      let text = isLate ? Self.late : ""
      cserve_hang_up(connection.socket, text, text.utf8.count)
      lateCount += isLate ? 1 : 0
    }
    return lateCount
  }

  /// Takes no more connections; photos that wait or are worked on are answered with 503.
  package func beginStopping() {
    let functions = library.functions
    if let daemon {
      let listener = functions.quiesce_daemon(daemon)
      if listener >= 0 { close(listener) }
    }
    for call in queue.stop() { call.answer(Answer(Refusal(503, "the server is stopping", retryAfter: 10))) }
  }

  /// Lets answers go out, for at most so many seconds, then ends everything. No photo may be worked on.
  package func stop(within seconds: Double) {
    let end = monotonicSeconds() + seconds
    while monotonicSeconds() < end {
      let isBusy = lock.with { connections.values.contains { $0.phase == .working || $0.phase == .sending } }
      if !isBusy { break }
      usleep(20_000)
    }
    if let daemon { library.functions.stop_daemon(daemon) }
    daemon = nil
  }
}

/// One request on its connection.
final class WebRequest: @unchecked Sendable {
  let target: String
  let start = monotonicSeconds()
  var hasHead = false
  var upload: Upload?
  /// Written before the connection is woken, read afterwards.
  var answer: Answer?
  /// Sent to where photos go.
  var isPhoto = false

  init(target: String) { self.target = target }

  /// A piece of the body; after an error the rest is dropped.
  func take(_ piece: UnsafeRawBufferPointer) {
    guard answer == nil, let upload else { return }
    do { try upload.add(piece) } catch {
      answer = Answer(Refusal(error, path: upload.path, name: upload.name))
      self.upload = nil
    }
  }
}
