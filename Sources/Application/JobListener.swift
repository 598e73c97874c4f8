// How a job talks to whoever runs it: a command prints, a server logs, a test listens.
import Segmentation
import System

/// Shows how far a job is.
package protocol ProgressDisplay: AnyObject {
  /// `fraction` of the whole job, 0 to 1; `detail` may change without being a new stage.
  func show(_ stage: String, _ fraction: Double, detail: String)
  /// Clears what is shown; more may follow.
  func finish()
}

/// Hears of a job what is no result. Does nothing unless told otherwise.
package protocol JobListener: AnyObject {
  /// Progress is wanted; otherwise nothing is computed for it.
  var showsProgress: Bool { get }
  /// A display for one run of steps, whose clock starts now.
  func progressDisplay() -> (any ProgressDisplay)?
  /// A remark that may be left out.
  func note(_ text: String)
  /// A remark that must be seen.
  func warn(_ text: String)
  /// A photo that could not be done; the job goes on.
  func fail(_ error: SegmentationError)
}

extension JobListener {
  package var showsProgress: Bool { false }
  package func progressDisplay() -> (any ProgressDisplay)? { nil }
  package func note(_ text: String) {}
  package func warn(_ text: String) {}
  package func fail(_ error: SegmentationError) {}
}

/// Hears nothing.
package final class SilentListener: JobListener {
  package init() {}
}

extension ProgressMeter: ProgressDisplay {}
