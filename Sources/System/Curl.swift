// libcurl, opened when something is to be downloaded.
import CSystem

/// libcurl's easy interface, as far as downloads need it.
package struct Curl {
  private let functions: cs_curl

  private let agent: String

  /// `agent`: how the program calls itself to servers.
  ///
  /// - Errors: `.unsupported` where the library is missing, with its package.
  package init(agent: String) throws(SystemError) {
    self.agent = agent
    let library = try OptionalLibrary.curl.open()
    typealias Initializer = @convention(c) (Int) -> Int32
    let begin: Initializer = try library.function("curl_global_init")
    // Everything that it knows: CURL_GLOBAL_ALL.
    guard begin(3) == 0 else { throw SystemError(.unsupported("libcurl would not start")) }
    func function(_ name: String) throws(SystemError) -> UnsafeMutableRawPointer {
      typealias Plain = @convention(c) () -> Void
      let symbol: Plain = try library.function(name)
      return unsafeBitCast(symbol, to: UnsafeMutableRawPointer.self)
    }
    functions = cs_curl(
      easy_init: try function("curl_easy_init"), easy_setopt: try function("curl_easy_setopt"),
      easy_perform: try function("curl_easy_perform"), easy_cleanup: try function("curl_easy_cleanup"),
      easy_getinfo: try function("curl_easy_getinfo"), easy_strerror: try function("curl_easy_strerror"))
  }

  /// How a download ended.
  package struct Ending: Sendable {
    package enum Kind: Sendable {
      case done
      /// The answer was that there is no such file, or no right to it; the status is HTTP's.
      case refused(Int)
      /// The server gives no ranges, or none from there on.
      case noRange
      /// What `take` refused.
      case unwanted
      /// Anything between here and there.
      case broken
    }
    package let kind: Kind
    /// libcurl's words.
    package let message: String
  }

  private final class Receiver {
    let take: (UnsafeRawBufferPointer) -> Bool
    let progress: (Int64, Int64) -> Void
    init(
      take: @escaping (UnsafeRawBufferPointer) -> Bool, progress: @escaping (Int64, Int64) -> Void
    ) {
      (self.take, self.progress) = (take, progress)
    }
  }

  /// Fetches from byte `first` on. `take`: gets the bytes; false ends the download. `progress`: total and
  /// present bytes of this answer.
  package func fetch(
    _ address: String, from first: Int,
    take: @escaping (UnsafeRawBufferPointer) -> Bool, progress: @escaping (Int64, Int64) -> Void
  ) -> Ending {
    let receiver = Receiver(take: take, progress: progress)
    var (functions, request, end) = (functions, cs_download(), cs_download_end())
    let isSafe = address.lowercased().hasPrefix("https:")
    request.first = Int64(first)
    request.stall_seconds = 60
    request.context = Unmanaged.passUnretained(receiver).toOpaque()
    request.take = { context, bytes, count in
      guard let context, let bytes else { return 1 }
      let receiver = Unmanaged<Receiver>.fromOpaque(context).takeUnretainedValue()
      return receiver.take(UnsafeRawBufferPointer(start: bytes, count: count)) ? 0 : 1
    }
    request.progress = { context, total, now in
      guard let context else { return 0 }
      Unmanaged<Receiver>.fromOpaque(context).takeUnretainedValue().progress(total, now)
      return 0
    }
    address.withCString { address in
      // What is not encrypted is checked by its sum alone; what is stays so.
      (isSafe ? "https" : "http,https,file").withCString { protocols in
        (isSafe ? "https" : "http,https").withCString { redirected in
          self.agent.withCString { agent in
            (request.address, request.protocols) = (address, protocols)
            (request.redirected, request.agent) = (redirected, agent)
            cs_download_run(&functions, &request, &end)
          }
        }
      }
    }
    withExtendedLifetime(receiver) {}
    let message = withUnsafePointer(to: &end.message) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    return Ending(kind: Self.kind(Int(end.code), Int(end.status)), message: message)
  }

  private static func kind(_ code: Int, _ status: Int) -> Ending.Kind {
    switch code {
    case 0: .done
    case CS_CURL_RANGE: .noRange
    case CS_CURL_HTTP where status == 416: .noRange
    case CS_CURL_HTTP where status == 408 || status == 429 || status >= 500: .broken
    case CS_CURL_HTTP: .refused(status)
    case CS_CURL_WRITE: .unwanted
    default: .broken
    }
  }
}
