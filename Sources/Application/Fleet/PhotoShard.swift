// Photos of a shard through a model: the work of `ShardJob`.
import Segmentation
import System

/// Segments photos of a list: files as asked for, and a record.
package final class PhotoShard: ShardWork {
  private let job: PhotoJob
  private let outputs: ListedOutputs
  private let wantsAnnotations: Bool
  private let measures: Bool
  private let each: (SegmentReport) throws -> Void

  /// `each`: hears of every photo that was done; `measures`: with memory and faults.
  package init(
    _ job: PhotoJob, _ outputs: ListedOutputs, wantsAnnotations: Bool = false, measures: Bool = false,
    each: @escaping (SegmentReport) throws -> Void = { _ in }
  ) {
    (self.job, self.outputs, self.each) = (job, outputs, each)
    (self.wantsAnnotations, self.measures) = (wantsAnnotations, measures)
  }

  package func head(of shard: Shard) throws -> PartHead {
    // Records name the model.
    try job.session.proveIdentity()
    return PartHead(
      shard: shard, version: Trident.version, settings: job.settings, model: job.session.modelIdentity,
      outputs: outputs.names, hasAnnotations: wantsAnnotations, titles: job.titles, options: job.options.json)
  }

  package func findings(_ photo: ListedPhoto) throws -> PhotoRecord.Findings {
    let record = RecordSink(wantsAnnotations: wantsAnnotations)
    let sinks = try outputs.sinks(of: photo.path) + [record]
    let file = try PhotoFile(path: photo.path, ceilings: job.session.runtime.photoCeilings)
    let display = job.listener.showsProgress ? job.listener.progressDisplay() : nil
    defer { display?.finish() }
    let report = try job.run(
      file, name: photo.path, measures: measures, into: sinks,
      progress: display.map { display in { display.show("photo \(photo.line), \($0)", $1, detail: "") } })
    try each(report)
    return record.findings
  }
}
