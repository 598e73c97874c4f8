// One line of progress with an estimate, once a job has taken a second.
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Progress on standard error: rewritten in place on a terminal, elsewhere a line every ten seconds.
final class ProgressMeter {
  private let start = monotonicSeconds()
  private let quiet: Bool
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private var last: Double
  private var lastStage = ""
  private var wrote = false

  init(quiet: Bool) {
    self.quiet = quiet
    last = start
  }

  /// `fraction` of the whole job, 0 to 1; `detail` may change without being a new stage.
  func show(_ stage: String, _ fraction: Double, detail: String = "") {
    let now = monotonicSeconds()
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
  func finish() {
    if wrote && isTerminal { standardError("\r\u{1B}[K") }
    wrote = false
  }
}
