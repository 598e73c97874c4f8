// Classes of a photo as a COCO data set: run lengths, area and box of each.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let coco = ResultFormat(
    "coco", ".coco.json",
    help: "A COCO data set: run lengths (RLE), area and box of each class that is there (.json).",
    sinks: { [COCOSink($0)] })
  package static let instances = ResultFormat(
    "instances", ".instances.json",
    help: "A COCO data set with an annotation for each connected region instead (.json).",
    sinks: { [COCOSink($0, byRegion: true)] })
}

/// One image, all classes as categories, an annotation for each class that is there, or for each of its
/// connected regions.
///
/// - Memory: 16 bytes for every vertical run of equal labels: some tens a column; by region also
///   `LabelRegions`.
/// - Source: the data format of cocodataset.org; run lengths go down the columns and are written as
///   pycocotools does.
final class COCOSink: ResultSink {
  /// A vertical run of one label.
  private struct Run {
    let label: UInt16
    /// Of the region; of the label where all its regions are one annotation.
    var group: UInt32
    let column: UInt32
    let rows: (start: UInt32, end: UInt32)
  }

  private let path: String
  private var photo: PhotoFacts?
  private var file: AtomicFile?
  private var extents: [ClassExtent] = []
  private var regions: LabelRegions?
  private var runs: [Run] = []
  /// Of each column: the class of the run that is not over, and where it began.
  private var open: [(label: UInt16, start: UInt32)] = []

  init(_ path: String, byRegion: Bool = false) {
    self.path = path
    if byRegion { regions = LabelRegions() }
  }

  func begin(_ photo: PhotoFacts) throws {
    self.photo = photo
    file = try AtomicFile(path: path)
    extents = Array(repeating: ClassExtent(), count: photo.titles.count)
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) {
    let width = photo?.width ?? 0
    if regions == nil {
      forEachRun(labels, width: width) { extents[$0].add(y, $1) }
    } else {
      regions?.add(y, labels, width: width)
    }
    if y == 0 {
      open = (0..<width).map { (labels[$0], 0) }
      return
    }
    for x in 0..<width where labels[x] != open[x].label {
      end(x, y)
      open[x] = (labels[x], UInt32(y))
    }
  }

  private func end(_ x: Int, _ y: Int) {
    let label = open[x].label
    runs.append(Run(label: label, group: UInt32(label), column: UInt32(x), rows: (open[x].start, UInt32(y))))
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    guard let photo, let file else { return [] }
    for x in 0..<photo.width { end(x, photo.height) }
    open = []
    regions?.end()
    if let regions {
      extents = regions.extents
      for index in runs.indices {
        let region = regions.region(row: Int(runs[index].rows.start), column: Int(runs[index].column))
        runs[index].group = UInt32(region)
      }
    }
    runs.sort { ($0.group, $0.column, $0.rows.start) < ($1.group, $1.column, $1.rows.start) }
    var annotations: [JSON] = []
    var rest = runs[...]
    while let group = rest.first?.group {
      let mine = rest.prefix { $0.group == group }
      rest = rest.dropFirst(mine.count)
      annotations.append(annotation(annotations.count + 1, mine, extents[Int(group)], photo))
    }
    let image = JSON.object([
      ("id", .int(1)), ("file_name", .string(photo.name)), ("width", .int(photo.width)),
      ("height", .int(photo.height)),
    ])
    let categories = photo.titles.enumerated().map { label, title in
      JSON.object([("id", .int(label)), ("name", .string(title)), ("supercategory", .string(""))])
    }
    let info = JSON.object([("description", .string("trident \(Trident.version)"))])
    try file.write(
      JSON.object([
        ("info", info), ("images", .array([image])), ("categories", .array(categories)),
        ("annotations", .array(annotations)),
      ]).text() + "\n")
    return [file]
  }

  private func annotation(
    _ id: Int, _ runs: ArraySlice<Run>, _ extent: ClassExtent, _ photo: PhotoFacts
  ) -> JSON {
    let (height, width) = (photo.height, photo.width)
    let label = Int(runs.first?.label ?? 0)
    var counts: [Int] = []
    var end = 0
    for run in runs {
      let start = Int(run.column) * height + Int(run.rows.start)
      let length = Int(run.rows.end - run.rows.start)
      if start == end && !counts.isEmpty {
        counts[counts.count - 1] += length
      } else {
        counts += [start - end, length]
      }
      end = start + length
    }
    if end < height * width { counts.append(height * width - end) }
    let box = [extent.columns.lowerBound, extent.rows.lowerBound, extent.columns.count, extent.rows.count]
    return .object([
      ("id", .int(id)), ("image_id", .int(1)), ("category_id", .int(label)),
      ("area", .int(extent.pixelCount)),
      ("bbox", .array(box.map { .int($0) })), ("iscrowd", .int(0)),
      (
        "segmentation",
        .object([("size", .array([.int(height), .int(width)])), ("counts", .string(Self.text(counts)))])
      ),
    ])
  }

  /// Run lengths as text: from the fourth on the difference to the one before the last, five bits a
  /// character, lowest first, with a bit for "more follows", from `0` on.
  private static func text(_ counts: [Int]) -> String {
    var out: [UInt8] = []
    for (index, count) in counts.enumerated() {
      var value = index > 2 ? count - counts[index - 2] : count
      while true {
        let bits = value & 0x1F
        value >>= 5
        let isLast = value == (bits & 0x10 == 0 ? 0 : -1)
        out.append(UInt8(48 + bits + (isLast ? 0 : 0x20)))
        if isLast { break }
      }
    }
    return String(decoding: out, as: UTF8.self)
  }
}
