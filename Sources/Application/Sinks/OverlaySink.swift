// The photo with its labels tinted over it.
import Raster
import Segmentation
import System

extension ResultFormat {
  package static let overlay = ResultFormat(
    "overlay", ".png",
    help: "The photo with labels tinted over it, their outlines and a legend (.png or .jpg).",
    sinks: { [OverlaySink($0)] })
}

/// A picture in colour: each class tints its pixels and has an outline in its full colour; the background and
/// pixels of no class keep the photo's colours.
///
/// A tint is half the class's colour, made as light as the photo is there, so that the photo's shading shows
/// and nothing gets darker; what is nearly white gets a little darker, or it could show no colour. Outlines
/// lie on both sides of a border. They are painted into rows that have passed already, which a picture in
/// `PictureRoom` allows, and so is the legend, which is known last.
///
/// - Memory: 10 bytes a column, and a writer at the end. The picture itself is in no private memory.
final class OverlaySink: ResultSink {
  /// Of the photo's size, or what `PictureStyle` says.
  let needs = SinkNeeds(previewSide: .max)
  /// Of pictures that are not written here.
  private static let otherEndings = [".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".ppm"]
  /// A photo hardly gets smaller with more, and 12 megapixels take seconds.
  private static let compression = 3
  /// Above this a tint may be darker than the photo.
  private static let lightest = 208
  private let path: String
  private var photo: PhotoFacts?
  private var file: AtomicFile?
  private var picture: Preview?
  /// Of outlines, pixels.
  private var line = 1
  private var next = 0
  /// Of each column: its label in the row above, and the row where that began.
  private var above: [UInt16] = []
  private var began: [Int32] = []
  /// Labels of a row of the picture.
  private var row: [UInt16] = []

  init(_ path: String) { self.path = path }

  func begin(_ photo: PhotoFacts) throws {
    let name = path.lowercased()
    if let ending = Self.otherEndings.first(where: { name.hasSuffix($0) }) {
      throw SegmentationError(
        .usage("'\(path)' would be a PNG; name it .png, or .jpg for a JPEG, not \(ending)"))
    }
    self.photo = photo
    file = try AtomicFile(path: path)
  }

  func preview(_ preview: Preview) {
    picture = preview
    line = max(1, (max(preview.width, preview.height) + 320) / 640)
    above = [UInt16](repeating: 0, count: preview.width)
    began = [Int32](repeating: 0, count: preview.width)
    row = above
  }

  /// Colours every row of the picture that samples this row of the photo.
  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws {
    guard let photo, let picture else { preconditionFailure("rows come after the copy of the photo") }
    while next < picture.height, (2 * next + 1) * photo.height / (2 * picture.height) == y {
      if picture.width == photo.width {
        for x in 0..<picture.width { row[x] = labels[x] }
      } else {
        for x in 0..<picture.width { row[x] = labels[(2 * x + 1) * photo.width / (2 * picture.width)] }
      }
      colour(next, picture, photo)
      picture.room.passRow()
      next += 1
    }
  }

  /// Whether pixels of a label keep the photo's colours.
  private func isPlain(_ label: Int, _ photo: PhotoFacts) -> Bool {
    photo.classes.background && label == 0 || label == photo.classes.count
  }

  private func colour(_ y: Int, _ picture: Preview, _ photo: PhotoFacts) {
    let width = picture.width
    let pixels = picture.room.pixels + 3 * y * width
    var start = 0
    while start < width {
      let label = row[start]
      var end = start + 1
      while end < width && row[end] == label { end += 1 }
      let isPlain = isPlain(Int(label), photo)
      let colour = photo.colours[Int(label)]
      for x in start..<end {
        if y == 0 || above[x] != label {
          if y > 0 { underline(x, y, picture, photo) }
          (above[x], began[x]) = (label, Int32(y))
        }
        if isPlain { continue }
        let isOutline =
          start > 0 && x < start + line || end < width && x >= end - line
          || began[x] > 0 && y - Int(began[x]) < line
        if isOutline { Self.put(colour, pixels + 3 * x) } else { Self.tint(colour, pixels + 3 * x) }
      }
      start = end
    }
  }

  /// The outline above a border that was met at a pixel.
  private func underline(_ x: Int, _ y: Int, _ picture: Preview, _ photo: PhotoFacts) {
    let label = Int(above[x])
    if isPlain(label, photo) { return }
    for row in max(Int(began[x]), y - line)..<y {
      Self.put(photo.colours[label], picture.room.pixels + 3 * (row * picture.width + x))
    }
  }

  private static func put(_ colour: Colour, _ pixel: UnsafeMutablePointer<UInt8>) {
    (pixel[0], pixel[1], pixel[2]) = (colour.red, colour.green, colour.blue)
  }

  /// Half photo, half colour, then lightened with white up to the photo's lightness.
  private static func tint(_ colour: Colour, _ pixel: UnsafeMutablePointer<UInt8>) {
    let luma = Colour(red: pixel[0], green: pixel[1], blue: pixel[2]).luma
    func middle(_ a: UInt8, _ b: UInt8) -> UInt8 { UInt8((Int(a) + Int(b)) / 2) }
    var mixed = Colour(
      red: middle(pixel[0], colour.red), green: middle(pixel[1], colour.green),
      blue: middle(pixel[2], colour.blue))
    let (wanted, own) = (min(luma, lightest), mixed.luma)
    if own < wanted {
      func lightened(_ value: UInt8) -> UInt8 {
        // Rounded up, so that the whole is no darker than the photo.
        let (room, rest) = (255 - Int(value), 255 - own)
        let added: Int = (room * (wanted - own) + rest - 1) / rest
        return UInt8(Int(value) + added)
      }
      mixed = Colour(red: lightened(mixed.red), green: lightened(mixed.green), blue: lightened(mixed.blue))
    }
    put(mixed, pixel)
  }

  func finish(_ report: SegmentReport) throws -> [AtomicFile] {
    guard let photo, let picture, let file else { return [] }
    // Of the photo's pixels, as everything else says, not of the picture's.
    let counts = photo.titles.indices.map { report.run.refinement.pixels(of: $0) }
    let present = counts.indices.filter { counts[$0] > 0 }.sorted { (counts[$1], $0) < (counts[$0], $1) }
    let entries = present.map { label in
      OverlayLegend.Entry(
        label: label, title: photo.titles[label], share: report.run.share(of: label),
        colour: isPlain(label, photo) ? nil : photo.colours[label])
    }
    let legend = OverlayLegend(entries, photo.style.legend, width: picture.width, height: picture.height)
    let size = (width: picture.width + legend.columnWidth, height: picture.height)
    let writer: any PictureWriter =
      Self.isJPEG(path)
      ? try JPEGWriter(file, width: size.width, height: size.height)
      : try PNGWriter(
        file, .rgb, width: size.width, height: size.height, compression: Self.compression, isSigned: true)
    var line = [UInt8](repeating: 255, count: 3 * size.width)
    for y in 0..<size.height {
      let source = picture.pixels + 3 * y * picture.width
      for index in 0..<3 * picture.width { line[index] = source[index] }
      for index in 3 * picture.width..<line.count { line[index] = 255 }
      legend.draw(y, &line)
      try writer.writeRow(line)
      picture.room.passRow()
    }
    return [try writer.end()]
  }

  /// Whether an overlay of that name is a JPEG; else it is a PNG.
  static func isJPEG(_ path: String) -> Bool {
    [".jpg", ".jpeg"].contains { path.lowercased().hasSuffix($0) }
  }
}
