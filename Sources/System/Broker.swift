// A broker that may be away: what it should know is kept here, and told again whenever it comes back.
//
// A client library queues what it could not send. A queue grows while the broker is away, and after its
// return old values may follow newer ones. So nothing is queued. Of every topic the last value is kept; a new
// connection, with a client of its own, begins by sending all of them. Within a connection values go out in
// order, once: TCP repeats what is lost, and a connection that breaks is followed by a new one. Only what has
// no value later, such as news of a change, is left out while nobody hears it.
//
// One thread owns the client; the others put values under a lock and ring.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// An MQTT broker that is kept informed.
///
/// The status topic is retained: `online` once everything was sent, `offline` by our goodbye or the broker's
/// last will for us.
///
/// - Memory: the last value of each topic, 256 pieces of news at most, and what the library takes.
/// - Errors: none after the start; what happens is told to `remark`.
package final class Broker: @unchecked Sendable {
  package struct Security: Equatable, Sendable {
    /// Certificates that are believed, as PEM; nil: the system's.
    package var authorities: String?
    /// Our own certificate and its key, as PEM.
    package var certificate: String?
    package var key: String?

    package init() {}
  }

  package struct Settings: Equatable, Sendable {
    package var host: String
    package var port: Int
    package var user: String?
    package var password: String?
    /// Nil: what is sent can be read on its way.
    package var security: Security?
    package var statusTopic: String
    /// Seconds after which silence means that the other side is gone; once and a half of it to the broker.
    package var keepalive = 30
    /// Seconds between two attempts: the first, and the longest; each is twice the one before.
    package var pauses = (first: 1.0, longest: 60.0)

    package init(host: String, port: Int, statusTopic: String) {
      (self.host, self.port, self.statusTopic) = (host, port, statusTopic)
    }

    package static func == (a: Settings, b: Settings) -> Bool {
      (a.host, a.port, a.user, a.password, a.statusTopic) == (
        b.host, b.port, b.user, b.password, b.statusTopic
      )
        && (a.security, a.keepalive) == (b.security, b.keepalive) && a.pauses == b.pauses
    }
  }

  private static let newsLimit = 256
  private let settings: Settings
  private let library: Mosquitto
  private let remark: @Sendable (String) -> Void
  private let lock = Lock()
  /// Something is to be sent; the end is wanted; the thread has ended.
  private let (bell, endBell, doneBell): (Bell, Bell, Bell)

  // Under the lock.
  private var order: [String] = []
  private var kept: [String: (payload: String, isSent: Bool)] = [:]
  /// Topics whose value is not sent, from a place on.
  private var unsent: [String] = []
  private var nextUnsent = 0
  private var news: [(topic: String, payload: String)] = []
  private var isHeard = false
  private var isEnding = false

  // Of the thread alone.
  private var answer: Int32?
  private var lastRemark = ""

  /// `remark`: hears from another thread when the broker comes and goes, each thing once.
  ///
  /// - Errors: `.unsupported` where libmosquitto is missing.
  package init(_ settings: Settings, remark: @escaping @Sendable (String) -> Void) throws(SystemError) {
    (self.settings, self.remark) = (settings, remark)
    library = try Mosquitto()
    (bell, endBell, doneBell) = (try Bell(), try Bell(), try Bell())
  }

  /// Connects, now and whenever the connection is lost.
  package func start() throws(SystemError) { try BackgroundThread.run { self.serve() } }

  /// The broker is to hold this value, for who subscribes later, too.
  package func keep(_ topic: String, _ payload: String) {
    lock.with {
      let old = kept[topic]
      if old?.payload == payload { return }
      if old == nil { order.append(topic) }
      if old?.isSent ?? true { unsent.append(topic) }
      kept[topic] = (payload, false)
    }
    bell.ring()
  }

  /// Tells those who listen now.
  package func tell(_ topic: String, _ payload: String) {
    lock.with {
      guard isHeard else { return }
      if news.count == Self.newsLimit { news.removeFirst() }
      news.append((topic, payload))
    }
    bell.ring()
  }

  /// Sends what is left and says goodbye; gives up after so long. Only the first call does.
  package func finish(within seconds: Double = 3) {
    let isFirst = lock.with {
      defer { isEnding = true }
      return !isEnding
    }
    guard isFirst else { return }
    endBell.ring()
    Bell.wait([doneBell.descriptor], seconds: seconds)
  }

  // MARK: the thread

  private func serve() {
    var pause = settings.pauses.first
    while !lock.with({ isEnding }) {
      let (reason, wasHeard) = connection()
      lock.with { (isHeard, news) = (false, []) }
      if lock.with({ isEnding }) { break }
      say("\(reason); trying again")
      if wasHeard { pause = settings.pauses.first }
      Bell.wait([endBell.descriptor], seconds: pause)
      pause = min(pause * 2, settings.pauses.longest)
    }
    doneBell.ring()
  }

  private func say(_ text: String) {
    if text == lastRemark { return }
    lastRemark = text
    remark("mqtt: \(settings.host):\(settings.port): \(text)")
  }

  /// One connection from its begin to its end: why it ended, and whether the broker took it.
  private func connection() -> (reason: String, wasHeard: Bool) {
    let calls = library.functions
    // Without a name the broker makes one: two watches of one topic do not throw each other out.
    guard let client = calls.create(nil, true, Unmanaged.passUnretained(self).toOpaque()) else {
      return ("no memory for a client", false)
    }
    defer { calls.destroy(client) }
    if let reason = prepare(client) { return (reason, false) }
    answer = nil
    errno = 0
    var code = calls.connect(client, settings.host, Int32(settings.port), Int32(settings.keepalive))
    if code != 0 { return (reason(code), false) }
    let deadline = monotonicSeconds() + 20
    var (wasHeard, isAnnounced, saidGoodbye) = (false, false, false)
    while true {
      code = turn(client)
      if saidGoodbye, code != 0 || calls.socket(client) < 0 { return ("goodbye", true) }
      if let answer, answer != 0 { return ("refuses: " + library.refusal(answer), false) }
      if code != 0 { return (reason(code), wasHeard) }
      guard answer != nil else {
        if lock.with({ isEnding }) || monotonicSeconds() > deadline { return ("does not answer", false) }
        continue
      }
      if !wasHeard {
        wasHeard = true
        lock.with {
          isHeard = true
          for topic in order { kept[topic]?.isSent = false }
          (unsent, nextUnsent) = (order, 0)
        }
        say("connected")
      }
      if saidGoodbye { continue }
      guard send(client) else { continue }
      if !isAnnounced {
        _ = publish(client, settings.statusTopic, "online", retain: true)
        isAnnounced = true
      }
      if lock.with({ isEnding }) {
        _ = publish(client, settings.statusTopic, "offline", retain: true)
        _ = calls.disconnect(client)
        saidGoodbye = true
      }
    }
  }

  private func reason(_ code: Int32) -> String { library.text(code, system: errno) }

  /// Will, user, encryption. Returns what is wrong with them.
  private func prepare(_ client: OpaquePointer) -> String? {
    let calls = library.functions
    calls.connect_callback_set(client) { _, object, code in
      guard let object else { return }
      Unmanaged<Broker>.fromOpaque(object).takeUnretainedValue().answer = code
    }
    let will = "offline"
    var code = calls.will_set(client, settings.statusTopic, Int32(will.utf8.count), will, 1, true)
    if code != 0 { return "last will: " + reason(code) }
    if let user = settings.user {
      code = calls.username_pw_set(client, user, settings.password)
      if code != 0 { return "user: " + reason(code) }
    }
    guard let security = settings.security else { return nil }
    let system = security.authorities == nil ? "/etc/ssl/certs" : nil
    code = calls.tls_set(client, security.authorities, system, security.certificate, security.key, nil)
    return code == 0 ? nil : "certificates: " + reason(code)
  }

  /// Waits for the network, for something to send or for a second, and does what there is to do.
  private func turn(_ client: OpaquePointer) -> Int32 {
    let calls = library.functions
    let socket = calls.socket(client)
    // MOSQ_ERR_NO_CONN
    guard socket >= 0 else { return 4 }
    var list = [
      pollfd(fd: socket, events: Int16(POLLIN | (calls.want_write(client) ? POLLOUT : 0)), revents: 0),
      pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: lock.with { isEnding } ? -1 : endBell.descriptor, events: Int16(POLLIN), revents: 0),
    ]
    _ = poll(&list, 3, 1000)
    bell.silence()
    errno = 0
    var code = calls.loop_read(client, 1)
    if code == 0, calls.want_write(client) { code = calls.loop_write(client, 1) }
    return code == 0 ? calls.loop_misc(client) : code
  }

  /// Sends what is not sent yet, as far as the network takes it; returns whether all is.
  private func send(_ client: OpaquePointer) -> Bool {
    let calls = library.functions
    while !calls.want_write(client) {
      let next = lock.with { () -> (topic: String, payload: String, isKept: Bool)? in
        if nextUnsent < unsent.count, let value = kept[unsent[nextUnsent]] {
          let topic = unsent[nextUnsent]
          kept[topic]?.isSent = true
          nextUnsent += 1
          return (topic, value.payload, true)
        }
        (unsent, nextUnsent) = ([], 0)
        if news.isEmpty { return nil }
        let first = news.removeFirst()
        return (first.topic, first.payload, false)
      }
      guard let next else { return true }
      if publish(client, next.topic, next.payload, retain: next.isKept) != 0 { return false }
    }
    return false
  }

  private func publish(_ client: OpaquePointer, _ topic: String, _ payload: String, retain: Bool) -> Int32 {
    library.functions.publish(client, nil, topic, Int32(payload.utf8.count), payload, 0, retain)
  }
}
