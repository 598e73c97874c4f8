// A thread beside the one that works: it waits for a camera, or for a broker.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

package enum BackgroundThread {
  private final class Start {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  /// Runs `body` in a thread of its own, which nobody waits for.
  ///
  /// - Memory: what is used of a stack of 512 KiB.
  /// - Errors: `.system` where no thread can be had.
  package static func run(_ body: @escaping @Sendable () -> Void) throws(SystemError) {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, 512 << 10)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    let start = Unmanaged.passRetained(Start(body)).toOpaque()
    var thread = pthread_t()
    let code = pthread_create(
      &thread, &attributes,
      { argument in
        Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue().body()
        return nil
      }, start)
    guard code != 0 else { return }
    Unmanaged<Start>.fromOpaque(start).release()
    throw SystemError(.system(action: "start a thread", code: code))
  }
}

/// A descriptor that is readable while something is to be looked at.
package final class Bell: Sendable {
  /// Readable between `ring` and `silence`.
  package let descriptor: Int32
  private let button: Int32

  /// - Errors: no descriptors are left.
  package init() throws(SystemError) {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw .errno("make a pipe") }
    (descriptor, button) = (ends[0], ends[1])
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
  }

  deinit {
    close(descriptor)
    close(button)
  }

  package func ring() {
    var byte: UInt8 = 0
    _ = write(button, &byte, 1)
  }

  package func silence() {
    var bytes = (UInt64(0), UInt64(0))
    while read(descriptor, &bytes, 16) > 0 {}
  }

  /// Waits until one of the descriptors is readable; those below 0 never are. `seconds`: at most so long, nil
  /// for ever. An interruption ends the wait, too.
  package static func wait(_ descriptors: [Int32], seconds: Double? = nil) {
    var list = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    let milliseconds = seconds.map { Int32(min(max($0 * 1000, 0).rounded(.up), 2_000_000_000)) } ?? -1
    _ = poll(&list, nfds_t(list.count), milliseconds)
  }
}
