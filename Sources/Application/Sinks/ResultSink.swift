// Where results go: one sink a format, and the table of formats.
import Raster
import Segmentation
import System

/// What a sink knows before the first row.
package struct PhotoFacts: Sendable {
  /// As it was named.
  package let name: String
  /// Of the upright photo, pixels.
  package let width: Int
  package let height: Int
  package let classes: ClassList
  /// What results call each label; one more than classes where pixels may be of no class.
  package let titles: [String]
  package let colours: LabelColours
  package let style: PictureStyle
  /// Where on earth the pixels lie, where the photo says so.
  package var place: GeoTags?
}

/// What sinks want of a run besides rows of labels. What none wants is not computed.
package struct SinkNeeds: Equatable, Sendable {
  /// Long side of a copy of the photo, pixels; the photo's own where that is smaller.
  package var previewSide: Int?
  /// Class scores on the grid.
  package var scores = false
  /// How sure the scores are of every pixel.
  package var confidence = false
  /// Intermediate results by name.
  package var taps = false

  package init(
    previewSide: Int? = nil, scores: Bool = false, confidence: Bool = false, taps: Bool = false
  ) {
    (self.previewSide, self.scores, self.confidence, self.taps) = (previewSide, scores, confidence, taps)
  }

  /// What any of several sinks wants.
  package init(_ sinks: [any ResultSink]) {
    self.init()
    for needs in sinks.map(\.needs) {
      previewSide = [previewSide, needs.previewSide].compactMap { $0 }.max()
      scores = scores || needs.scores
      confidence = confidence || needs.confidence
      taps = taps || needs.taps
    }
  }

  /// Of several sinks that look as `style` says.
  init(_ sinks: [any ResultSink], _ style: PictureStyle) {
    self.init(sinks)
    if let side = style.overlaySide, let wanted = previewSide { previewSide = min(side, wanted) }
  }
}

/// Takes the results of one photo in one format.
///
/// Calls come in the order of the declarations; those after `begin` only where the sink needs them. All sinks
/// of a photo begin before any work on it, and their files get their names together after the last of them is
/// on disk, or none does.
///
/// - Errors: `RasterError` of files that cannot be written, or `SegmentationError`.
package protocol ResultSink: AnyObject {
  var needs: SinkNeeds { get }
  /// The file says that the others are whole: its old one goes before theirs are replaced, its new one comes
  /// last.
  var vouchesForOthers: Bool { get }
  /// Opens its files.
  func begin(_ photo: PhotoFacts) throws
  /// A grid of scores begins.
  func scores(classes: Int, rows: Int, columns: Int) throws
  /// Scores of a class in a row of the grid, class by class and row by row. Shapes: [columns].
  func scores(_ row: UnsafeBufferPointer<Float>) throws
  /// The copy of the photo, before the first row of labels; this sink may write into it.
  func preview(_ preview: Preview) throws
  /// How sure the scores are of the pixels whose labels come next; 255 is certain. Shapes: [width].
  func confidence(_ y: Int, _ confidence: UnsafePointer<UInt8>) throws
  /// Labels of the photo, top to bottom. Shapes: [width].
  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws
  /// Writes what is left; returns files that are complete but for their names.
  func finish(_ report: SegmentReport) throws -> [AtomicFile]
}

extension ResultSink {
  package var needs: SinkNeeds { SinkNeeds() }
  package var vouchesForOthers: Bool { false }
  package func begin(_ photo: PhotoFacts) throws {}
  package func scores(classes: Int, rows: Int, columns: Int) throws {}
  package func scores(_ row: UnsafeBufferPointer<Float>) throws {}
  package func preview(_ preview: Preview) throws {}
  package func confidence(_ y: Int, _ confidence: UnsafePointer<UInt8>) throws {}
  package func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws {}
  package func finish(_ report: SegmentReport) throws -> [AtomicFile] { [] }
}

/// A format that a caller can ask for.
package struct ResultFormat: Sendable {
  /// The option that asks for it: `output`, `overlay`.
  package let name: String
  /// Of the name of its file, such as `.png`; empty for a folder a photo.
  package let ending: String
  /// Other endings that a file may be named with, and is then of that format.
  var otherEndings: [String] = []
  /// A folder is named also for one photo.
  let isAlwaysFolder: Bool
  package let help: String
  /// The files that it makes for one that was named, that one first.
  let files: @Sendable (_ path: String) -> [String]
  let sinks: @Sendable (_ path: String) -> [any ResultSink]

  init(
    _ name: String, _ ending: String, isAlwaysFolder: Bool = false, help: String,
    files: @escaping @Sendable (String) -> [String] = { [$0] },
    sinks: @escaping @Sendable (String) -> [any ResultSink]
  ) {
    (self.name, self.ending, self.isAlwaysFolder, self.help) = (name, ending, isAlwaysFolder, help)
    (self.files, self.sinks) = (files, sinks)
  }

  /// Every format. A new one is a file beside this one, a line here, and a flag in `OutputFlags`.
  package static let all = [
    labelMap, overlay, confidence, scores, csv, coco, instances, masks, yolo, labelMe, cvat, gdal, taps,
  ]
}

extension [any ResultSink] {
  /// Ends all sinks and gives their files their names.
  ///
  /// - Errors: before the first name is given, so that nothing appears; a folder that goes away in between is
  ///   reported too.
  func publish(_ report: SegmentReport) throws {
    var files: [AtomicFile] = []
    var last: [AtomicFile] = []
    for sink in self {
      let done = try sink.finish(report)
      if sink.vouchesForOthers { last += done } else { files += done }
    }
    // What a closed pipe refuses comes first.
    files = files.filter { $0.path == "-" } + files.filter { $0.path != "-" } + last
    for file in files { try file.sync() }
    for file in last { file.removeTarget() }
    for file in files { try file.finish() }
  }
}
