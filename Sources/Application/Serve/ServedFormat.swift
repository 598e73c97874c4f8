// The formats that a server answers in.
import Segmentation
import System

/// One format of an answer.
package struct ServedFormat: Sendable {
  /// In `format=` and `include=`.
  package let name: String
  package let contentType: String
  /// Of the file that a browser saves.
  let ending: String
  let help: String
  /// Writes a file at a path, which is in memory.
  let makeSink: @Sendable (_ path: String) -> any ResultSink

  private init(
    _ name: String, _ contentType: String, _ ending: String, _ help: String,
    _ makeSink: @escaping @Sendable (String) -> any ResultSink
  ) {
    (self.name, self.contentType, self.ending, self.help) = (name, contentType, ending, help)
    self.makeSink = makeSink
  }

  /// The summary, which can carry the others.
  package static let json = ServedFormat(
    "json", "application/json", ".json",
    "size, classes with colour, share, box and confidence, what made it; include= adds files as base64"
  ) { _ in SummarySink() }

  /// No format that names a place of the server, or writes into a folder, is here.
  package static let all = [
    json,
    ServedFormat(
      "labels", "image/png", ".png", "a class number a pixel, indexed; 16-bit grey above 256 classes"
    ) {
      LabelMapSink($0)
    },
    ServedFormat(
      "overlay", "image/png", ".overlay.png", "the photo with labels tinted over it, 1024 pixels long"
    ) {
      OverlaySink($0)
    },
    ServedFormat("confidence", "image/png", ".confidence.png", "how sure each pixel is, 8-bit grey") {
      ConfidenceSink($0)
    },
    ServedFormat("csv", "text/csv; charset=utf-8", ".csv", "a line a class") { CSVSink($0) },
    ServedFormat("coco", "application/json", ".coco.json", "a COCO data set, an annotation a class") {
      COCOSink($0)
    },
    ServedFormat(
      "instances", "application/json", ".instances.json", "a COCO data set, an annotation a region"
    ) {
      COCOSink($0, byRegion: true)
    },
    ServedFormat("cvat", "application/xml", ".cvat.xml", "CVAT for images 1.1, a mask a region") {
      CVATSink($0)
    },
  ]

  static let names = all.map(\.name)

  /// - Errors: 400.
  static func named(_ name: String, for key: String) throws(Refusal) -> ServedFormat {
    if let format = all.first(where: { $0.name == name }) { return format }
    throw Refusal(400, "\(key) is '\(printable(name, limit: 60))', none of \(names.joined(separator: ", "))")
  }
}

/// Where each label lies: kept, not written. The report has their mean confidences.
///
/// - Memory: 100 bytes a class.
final class SummarySink: ResultSink {
  let needs = SinkNeeds(confidence: true)
  private var width = 0
  private var extents: [ClassExtent] = []

  func begin(_ photo: PhotoFacts) {
    width = photo.width
    extents = Array(repeating: ClassExtent(), count: photo.titles.count)
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) {
    forEachRun(labels, width: width) { label, columns in extents[label].add(y, columns) }
  }

  /// Of every label: whether it is there, and its box.
  var classes: [[(String, JSON)]] {
    extents.map { extent in
      guard extent.isPresent else { return [("present", .bool(false)), ("box", .null)] }
      let box = [
        extent.columns.lowerBound, extent.rows.lowerBound, extent.columns.count, extent.rows.count,
      ]
      return [("present", .bool(true)), ("box", .array(box.map { .int($0) }))]
    }
  }
}

extension SegmentReport {
  /// What a server tells of a photo; `more`: of every label, beside what every report has;
  /// `warnings`: what looks wrong in the words.
  func summary(_ more: [[(String, JSON)]], _ warnings: [String]) -> JSON {
    guard case .array(let reported)? = json.member("classes") else { return .null }
    let classes = zip(reported, more).map { one, other -> JSON in
      guard case .object(let members) = one else { return one }
      let names = Set(other.map(\.0))
      return .object(members.filter { !names.contains($0.0) } + other)
    }
    return .object(
      [
        ("photo", .string(photo)), ("width", .int(run.width)), ("height", .int(run.height)),
        ("classes", .array(classes)), ("background", .bool(job.words.classes.background)),
        ("warnings", .array(warnings.map { .string($0) })),
        ("seconds", .number((run.seconds * 1000).rounded() / 1000)), ("version", .string(Trident.version)),
        ("model_id", .string(job.session.modelIdentity)), ("options", job.options.json),
      ] + templates)
  }
}
