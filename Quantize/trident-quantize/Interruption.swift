// Leaves no temporary file behind when the run is interrupted.

import Glibc
import Raster

enum Interruption {
  /// Read by a signal handler, which may only look at plain memory; never freed, as one may be looking.
  nonisolated(unsafe) private static var model: UnsafeMutablePointer<CChar>?

  /// From here on SIGINT, SIGTERM and SIGHUP remove temporary files and end with 128 + the signal's number.
  static func prepare() {
    // Over a file size limit a write fails instead of ending the process, and is reported like a full disk.
    signal(SIGXFSZ, SIG_IGN)
    for number in [SIGINT, SIGTERM, SIGHUP] where !isIgnored(number) {
      signal(number) { number in
        if let model = Interruption.model { unlink(model) }
        AtomicFile.unlinkAllTemporaries()
        _exit(128 + number)
      }
    }
  }

  /// The model file being written, under its temporary name; nil once it has its final one.
  static func writes(_ temporary: String?) { model = temporary.flatMap { strdup($0) } }

  /// Whether the caller asked for a signal to be ignored, as `nohup` does: that stays so.
  private static func isIgnored(_ number: Int32) -> Bool {
    var current = sigaction()
    guard sigaction(number, nil, &current) == 0 else { return false }
    return unsafeBitCast(current.__sigaction_handler.sa_handler, to: Int.self) == 1
  }
}
