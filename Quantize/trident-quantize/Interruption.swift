// Leaves no temporary file behind when the run is interrupted.

import Glibc

enum Interruption {
  /// Read by a signal handler, which may only look at plain memory. Written before the handler is installed.
  nonisolated(unsafe) fileprivate static var path: UnsafeMutablePointer<CChar>?

  /// Removes `temporary` and ends with 128 + the signal's number on SIGINT, SIGTERM and SIGHUP.
  static func removeOnSignal(_ temporary: String) {
    path = strdup(temporary)
    // Over a file size limit a write fails instead of ending the process, and is reported like a full disk.
    signal(SIGXFSZ, SIG_IGN)
    for number in [SIGINT, SIGTERM, SIGHUP] where !isIgnored(number) {
      signal(number) { number in
        if let path = Interruption.path { unlink(path) }
        _exit(128 + number)
      }
    }
  }

  /// Whether the caller asked for a signal to be ignored, as `nohup` does: that stays so.
  private static func isIgnored(_ number: Int32) -> Bool {
    var current = sigaction()
    guard sigaction(number, nil, &current) == 0 else { return false }
    return unsafeBitCast(current.__sigaction_handler.sa_handler, to: Int.self) == 1
  }

  /// The file has its final name: signals no longer remove anything.
  static func clear() {
    for number in [SIGINT, SIGTERM, SIGHUP] where !isIgnored(number) { signal(number, SIG_DFL) }
    free(path)
    path = nil
  }
}
