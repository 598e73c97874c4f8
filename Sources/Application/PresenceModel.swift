// Which classes a photo shows, told by a model of another method: it labels the photo first, in its fast
// profile.
import Segmentation
import System

/// What `--presence-model` names.
///
/// - Memory: its text vectors stay. Its run gives its room back before the method's own begins; each has a
///   plan of its own within the limit.
final class PresenceModel {
  /// Least share of a photo's pixels of a class that is there.
  static let edge = 0.005
  private let job: PhotoJob

  /// - Errors: `.usage` for a model file of another method than Trident and SC-CLIP; those of `Session` and
  ///   `Words`.
  init(
    _ path: String, _ classes: ClassList, usesCache: Bool, _ runtime: RuntimeOptions
  ) throws(SegmentationError) {
    let session: Session
    do { session = try Session(modelPath: path, runtime: runtime) } catch let error as SegmentationError {
      throw error
    } catch { throw SegmentationError(.model("\(error)"), path: path) }
    guard [.trident, .scCLIP].contains(session.method) else {
      throw SegmentationError(
        .usage(
          "--presence-model is for method \(session.method.rawValue); name a model file of Trident or SC-CLIP"
        ),
        path: path)
    }
    var source = ClassSource()
    source.phrases = (0..<classes.count).map { classes.line(ofClass: $0) }
    if classes.background { source.backgroundClass = classes.phrases(ofClass: 0).first }
    source.usesCache = usesCache
    var options = SegmentOptions(method: session.method)
    options.limit(to: session.method == .trident ? .fast : .tiny)
    job = PhotoJob(session, try Words(source, session), options)
  }

  /// Model, options and edge: part of what a result depends on.
  var identity: String { "\(job.settings) \(Self.edge)" }

  /// The classes of one photo, ascending, and what each class has of its pixels.
  ///
  /// - Errors: those of `PhotoJob.run`.
  func find(
    _ photo: any PhotoPixels, named name: String, _ listener: any JobListener, _ isCancelled: (() -> Bool)?
  ) throws -> (present: [Int], shares: [Double]) {
    let classes = job.words.classes
    let display = listener.progressDisplay()
    defer { display?.finish() }
    let run = try job.run(
      photo, name: name, into: [], progress: { display?.show($0, $1, detail: "") }, isCancelled: isCancelled
    ).run
    let shares = (0..<classes.count).map { run.share(of: $0) }
    let looked = classes.looked
    let present = looked.filter { shares[$0] >= Self.edge }
    if !present.isEmpty { return (present, shares) }
    // A method needs a class to look for.
    return (looked.max { shares[$0] < shares[$1] }.map { [$0] } ?? [], shares)
  }

  /// Its run on a photo, words included.
  ///
  /// - Errors: `.memory` with the smallest limit that would do.
  func plan(_ photo: any PhotoPixels, within limit: MemoryLimit) throws -> MemoryPlan {
    try PlanJob(job.session, job.words, job.options).plan(photo, SinkNeeds(), within: limit).plan
  }
}

extension ClassList {
  /// The classes that may be looked for: all but the background.
  var looked: [Int] { Array((background ? 1 : 0)..<count) }
}
