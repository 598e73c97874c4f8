// What jobs say, on standard error.
import Application
import Segmentation
import System

/// Remarks, failures and progress of a command, for whoever sits at the terminal.
final class Console: JobListener {
  private let quiet: Bool

  init(quiet: Bool) { self.quiet = quiet }

  var showsProgress: Bool { !quiet }
  func progressDisplay() -> (any ProgressDisplay)? { ProgressMeter(quiet: quiet) }
  func note(_ text: String) { if !quiet { warn(text) } }
  func warn(_ text: String) { standardError("trident: \(text)\n") }
  func fail(_ error: SegmentationError) { complain(error.description) }
}
