// One line of progress with an estimate, once a job has taken a second.
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Progress on standard error: rewritten in place on a terminal, one line a stage elsewhere.
final class ProgressMeter {
  private let start = monotonicSeconds()
  private let quiet: Bool
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private var last = 0.0
  private var lastStage = ""
  private var wrote = false

  init(quiet: Bool) { self.quiet = quiet }

  /// `fraction` of the whole job, 0 to 1; `detail` may change without being a new stage.
  func show(_ stage: String, _ fraction: Double, detail: String = "") {
    let now = monotonicSeconds()
    guard !quiet, now - start > 1, now - last > (isTerminal ? 0.2 : 5) || stage != lastStage else { return }
    last = now
    lastStage = stage
    let elapsed = now - start
    var line = "\(stage)\(detail) \(fixed(min(fraction, 1) * 100, 0)) %"
    if fraction > 0.05 && fraction < 1 { line += ", \(fixed(elapsed / fraction - elapsed, 0)) s left" }
    standardError(isTerminal ? "\r\u{1B}[K" + line : line + "\n")
    wrote = true
  }

  /// Clears the line.
  func finish() {
    if wrote && isTerminal { standardError("\r\u{1B}[K") }
    wrote = false
  }
}
