// The files of one photo: label map, legend, overlay, scores. Each is written beside its target and renamed.
import Compute
import Raster
import Segmentation

/// Label map as PNG: 8-bit indexed up to 256 classes, 16-bit grey above.
final class LabelWriter {
  private let indexed: IndexedPNGWriter?
  private let grey: GreyPNGWriter?
  private let width: Int
  private var bytes: [UInt8]

  init(path: String, width: Int, height: Int, classCount: Int) throws {
    self.width = width
    do {
      if classCount <= 256 {
        indexed = try IndexedPNGWriter(path: path, width: width, height: height, palette: .standard)
        grey = nil
        bytes = [UInt8](repeating: 0, count: width)
      } else {
        indexed = nil
        grey = try GreyPNGWriter(path: path, width: width, height: height)
        bytes = []
      }
    } catch {
      throw SegmentationError(.output("\(error)"))
    }
  }

  func write(_ labels: UnsafePointer<UInt16>) throws {
    do {
      if let indexed {
        for x in 0..<width { bytes[x] = UInt8(truncatingIfNeeded: labels[x]) }
        try indexed.writeRow(bytes)
      }
      if let grey { try grey.writeRow(labels) }
    } catch {
      throw SegmentationError(.output("\(error)"))
    }
  }

  /// Gives the map its name, and its legend after it; without `path` there is none.
  ///
  /// A legend says that its map is whole and belongs to it. So the old legend goes before the map is replaced, the new one
  /// comes last, and nothing is touched before both are on disk: a run that is killed in between leaves a map without a
  /// legend, which the next run makes again.
  func finish(legend text: String, at path: String?) throws {
    do {
      guard let path else {
        try indexed?.finish()
        try grey?.finish()
        return
      }
      let legend = try AtomicFile(path: path)
      try legend.write(text)
      try legend.sync()
      try indexed?.finish { legend.removeTarget() }
      try grey?.finish { legend.removeTarget() }
      try legend.finish()
    } catch {
      throw SegmentationError(.output("\(error)"))
    }
  }
}

/// The photo with its labels tinted over it, at most `sideLimit` pixels long.
final class OverlayWriter {
  static let sideLimit = 1024
  private let writer: RGBPNGWriter
  private let preview: Preview
  private let photoHeight: Int
  private let photoWidth: Int
  private let keepsFirst: Bool
  private var row: [UInt8]
  private var next = 0

  /// `keepsFirst`: class 0 is background and stays as it is.
  init(path: String, preview: Preview, photoWidth: Int, photoHeight: Int, keepsFirst: Bool) throws {
    self.preview = preview
    self.photoWidth = photoWidth
    self.photoHeight = photoHeight
    self.keepsFirst = keepsFirst
    row = [UInt8](repeating: 0, count: preview.width * 3)
    do {
      writer = try RGBPNGWriter(path: path, width: preview.width, height: preview.height)
    } catch {
      throw SegmentationError(.output("\(error)"))
    }
  }

  /// Takes label row `y` of the photo; writes every overlay row that samples it.
  func write(_ y: Int, _ labels: UnsafePointer<UInt16>) throws {
    while next < preview.height, (2 * next + 1) * photoHeight / (2 * preview.height) == y {
      let source = preview.pixels + next * preview.width * 3
      var last = -1
      for x in 0..<preview.width {
        let label = Int(labels[(2 * x + 1) * photoWidth / (2 * preview.width)])
        let colour = Palette.standard[label % 256]
        let isEdge = last >= 0 && last != label
        last = label
        let tint = isEdge ? 0 : keepsFirst && label == 0 ? 256 : 128
        for (channel, value) in [colour.red, colour.green, colour.blue].enumerated() {
          row[3 * x + channel] = UInt8((Int(source[3 * x + channel]) * tint + Int(value) * (256 - tint)) / 256)
        }
      }
      do { try writer.writeRow(row) } catch { throw SegmentationError(.output("\(error)")) }
      next += 1
    }
  }

  func finish() throws {
    do { try writer.finish() } catch { throw SegmentationError(.output("\(error)")) }
  }
}

/// Writes a whole text file.
func writeText(_ text: String, to path: String) throws { try writeBytes(Array(text.utf8), to: path) }

/// Writes a whole file.
func writeBytes(_ bytes: [UInt8], to path: String) throws {
  do {
    let file = try AtomicFile(path: path)
    try file.write(bytes)
    try file.finish()
  } catch {
    throw SegmentationError(.output("\(error)"))
  }
}
