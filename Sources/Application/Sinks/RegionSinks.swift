// Connected regions as annotations of other tools: YOLO, LabelMe and CVAT.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let yolo = ResultFormat(
    "yolo", ".txt", isAlwaysFolder: true,
    help: "Folder for a YOLO segmentation label file (.txt) of the photo and the classes' data.yaml.",
    sinks: { [YOLOSink($0)] })
  package static let labelMe = ResultFormat(
    "labelme", ".json", isAlwaysFolder: true,
    help: "Folder for a LabelMe file (.json) of the photo: a polygon for each connected region.",
    sinks: { [LabelMeSink($0)] })
  package static let cvat = ResultFormat(
    "cvat", ".cvat.xml", help: "CVAT for images 1.1: a mask for each connected region (.xml).",
    sinks: { [CVATSink($0)] })
}

/// Collects regions of the photo and writes them as text in the end. Pixels of the background and of no class
/// are left out: annotations are of things that were named.
///
/// - Memory: see `LabelRegions` and `Outline`.
class RegionSink: ResultSink {
  final let path: String
  final private(set) var photo: PhotoFacts?
  private var file: AtomicFile?
  private var regions = LabelRegions()

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    self.photo = photo
    file = try AtomicFile(path: path)
  }

  final func row(_ y: Int, _ labels: UnsafePointer<UInt16>) {
    regions.add(y, labels, width: photo?.width ?? 0)
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    guard let photo, let file else { return [] }
    regions.end()
    try file.write(head(photo))
    var isFirst = true
    try regions.forEachRegion { region, runs in
      let label = regions.labels[region]
      if label >= photo.classes.titles.count || (label == 0 && photo.classes.background) { return }
      try file.write(text(label, regions.extents[region], runs, photo, isFirst: isFirst))
      isFirst = false
    }
    try file.write(tail(photo))
    return [file]
  }

  func head(_ photo: PhotoFacts) -> String { "" }
  func tail(_ photo: PhotoFacts) -> String { "" }
  func text(
    _ label: Int, _ extent: ClassExtent, _ runs: ArraySlice<LabelRegions.Run>, _ photo: PhotoFacts,
    isFirst: Bool
  ) -> String { "" }
}

/// `CLASS X Y X Y ...`, places from 0 to 1, a line a region; holes are joined by cuts.
///
/// - Source: ultralytics' segmentation data sets.
final class YOLOSink: RegionSink {
  /// Of `data.yaml`: tells this program's label files, which cannot say whose they are.
  static let beginning = "# trident: what the label files beside this one number"

  override func text(
    _ label: Int, _ extent: ClassExtent, _ runs: ArraySlice<LabelRegions.Run>, _ photo: PhotoFacts,
    isFirst: Bool
  ) -> String {
    let (width, height) = (Double(photo.width), Double(photo.height))
    let places = Outline(runs).joined.map {
      " \(fixed(Double($0.x) / width, 6)) \(fixed(Double($0.y) / height, 6))"
    }
    return "\(label)" + places.joined() + "\n"
  }

  /// The classes, where no earlier photo of theirs has listed them.
  private var names: AtomicFile?

  /// - Errors: `.output` for a list of other classes, which is not this photo's to replace.
  override func begin(_ photo: PhotoFacts) throws {
    try super.begin(photo)
    let names = photo.classes.titles.enumerated().map { "  \($0): \(JSON.quoted($1))\n" }
    let text = Self.beginning + "\nnames:\n" + names.joined()
    let path = folder(of: self.path) + "data.yaml"
    if fileExists(path) {
      if try FileBytes.read(path, limit: 1 << 24) == Array(text.utf8) { return }
      throw SegmentationError(.output("'\(path)' lists other classes; name another folder"))
    }
    let file = try AtomicFile(path: path)
    try file.write(text)
    self.names = file
  }

  override func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    try super.finish(report) + [names].compactMap { $0 }
  }
}

/// A polygon a region; holes are joined by cuts.
///
/// - Source: labelme's file format, version 5.
final class LabelMeSink: RegionSink {
  override func head(_ photo: PhotoFacts) -> String {
    """
    {
     "description": "trident \(Trident.version)",
     "version": "5.0.0",
     "flags": {},
     "imagePath": \(JSON.quoted(relativePath(photo.name, from: folder(of: path)))),
     "imageData": null,
     "imageHeight": \(photo.height),
     "imageWidth": \(photo.width),
     "shapes": [
    """
  }

  override func tail(_ photo: PhotoFacts) -> String { "\n ]\n}\n" }

  override func text(
    _ label: Int, _ extent: ClassExtent, _ runs: ArraySlice<LabelRegions.Run>, _ photo: PhotoFacts,
    isFirst: Bool
  ) -> String {
    let points = Outline(runs).joined.map { "[\($0.x), \($0.y)]" }.joined(separator: ", ")
    return (isFirst ? "\n" : ",\n")
      + "  {\"label\": \(JSON.quoted(photo.titles[label])), \"points\": [\(points)], "
      + "\"group_id\": null, \"description\": \"\", \"shape_type\": \"polygon\", \"flags\": {}}"
  }
}

/// A mask a region: its box, and run lengths of it row by row, beginning with what is outside.
///
/// - Source: CVAT's format "CVAT for images" 1.1.
final class CVATSink: RegionSink {
  static let beginning = """
    <?xml version="1.0" encoding="utf-8"?>
    <annotations>
      <version>1.1</version>
      <meta><task><name>trident \

    """

  override func head(_ photo: PhotoFacts) -> String {
    let labels = photo.classes.titles.map {
      "<label><name>\(xmlText($0))</name><attributes></attributes></label>"
    }
    return Self.beginning + """
      \(Trident.version)</name><size>1</size><mode>annotation</mode><labels>
      \(labels.joined(separator: "\n"))
        </labels></task></meta>
        <image id="0" name="\(xmlText(photo.name))" width="\(photo.width)" height="\(photo.height)">

      """
  }

  override func tail(_ photo: PhotoFacts) -> String { "  </image>\n</annotations>\n" }

  override func text(
    _ label: Int, _ extent: ClassExtent, _ runs: ArraySlice<LabelRegions.Run>, _ photo: PhotoFacts,
    isFirst: Bool
  ) -> String {
    var counts: [Int] = []
    var end = 0
    for run in runs {
      let start =
        (Int(run.row) - extent.rows.lowerBound) * extent.columns.count
        + Int(run.columns.lowerBound) - extent.columns.lowerBound
      if start == end && !counts.isEmpty {
        counts[counts.count - 1] += run.columns.count
      } else {
        counts += [start - end, run.columns.count]
      }
      end = start + run.columns.count
    }
    let rest = extent.rows.count * extent.columns.count - end
    if rest > 0 { counts.append(rest) }
    let lengths = counts.map(String.init).joined(separator: ", ")
    let places = [
      ("left", extent.columns.lowerBound), ("top", extent.rows.lowerBound),
      ("width", extent.columns.count), ("height", extent.rows.count),
    ]
    let box = places.map { " \($0)=\"\($1)\"" }.joined()
    let name = xmlText(photo.titles[label])
    return
      "    <mask label=\"\(name)\" source=\"auto\" occluded=\"0\" rle=\"\(lengths)\"\(box) z_order=\"0\"/>\n"
  }
}
