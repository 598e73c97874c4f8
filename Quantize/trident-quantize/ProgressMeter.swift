// One line of progress on the standard error stream, with the time left.

import Container
import Glibc
import Quantization

/// Redraws at most ten times a second on a terminal; on a pipe, writes a line every ten seconds.
final class ProgressMeter {
  private let isQuiet: Bool
  private let isTerminal = isatty(2) == 1
  private var stage: QuantizationProgress.Stage?
  private var stageStart = 0.0
  private var lastShown = 0.0
  private var hasLine = false

  init(isQuiet: Bool) { self.isQuiet = isQuiet }

  func show(_ progress: QuantizationProgress) {
    guard !isQuiet else { return }
    let now = Self.seconds()
    if stage != progress.stage {
      stage = progress.stage
      stageStart = now
      lastShown = isTerminal ? 0 : now
    }
    guard now - lastShown >= (isTerminal ? 0.1 : 10) else { return }
    lastShown = now
    let share = progress.total > 0 ? Double(progress.done) / Double(progress.total) : 1
    let word =
      switch progress.stage {
      case .hashing: "hashing"
      case .writing: "quantizing"
      case .calibrating: "calibrating"
      }
    var line = "\(word) \(Int(share * 100)) %  \(printable(progress.name, limit: 60))"
    // The first percent says little about the rest.
    if share > 0.01 { line += "  \(Self.duration((now - stageStart) * (1 - share) / share)) left" }
    QuantizeCommand.say(isTerminal ? "\r\u{1B}[K" + line.prefix(100) : line + "\n")
    hasLine = isTerminal
  }

  /// Clears the line.
  func end() {
    if hasLine { QuantizeCommand.say("\r\u{1B}[K") }
    hasLine = false
  }

  private static func duration(_ seconds: Double) -> String {
    let whole = Int(seconds.rounded(.up))
    return whole < 60 ? "\(whole) s" : "\(whole / 60) min \(whole % 60) s"
  }

  private static func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}
