// What a photo holds, as a table: a line a class.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let csv = ResultFormat(
    "csv", ".csv", help: "A line a class: present, pixels, share, box, centre and mean confidence (.csv).",
    sinks: { [CSVSink($0)] })
}

/// RFC 4180: a head, then a line a class; box, centre and confidence are empty where a class is absent.
final class CSVSink: ResultSink {
  let needs = SinkNeeds(confidence: true)
  private let path: String
  private var photo: PhotoFacts?
  private var file: AtomicFile?
  private var extents: [ClassExtent] = []

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    self.photo = photo
    file = try AtomicFile(path: path)
    extents = Array(repeating: ClassExtent(), count: photo.titles.count)
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) {
    forEachRun(labels, width: photo?.width ?? 0) { label, columns in extents[label].add(y, columns) }
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    guard let photo, let file else { return [] }
    try file.write("photo,class,name,present,pixels,share,left,top,width,height,x,y,confidence\n")
    for (label, title) in photo.titles.enumerated() {
      let extent = extents[label]
      let share = Double(extent.pixelCount) / Double(photo.width * photo.height)
      var cells = [Self.quoted(photo.name), "\(label)", Self.quoted(title), extent.isPresent ? "1" : "0"]
      cells += ["\(extent.pixelCount)", fixed(share, 6)]
      if extent.isPresent {
        cells += [extent.columns.lowerBound, extent.rows.lowerBound, extent.columns.count, extent.rows.count]
          .map(String.init)
        cells += [fixed(extent.centre.x, 2), fixed(extent.centre.y, 2)]
        cells.append(fixed(report.run.meanConfidence(of: label) ?? 0, 4))
      } else {
        cells += [String](repeating: "", count: 7)
      }
      try file.write(cells.joined(separator: ",") + "\n")
    }
    return [file]
  }

  private static func quoted(_ text: String) -> String {
    guard text.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else { return text }
    return "\"" + text.map { $0 == "\"" ? "\"\"" : String($0) }.joined() + "\""
  }
}
