// What this program made may be replaced by what it makes; nothing else may.
import Raster
import Segmentation
import System

/// Tells this program's own files by what is in them.
///
/// Names prove nothing: a folder may hold a photographer's `img1.json` beside `img1.jpg`. A file that is
/// empty holds nothing that could be lost.
enum OwnWork {
  /// Whether a file that is there was made here; also where nothing is there.
  static func isOwn(_ path: String) -> Bool {
    guard fileExists(path) else { return true }
    // Folders, devices and pipes are refused when they are opened, by what they are.
    guard let size = fileSize(path), size > 0 else { return true }
    guard let file = try? InputFile<SystemError>.open(path: path),
      let start = try? file.bytes(at: 0, upTo: 2048)
    else { return false }
    if path.hasSuffix(".txt"), let names = try? FileBytes.read(folder(of: path) + "data.yaml", limit: 1 << 24)
    {
      return names.starts(with: YOLOSink.beginning.utf8)
    }
    if isText(start) || NPYHeader.isSigned(start) || start.starts(with: VocabularyFile.magic) { return true }
    if start.starts(with: [0xFF, 0xD8]) { return contains(start, "Software: trident") }
    // Behind a header of 8 or 16 bytes.
    if start.starts(with: [0x49, 0x49]), contains(Array(start.prefix(48)), LabelTIFFWriter.signature) {
      return true
    }
    if start.starts(with: [0x89, 0x50, 0x4E, 0x47]) { return isPicture(start) || hasLegend(path) }
    guard start.starts(with: [0x50, 0x4B, 3, 4]) else { return false }
    let end = (try? file.bytes(at: max(0, size - 1024), upTo: 1024)) ?? []
    return contains(end, "model_id.npy")
  }

  /// - Errors: `.usage` for a file that something else made.
  static func check(_ path: String) throws(SegmentationError) {
    if !isOwn(path) { throw foreign(path) }
  }

  static func foreign(_ path: String) -> SegmentationError {
    SegmentationError(
      .usage("'\(path)' was not made by this program and stays as it is; move it away or name another"))
  }

  /// Legends, COCO data sets, LabelMe and CVAT files, tables, results, pages and drawings.
  private static func isText(_ start: [UInt8]) -> Bool {
    let beginnings = [
      "{\n  \"settings\": \"", "photo,class,name,present,pixels,share,", "trident-evaluation 1\n",
      TuningJournal.firstLine + "\n",
      "<!doctype html><meta charset=utf-8><title>trident evaluate", MemoryChart.beginning,
      YOLOSink.beginning, CVATSink.beginning,
      PartHead.beginning, PartStatistics.beginning, PartFiles.sumsBeginning, MergeJob.statisticsBeginning,
      MergeJob.failureBeginning, TarJob.statisticsBeginning, TarJob.first + "\u{0}",
    ]
    if beginnings.contains(where: { start.starts(with: $0.utf8) }) { return true }
    // A board that lost power may have left half a line.
    let journals = ["trident-evaluation 1\n", TuningJournal.firstLine + "\n", PartHead.beginning]
    if journals.contains(where: { $0.utf8.starts(with: start) }) { return true }
    // GDAL may have added statistics, and keeps what is there.
    if start.starts(with: GDALSink.beginning.utf8) && contains(start, GDALSink.mark) { return true }
    return start.first == 0x7B && contains(Array(start.prefix(100)), "\"description\": \"trident ")
  }

  /// Pictures in colour, masks and label maps are signed. A label map with VOC's colours or in 16-bit grey is
  /// not: it is known by these, right behind the header, and by a small zlib window that other programs do
  /// not ask for.
  private static func isPicture(_ start: [UInt8]) -> Bool {
    if contains(start, "tEXtSoftware\u{0}trident") { return true }
    let kind = start.count > 25 ? (start[24], start[25]) : (0, 0)
    let isMap = kind == (8, 3) && start.dropFirst(41).starts(with: Palette.voc.bytes)
    // Signature and header are 33 bytes, the palette's chunk 780; then comes IDAT with its length.
    let data = isMap ? 33 + 780 + 8 : 33 + 8
    guard isMap || kind == (16, 0), start.count > data else { return false }
    return contains(Array(start[data - 4..<data]), "IDAT") && start[data] & 0xF0 != 0x70
  }

  private static func hasLegend(_ map: String) -> Bool {
    guard map.hasSuffix(".png"),
      let file = try? InputFile<SystemError>.open(path: String(map.dropLast(4)) + ".json"),
      let start = try? file.bytes(at: 0, upTo: 64)
    else { return false }
    return isText(start)
  }

  private static func contains(_ bytes: [UInt8], _ text: String) -> Bool {
    let wanted = Array(text.utf8)
    guard bytes.count >= wanted.count else { return false }
    return (0...bytes.count - wanted.count).contains { bytes[$0...].starts(with: wanted) }
  }
}

/// The files that a job reads and writes.
///
/// - Errors: `.usage` for an output that would replace an input, another output, or what this program did not
///   make.
struct JobFiles {
  private var files = RunFiles()

  init(reading inputs: [String?]) { for case let path? in inputs { files.read(path) } }

  /// `overwrites`: the user wants whatever is there replaced.
  mutating func write(_ path: String, overwrites: Bool = false) throws(SegmentationError) {
    let conflict: RunFiles.Conflict
    do throws(RunFiles.Conflict) {
      try files.write(path) { overwrites || OwnWork.isOwn($0) }
      return
    } catch { conflict = error }
    switch conflict {
    case .isInput(let input):
      throw SegmentationError(
        .usage("the output '\(path)' would replace the input '\(input)'; name another"))
    case .isOutput:
      throw SegmentationError(
        .usage(path == "-" ? "'-' takes one output" : "two outputs would be the file '\(path)'"))
    case .isForeign: throw OwnWork.foreign(path)
    }
  }
}
