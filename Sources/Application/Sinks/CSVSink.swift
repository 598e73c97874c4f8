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
  /// Sums over the pixels of each class, and of the row that comes next.
  private var sums: [Int] = []
  private var sure: [UInt8] = []

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    self.photo = photo
    file = try AtomicFile(path: path)
    extents = Array(repeating: ClassExtent(), count: photo.titles.count)
    sums = Array(repeating: 0, count: photo.titles.count)
    sure = Array(repeating: 0, count: photo.width)
  }

  func confidence(_ y: Int, _ confidence: UnsafePointer<UInt8>) {
    for x in sure.indices { sure[x] = confidence[x] }
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) {
    forEachRun(labels, width: sure.count) { label, columns in
      extents[label].add(y, columns)
      for x in columns { sums[label] += Int(sure[x]) }
    }
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
        cells.append(fixed(Double(sums[label]) / Double(255 * extent.pixelCount), 4))
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
