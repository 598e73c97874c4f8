// Photos that arrive while the model stays open: what `trident watch` does.
import Segmentation
import System

/// Hears of frames.
package protocol WatchReceiver: AnyObject {
  /// A frame was segmented.
  func take(_ frame: WatchFrame) throws
  /// A photo that arrived could not be. The watch goes on.
  func take(_ arrival: Arrival, _ error: SegmentationError) throws
  /// The watch is over.
  func end(_ counts: WatchCounts) throws
}

/// Segments what arrives, one frame after another.
///
/// - Memory: what one photo takes; nothing stays of it but counts.
/// - Errors: frames that are bad or do not fit are told to the listener and the receivers; everything else
///   ends the watch.
package final class WatchJob {
  package struct Request: Sendable {
    /// Seconds from the beginning of one frame's work to that of the next, at least.
    package var interval = 0.0
    /// Ends after so many frames that were done; nil: never.
    package var count: Int?
    package var rule: PresenceBounds
    /// Mean and best confidence of each class are wanted.
    package var wantsSurety = false
    /// Files that show the last frame.
    package var outputs: [OutputTarget] = []
    /// Those files may replace what this program did not make.
    package var overwrites = false
    /// What else the run reads.
    package var inputs: [String] = []

    package init(_ rule: PresenceBounds) { self.rule = rule }
  }

  private let job: PhotoJob
  private let source: any ArrivalSource
  private let request: Request
  private let receivers: [any WatchReceiver]
  private var tracker: PresenceTracker
  package private(set) var counts = WatchCounts()

  /// `folder`: where photos arrive, if in one: outputs that arrived there would be photos.
  ///
  /// - Errors: `.usage` for outputs that would replace an input, each other or what this program did not
  ///   make, or lie in `folder`.
  package init(
    _ job: PhotoJob, _ source: any ArrivalSource, folder: String? = nil, _ request: Request,
    receivers: [any WatchReceiver]
  ) throws(SegmentationError) {
    (self.job, self.source, self.request, self.receivers) = (job, source, request, receivers)
    tracker = PresenceTracker(request.rule, classes: job.words.count)
    var files = JobFiles(reading: request.inputs)
    for path in request.outputs.flatMap({ $0.format.files($0.named) }) {
      try files.write(path, overwrites: request.overwrites)
      let place = System.folder(of: path)
      if let folder, let own = FileIdentity(folder), own == FileIdentity(place.isEmpty ? "." : place) {
        throw SegmentationError(
          .usage("'\(path)' would arrive in the folder that is watched; name one elsewhere"))
      }
    }
  }

  /// Watches until the source ends, `count` is reached or `isEnding` says so. `endingDescriptor`: readable
  /// when it does; -1 for none.
  package func run(isEnding: @escaping () -> Bool = { false }, endingDescriptor: Int32 = -1) throws {
    var due = monotonicSeconds()
    while !isEnding(), counts.done < request.count ?? .max {
      let pause = due - monotonicSeconds()
      if pause > 0 {
        Bell.wait([endingDescriptor], seconds: pause)
        continue
      }
      switch try take() {
      case .ended: return try end()
      case .nothing: Bell.wait([source.descriptor, endingDescriptor])
      case .arrival(let arrival):
        due = monotonicSeconds() + request.interval
        try work(on: arrival, isEnding)
      }
    }
    try end()
  }

  private func end() throws {
    counts.take(source)
    for receiver in receivers { try receiver.end(counts) }
  }

  private func work(on arrival: Arrival, _ isEnding: @escaping () -> Bool) throws {
    do {
      let report = try job.run(
        PhotoFile(
          path: arrival.path, called: arrival.name, ceilings: job.session.runtime.photoCeilings),
        name: arrival.name,
        into: request.outputs.flatMap(\.sinks) + (request.wantsSurety ? [SuretySink()] : []),
        isCancelled: isEnding)
      counts.take(source)
      let frame = frame(arrival, report.run)
      for receiver in receivers { try receiver.take(frame) }
    } catch is CancellationError {
      // The frame is given up; the goodbye comes next.
    } catch let error as SegmentationError where [3, 5].contains(error.exitCode) {
      let named = error.exitCode == 5 ? error.at(path: arrival.name) : error
      counts.fail()
      counts.take(source)
      job.listener.fail(named)
      for receiver in receivers { try receiver.take(arrival, named) }
    }
  }

  private func frame(_ arrival: Arrival, _ run: RunReport) -> WatchFrame {
    let shares = job.titles.indices.map { run.share(of: $0) }
    let changed = Set(tracker.take(shares))
    counts.finish(changes: changed.count)
    let classes = job.titles.indices.map { label in
      WatchedClass(
        label: label, name: job.titles[label], share: shares[label],
        isPresent: label < job.words.count ? tracker.isPresent(label) : nil,
        hasChanged: changed.contains(label), surety: request.wantsSurety ? surety(of: label, run) : nil)
    }
    return WatchFrame(
      name: arrival.name, time: arrival.time, number: counts.done, width: run.width, height: run.height,
      seconds: run.seconds, counts: counts, classes: classes)
  }

  private func surety(of label: Int, _ run: RunReport) -> (mean: Double, best: Double)? {
    guard let confidence = run.confidence else { return nil }
    return run.meanConfidence(of: label).map { ($0, confidence.best(of: label)) }
  }

  /// A source that fails is a photo that cannot be read.
  private func take() throws(SegmentationError) -> Taken {
    do throws(SystemError) { return try source.take() } catch {
      throw SegmentationError(.photo(error.description))
    }
  }
}

/// Wants confidences, and writes nothing: the report has them by label.
private final class SuretySink: ResultSink {
  let needs = SinkNeeds(confidence: true)
}
