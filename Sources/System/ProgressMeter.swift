// One line of progress with an estimate, once a job has taken a second.
import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Progress on standard error: rewritten in place on a terminal, elsewhere a line every ten seconds.
package final class ProgressMeter {
  private let isPerStage: Bool
  private var start = monotonicSeconds()
  private let quiet: Bool
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private var last: Double
  private var lastStage = ""
  private var wrote = false

  /// `isPerStage`: fractions are of a stage, whose time left is told, and not of the whole job.
  package init(quiet: Bool, isPerStage: Bool = false) {
    self.quiet = quiet
    self.isPerStage = isPerStage
    last = start
  }

  /// `fraction` of the whole job (or stage), 0 to 1; `detail` may change without being a new stage.
  package func show(_ stage: String, _ fraction: Double, detail: String = "") {
    let now = monotonicSeconds()
    if isPerStage && stage != lastStage {
      start = now
      lastStage = stage
    }
    let isDue = isTerminal ? now - last > 0.2 || stage != lastStage : now - last > 10
    guard !quiet, now - start > 1, isDue else { return }
    last = now
    lastStage = stage
    let elapsed = now - start
    var line = "\(stage)\(detail) \(fixed(min(fraction, 1) * 100, 0)) %"
    if fraction > 0.05 && fraction < 1 { line += ", \(Self.duration(elapsed / fraction - elapsed)) left" }
    standardError(isTerminal ? "\r\u{1B}[K" + line : line + "\n")
    wrote = true
  }

  private static func duration(_ seconds: Double) -> String {
    if seconds < 100 { return fixed(seconds, 0) + " s" }
    let minutes = Int((seconds / 60).rounded())
    return minutes < 100 ? "\(minutes) min" : "\(minutes / 60) h \(minutes % 60) min"
  }

  /// Clears the line.
  package func finish() {
    if wrote && isTerminal { standardError("\r\u{1B}[K") }
    wrote = false
  }
}

/// Writes to standard error.
package func standardError(_ text: String) {
  let bytes = Array(text.utf8)
  _ = cs_write_all(STDERR_FILENO, bytes, bytes.count)
}

/// Sends what was printed to standard output.
///
/// - Errors: `.system`, also where printing failed before: a full disk, a stream that is closed.
package func finishPrinting() throws(SystemError) {
  let code = cs_print_end()
  if code != 0 { throw SystemError(.system(action: "write", code: code), path: "standard output") }
}
