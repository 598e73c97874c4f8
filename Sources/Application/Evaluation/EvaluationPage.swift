// An evaluation as one HTML file that needs no other.
import Raster
import Segmentation
import System

/// A photo that went badly: small pictures of it and of its labels.
///
/// - Memory: 4 bytes a pixel of the small picture, and its PNGs.
struct WorstPhoto {
  /// Long side of the pictures, pixels.
  static let side = 256

  let result: PhotoResult
  /// Of labels; what is ignored, 255, is white.
  let palette: Palette
  private let photoWidth: Int
  private let photoHeight: Int
  private var photo: [UInt8] = []
  private(set) var width = 0
  private(set) var height = 0
  private var predicted: [UInt8] = []
  private var truth: [UInt8] = []

  init(result: PhotoResult, _ colours: LabelColours, photoWidth: Int, photoHeight: Int) {
    self.result = result
    palette = Palette(bytes: colours.palette.bytes.dropLast(3) + [255, 255, 255])
    self.photoWidth = photoWidth
    self.photoHeight = photoHeight
  }

  /// The small copy; comes before the first row of labels.
  mutating func take(_ preview: Preview) throws(RasterError) {
    photo = try PNGLayout.rgb.bytes(of: preview.pixels, width: preview.width, height: preview.height)
    (width, height) = (preview.width, preview.height)
  }

  /// A row of labels; the ones that the small picture samples stay.
  mutating func take(_ y: Int, _ found: UnsafePointer<UInt16>, _ wanted: UnsafeBufferPointer<UInt16>) {
    while predicted.count < width * height,
      (2 * (predicted.count / width) + 1) * photoHeight / (2 * height) == y
    {
      for x in 0..<width {
        let column = (2 * x + 1) * photoWidth / (2 * width)
        predicted.append(Self.colour(found[column]))
        truth.append(Self.colour(wanted[column]))
      }
    }
  }

  private static let ignored: UInt8 = 255

  private static func colour(_ label: UInt16) -> UInt8 {
    label == LabelRule.ignored ? ignored : UInt8(truncatingIfNeeded: label % 255)
  }

  /// Of the error map: right, wrong, ignored. White leaves the photo as it is, where pictures are multiplied.
  private static let errorPalette = Palette(bytes: [255, 255, 255, 255, 40, 40, 150, 150, 255])

  /// Photo, truth, prediction and error map as PNGs.
  func pictures() throws(RasterError) -> [[UInt8]] {
    let layout = PNGLayout.indexed(palette)
    let errors = zip(truth, predicted).map { wanted, found -> UInt8 in
      wanted == Self.ignored ? 2 : wanted == found ? 0 : 1
    }
    return [
      photo, try layout.bytes(of: truth, width: width, height: height),
      try layout.bytes(of: predicted, width: width, height: height),
      try PNGLayout.indexed(Self.errorPalette).bytes(of: errors, width: width, height: height),
    ]
  }

  /// Of the labelled pixels of the small picture, those that are wrong; of 1.
  var errorShare: Double {
    let labelled = truth.count(where: { $0 != Self.ignored })
    let wrong = zip(truth, predicted).count(where: { $0 != Self.ignored && $0 != $1 })
    return labelled == 0 ? 0 : Double(wrong) / Double(labelled)
  }
}

/// The page.
struct EvaluationPage {
  let text: EvaluationText
  private var photos = ""

  private let colours: LabelColours

  init(_ text: EvaluationText, _ colours: LabelColours) { (self.text, self.colours) = (text, colours) }

  private func colour(_ label: Int) -> String {
    let colour = colours[label % 255]
    return "rgb(\(colour.red),\(colour.green),\(colour.blue))"
  }

  /// Adds a photo below those added before.
  mutating func add(_ worst: WorstPhoto) throws(RasterError) {
    let sources = try worst.pictures().map {
      "data:image/png;base64," + String(decoding: base64($0), as: UTF8.self)
    }
    let size = "style=\"width:\(worst.width)px;aspect-ratio:\(worst.width)/\(worst.height)\""
    let figures = ["photo", "truth", "prediction", "errors"].enumerated().map { index, name in
      let words = escaped("\(name) of \(worst.result.name)")
      let role = index == 0 ? " role=img aria-label=\"\(words)\"" : ""
      let kind = index == 3 ? " class=errors" : ""
      let labels = index == 0 ? "" : "<img\(kind) alt=\"\(words)\" src=\"\(sources[index])\">"
      let more = index == 3 ? ": \(EvaluationText.percent(worst.errorShare)) %" : ""
      return
        "<figure><div \(size)\(role)>\(labels)</div><figcaption>\(name)\(more)</figcaption></figure>"
    }
    let rows = worst.result.areas.filter { $0.union > 0 }.sorted { $0.truth > $1.truth }.map { area in
      let iou = EvaluationText.percent(Double(area.intersection) / Double(area.union))
      let colour = "<i style=\"background:\(colour(area.label))\"></i>"
      return "<span>\(colour)\(escaped(text.names[area.label])) \(iou)</span>"
    }
    photos += """
      <h3>\(escaped(worst.result.name)): mIoU \(EvaluationText.percent(worst.result.meanIoU))</h3>
      <div class=row style="--photo:url(\(sources[0]))">\(figures.joined())</div>\
      <p>\(rows.joined(separator: " "))</p>

      """
  }

  /// The pairs that were confused most, and for few classes all of them.
  private var confusions: String {
    let (findings, names) = (text.findings, text.names)
    let pairs = findings.mostConfused(12)
    guard !pairs.isEmpty else { return "" }
    let rows = pairs.map { pair in
      let share = Double(pair.count) / Double(max(1, text.summary.areas.truth[pair.truth]))
      return "<tr><td>\(escaped(names[pair.truth]))<td>\(escaped(names[pair.predicted]))<td>\(pair.count)"
        + "<td>\(EvaluationText.percent(share))"
    }
    return """
      <h2>Most confused</h2>
      <p>Of \(findings.photoCount) photos of this run.</p>
      <div class=wide><table><tr><th>truth<th>taken for<th>pixels<th>% of the class
      \(rows.joined(separator: "\n"))
      </table></div>
      \(matrix)
      """
  }

  /// Rows are true classes, columns predicted ones, in percent of the row; classes that occur nowhere are
  /// left out.
  private var matrix: String {
    let areas = text.summary.areas
    let present = text.names.indices.filter { areas.truth[$0] > 0 || areas.predicted[$0] > 0 }
    guard present.count <= 40 else { return "" }
    let head = present.map { "<th title=\"\(escaped(text.names[$0]))\">\($0)" }.joined()
    let rows = present.map { row in
      let counts = present.map { text.findings.count(truth: row, predicted: $0) ?? 0 }
      let total = Double(max(1, counts.reduce(0, +)))
      let cells = counts.map { count in
        let share = Double(count) / total
        return count == 0
          ? "<td>" : "<td style=\"background:rgba(80,120,220,\(fixed(share, 2)))\">\(fixed(share * 100, 0))"
      }
      return "<tr><td>\(row) \(escaped(text.names[row]))\(cells.joined())"
    }
    return """
      <h2>Confusion matrix</h2>
      <p>Rows: truth; columns: prediction; percent of the row.</p>
      <div class=wide><table class=pairs><tr><th>\(head)
      \(rows.joined(separator: "\n"))
      </table></div>

      """
  }

  /// The whole file.
  var html: String {
    let areas = text.summary.areas
    let classes = text.names.indices.sorted { (areas.iou($0) ?? 2, $0) < (areas.iou($1) ?? 2, $1) }.map {
      index in
      let cells = [areas.iou(index), areas.accuracy(index)].map { "<td>\(EvaluationText.percent($0))" }
      return "<tr><td><i style=\"background:\(colour(index))\"></i>\(escaped(text.names[index]))"
        + "\(cells.joined())<td>\(areas.truth[index])<td>\(areas.predicted[index])"
    }
    let settings = text.header.options.map { "<tr><td>\(escaped($0.name))<td>\(escaped($0.value))" }
    let remarks = (text.warnings.map { "<b>Warning:</b> " + escaped($0) } + text.remarks.map(escaped)).map {
      "<p>\($0)</p>\n"
    }
    return """
      <!doctype html><meta charset=utf-8><title>trident evaluate: \(escaped(text.header.set))</title>
      <meta name=viewport content="width=device-width,initial-scale=1">
      <style>
      body{font:15px/1.4 sans-serif;max-width:68em;margin:1em auto;padding:0 1em;overflow-wrap:anywhere}
      table{border-collapse:collapse}td,th{padding:0 1em 0 0;text-align:right}\
      td:first-child,th:first-child{text-align:left}div.wide{overflow-x:auto}
      table.pairs td{min-width:2.5em;font-size:12px;padding:0 .3em}
      i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;border:1px solid #888}
      .row{display:flex;flex-wrap:wrap}figure{margin:0 .5em .5em 0;max-width:100%}
      figure div{background:var(--photo) 0 0/100% 100%;max-width:100%}
      img{display:block;width:100%;height:100%;opacity:.65;image-rendering:pixelated}
      img.errors{opacity:1;mix-blend-mode:multiply}
      span{display:inline-block;margin-right:.6em}
      @media(max-width:40em){body{padding:0 .5em}td,th{padding:0 .5em 0 0}}
      </style>
      <h1>\(escaped(text.means))</h1>
      <p>\(escaped(text.photos)) of \(escaped(text.header.set)), \
      \(fixed(text.secondsPerPhoto, 2)) s a photo, percent;
      model \(escaped(String(text.header.model.prefix(12)))).</p>
      \(remarks.joined())
      <h2>Worst photos first</h2>
      <p>Errors are red, ignored pixels blue; percent of the labelled pixels.</p>
      \(photos)<h2>Worst classes first</h2>
      <div class=wide><table><tr><th>class<th>IoU<th>Acc<th>true pixels<th>predicted pixels
      \(classes.joined(separator: "\n"))
      </table></div>
      \(confusions)<h2>Options</h2>
      <table>\(settings.joined(separator: "\n"))</table>

      """
  }

}

/// Text as HTML and XML hold it, also inside quotes.
func escaped(_ text: String) -> String {
  text.unicodeScalars.reduce(into: "") { out, scalar in
    switch scalar {
    case "&": out += "&amp;"
    case "<": out += "&lt;"
    case ">": out += "&gt;"
    case "\"": out += "&quot;"
    default: out.unicodeScalars.append(scalar)
    }
  }
}

/// Text of an XML file, which has no control characters.
func xmlText(_ text: String) -> String {
  escaped(String(String.UnicodeScalarView(text.unicodeScalars.map { $0 < " " ? " " : $0 })))
}
