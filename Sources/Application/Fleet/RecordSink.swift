// What a photo holds, kept for its record instead of written.
import Segmentation
import System

/// Hands what it gets to the sinks of `--csv` and, where annotations are wanted, `--coco`, and keeps what
/// these would have written: records cannot differ from files.
///
/// - Memory: that of the two, and their files.
final class RecordSink: ResultSink {
  private(set) var findings = PhotoRecord.Findings()
  /// Of what goes to standard output: a file in memory, which is not sent here.
  private let table = CSVSink("-")
  private let annotations: COCOSink?

  init(wantsAnnotations: Bool) { annotations = wantsAnnotations ? COCOSink("-") : nil }

  private var sinks: [any ResultSink] { [table] + [annotations].compactMap { $0 } }

  var needs: SinkNeeds { SinkNeeds(sinks) }
  func begin(_ photo: PhotoFacts) throws { for sink in sinks { try sink.begin(photo) } }
  func confidence(_ y: Int, _ confidence: UnsafePointer<UInt8>) throws {
    for sink in sinks { try sink.confidence(y, confidence) }
  }
  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws { for sink in sinks { try sink.row(y, labels) } }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    (findings.width, findings.height) = (report.run.width, report.run.height)
    findings.seconds = report.run.seconds
    findings.peakResident = ProcessMemory.now().peakResident
    findings.pixels = report.run.refinement.pixels
    findings.table = String(decoding: try bytes(of: table, report), as: UTF8.self)
    guard let annotations else { return [] }
    guard case .array(let list)? = try JSONReader.parse(bytes(of: annotations, report)).member("annotations")
    else { return [] }
    findings.annotations = list.map { annotation in
      guard case .object(let members) = annotation else { return annotation }
      return .object(members.filter { $0.0 != "id" && $0.0 != "image_id" })
    }
    return []
  }

  private func bytes(of sink: any ResultSink, _ report: SegmentReport) throws -> [UInt8] {
    try sink.finish(report).first?.bytes() ?? []
  }
}
