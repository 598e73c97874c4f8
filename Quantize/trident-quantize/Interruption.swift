// Leaves no temporary file behind when the run is interrupted.

import Glibc

enum Interruption {
  /// Read by a signal handler, which may only look at plain memory. Written before the handler is installed.
  nonisolated(unsafe) fileprivate static var path: UnsafeMutablePointer<CChar>?

  /// Removes `temporary` and ends with 128 + the signal's number on SIGINT, SIGTERM and SIGHUP.
  static func removeOnSignal(_ temporary: String) {
    path = strdup(temporary)
    for number in [SIGINT, SIGTERM, SIGHUP] {
      signal(number) { number in
        if let path = Interruption.path { unlink(path) }
        _exit(128 + number)
      }
    }
  }

  /// The file has its final name: signals no longer remove anything.
  static func clear() {
    for number in [SIGINT, SIGTERM, SIGHUP] { signal(number, SIG_DFL) }
    free(path)
    path = nil
  }
}
