// A server from its start to its end: what `trident serve` does.
import CServe
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a server is to do.
package struct ServeSettings: Sendable {
  /// What the model is called.
  package var modelName = ""
  package var address = "127.0.0.1"
  package var port = 8080
  package var limits = ServeLimits()
  /// A file whose first line is the token.
  package var tokenFile: String?
  /// Names under which clients may reach it, beside its address.
  package var hosts: [String] = []
  /// Text vectors that stand for the words of all requests.
  package var vocabulary: String?
  /// What words are placed in where requests do not say: `all`, `seven`, `one` or a file; nil: all.
  package var templates: String?

  package init() {}
}

/// Passes lines about photos on; only the thread of connections does.
private struct ServeLog: @unchecked Sendable {
  let listener: any JobListener

  func note(_ line: String) { listener.note("photo: " + line) }
}

/// Serves until SIGINT or SIGTERM.
///
/// Three threads beside the engine's: the caller's works on photos, the library's reads and writes, and one
/// looks after time and signals.
package final class ServeJob: @unchecked Sendable {
  private let session: Session
  private let settings: ServeSettings
  private let listener: any JobListener
  private let queue: PhotoQueue
  private let metrics = ServeMetrics()
  private let server: WebServer
  private let options: SegmentOptions
  private let lock = Lock()
  /// Everything is done; under the lock.
  private var isOver = false

  /// Checks everything that can be checked before a socket is there.
  ///
  /// `options`: what requests begin with.
  ///
  /// - Errors: `.usage` for settings that make no sense and a token that is too short; `.otherModel` and the
  ///   like for the vocabulary; `.memory` where the limit is too small for any photo; `SystemError` where
  ///   libmicrohttpd is missing.
  package init(
    _ session: Session, _ settings: ServeSettings, _ options: SegmentOptions, listener: any JobListener
  ) throws {
    (self.session, self.settings, self.options, self.listener) = (session, settings, options, listener)
    // Before the engine's threads are there, which would take signals otherwise.
    cserve_hold_signals()
    queue = PhotoQueue(limit: settings.limits.queueLength)
    let words = try Self.check(session, options, settings)
    var access = ServeAccess()
    if let path = settings.tokenFile { access.token = try Self.token(path) }
    let named = settings.hosts.map { $0.lowercased() }
    if Self.isLoopback(settings.address) || !named.isEmpty {
      access.hosts = Set(named + ["localhost", "127.0.0.1", "[::1]", settings.address.lowercased()])
      if settings.address.contains(":") { access.hosts.insert("[\(settings.address.lowercased())]") }
    }
    let site = ServeSite(
      access: access, limits: settings.limits, defaults: options,
      modelName: settings.modelName, modelID: session.modelIdentity,
      vocabulary: settings.vocabulary == nil ? nil : words.classes.titles,
      templates: settings.templates == nil ? nil : words.templates)
    let log = ServeLog(listener: listener)
    server = try WebServer(site, queue, metrics) { line in log.note(line) }
    Heap.trim()
  }

  private static func isLoopback(_ address: String) -> Bool {
    address == "localhost" || address == "::1" || address.hasPrefix("127.")
  }

  /// The first line of a file.
  ///
  /// - Errors: `.usage` for a file that cannot be read, and a token that can be guessed.
  static func token(_ path: String) throws(SegmentationError) -> [UInt8] {
    let bytes: [UInt8]
    do throws(SystemError) { bytes = try FileBytes.read(path, limit: 4096) } catch {
      throw SegmentationError(.usage("--token-file: \(error.description)"))
    }
    let line = bytes.prefix { $0 != 0x0A && $0 != 0x0D }
    guard line.count >= 16, line.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      throw SegmentationError(
        .usage(
          "--token-file \(path): its first line must be 16 or more printable characters without spaces; "
            + "'openssl rand -hex 32' makes one"))
    }
    return Array(line)
  }

  /// Plans a photo of a usual size; returns its words, with the vocabulary's classes and the templates.
  private static func check(
    _ session: Session, _ options: SegmentOptions, _ settings: ServeSettings
  ) throws -> Words {
    guard settings.vocabulary != nil || session.hasText else {
      throw SegmentationError(
        .usage("the model has no text network; --vocabulary FILE (of 'trident text') brings its words"))
    }
    var source = ClassSource()
    (source.vocabulary, source.templates) = (settings.vocabulary, settings.templates)
    let words = try Words(planning: source, session)
    _ = try session.plan(PhotoSize(width: 640, height: 480), words.planned(options), options)
    return words
  }

  /// Serves until it is told to end. `started`: told the address once clients can come.
  ///
  /// - Errors: `.usage` for an address that is none; `SystemError` for one that is taken.
  package func run(started: (_ address: String) throws -> Void) throws {
    let socket: Listener
    do throws(SystemError) {
      socket = try Listener(address: settings.address, port: settings.port)
    } catch {
      if case .malformed = error.reason { throw SegmentationError(.usage("--listen " + error.description)) }
      throw error
    }
    if !socket.isLoopback && settings.tokenFile == nil {
      listener.warn(
        "warning: everybody who can reach \(socket.address) may use it; --token-file FILE asks for a token")
    }
    try server.start(socket)
    let watcher = try watch()
    try started(socket.address)
    PhotoServer(session, settings.limits, vocabulary: settings.vocabulary, metrics, listener: listener)
      .run(queue)
    server.stop(within: 5)
    lock.with { isOver = true }
    pthread_join(watcher, nil)
  }

  /// Looks after connections and signals until there is one, and once more after that.
  private func watch() throws(SystemError) -> pthread_t {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, 256 << 10)
    defer { pthread_attr_destroy(&attributes) }
    var thread = pthread_t()
    let start = Unmanaged.passRetained(self).toOpaque()
    let code = pthread_create(
      &thread, &attributes,
      { argument in
        let job = Unmanaged<ServeJob>.fromOpaque(argument!).takeRetainedValue()
        while cserve_wait_for_signal(1000) == 0 { job.server.watch() }
        job.server.beginStopping()
        // What cannot be interrupted, such as the encoding of words, ends with the next one.
        while !job.lock.with({ job.isOver }) {
          let number = cserve_wait_for_signal(100)
          if number != 0 { _exit(128 + number) }
        }
        return nil
      }, start)
    guard code == 0 else {
      Unmanaged<ServeJob>.fromOpaque(start).release()
      throw SystemError(.system(action: "start a thread", code: code))
    }
    return thread
  }
}
