// A black and white picture of each class that is there.
import Raster
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension ResultFormat {
  package static let masks = ResultFormat(
    "masks", "", help: "Folder for a PNG of each class that is there, white on black.",
    sinks: { [MasksSink($0)] })
}

/// Files `<number>-<name>.png` in a folder.
///
/// - Memory: 4 bytes for every run of equal labels in a row, and one PNG writer at a time.
final class MasksSink: ResultSink {
  private static let palette = Palette(bytes: [0, 0, 0, 255, 255, 255])
  private let folder: String
  private var photo: PhotoFacts?
  private var hasMadeFolder = false
  /// Class in the upper half, length in the lower, row after row; long runs are several.
  private var runs: [UInt32] = []
  private var isPresent: [Bool] = []

  init(_ folder: String) { self.folder = folder }

  /// A folder that stayed empty goes again.
  deinit { if hasMadeFolder && !AtomicFile.writesWhole { rmdir(folder) } }

  func begin(_ photo: PhotoFacts) throws {
    self.photo = photo
    isPresent = Array(repeating: false, count: photo.titles.count)
    hasMadeFolder = !isFolder(folder)
    try Folder.make(folder)
    for (label, title) in photo.titles.enumerated() { try OwnWork.check(path(label, title)) }
  }

  private func path(_ label: Int, _ title: String) -> String {
    let name = String(title.map { $0.isLetter || $0.isNumber ? $0 : "_" }.prefix(60))
    return "\(folder)/\(label)-\(name).png"
  }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) {
    forEachRun(labels, width: photo?.width ?? 0) { label, columns in
      isPresent[label] = true
      for start in stride(from: columns.lowerBound, to: columns.upperBound, by: 65_535) {
        runs.append(UInt32(label) << 16 | UInt32(min(65_535, columns.upperBound - start)))
      }
    }
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    guard let photo else { return [] }
    let titles = photo.titles
    return try isPresent.indices.filter { isPresent[$0] }.map { label in
      let writer = try PNGWriter(
        path: path(label, titles[label]), .indexed(Self.palette), width: photo.width,
        height: photo.height, isSigned: true)
      var line: [UInt8] = []
      line.reserveCapacity(photo.width)
      for run in runs {
        line.append(contentsOf: repeatElement(run >> 16 == label ? 1 : 0, count: Int(run & 0xFFFF)))
        guard line.count == photo.width else { continue }
        try writer.writeRow(line)
        line.removeAll(keepingCapacity: true)
      }
      return try writer.end()
    }
  }
}
