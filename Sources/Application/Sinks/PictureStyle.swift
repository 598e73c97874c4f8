// How label maps and overlays look: colours, legend, size.
import Raster
import Segmentation
import System

/// What a user may say about pictures.
package struct PictureStyle: Sendable {
  /// Where an overlay says what its colours mean.
  package enum Legend: String, CaseIterable, Sendable {
    case none, inside, beside
  }

  /// Which colours classes have, before single ones are named.
  package enum Colours: Sendable {
    case standard, voc
    /// A colour a label, from 0 on.
    case list([Colour], path: String)
  }

  package var colours = Colours.standard
  /// Colours of single classes, by a name of the class.
  package var named: [(name: String, colour: Colour)] = []
  package var legend = Legend.inside
  /// Long side of an overlay, pixels; nil: the photo's size.
  package var overlaySide: Int?

  package init() {}

  /// `trident`, `voc`, or a file of colours.
  ///
  /// - Errors: `.usage` for a file that cannot be read or holds no colours, with the line.
  package static func colours(_ name: String) throws(SegmentationError) -> Colours {
    if name == "trident" { return .standard }
    if name == "voc" { return .voc }
    let bytes: [UInt8]
    do throws(SystemError) { bytes = try FileBytes.read(name, limit: 1 << 20) } catch {
      throw SegmentationError(
        .usage("--palette is trident, voc or a file of colours: \(error.description)"))
    }
    var list: [Colour] = []
    for (index, line) in String(decoding: bytes, as: UTF8.self).split(
      omittingEmptySubsequences: false, whereSeparator: \.isNewline
    ).enumerated() {
      guard let colour = try colour(line, at: index + 1, of: name) else { continue }
      list.append(colour)
    }
    guard (1...256).contains(list.count) else {
      throw SegmentationError(.usage("holds \(list.count) colours; a palette has 1 to 256"), path: name)
    }
    return .list(list, path: name)
  }

  /// `#RRGGBB`, or three numbers with spaces or commas; what follows is a name. Nil for lines without a
  /// colour: blank ones, comments, and the head of GIMP's files.
  private static func colour(_ line: Substring, at number: Int, of path: String) throws(SegmentationError)
    -> Colour?
  {
    let words = line.split { $0 == " " || $0 == "\t" || $0 == "," || $0 == ";" }
    guard let first = words.first else { return nil }
    if let colour = Colour(hex: first) { return colour }
    let isHead = ["GIMP Palette", "Name:", "Columns:"].contains { line.hasPrefix($0) }
    if first.hasPrefix("#") || isHead { return nil }
    let numbers = words.prefix(3).compactMap { UInt8($0) }
    guard numbers.count == 3 else {
      throw SegmentationError(
        .usage("line \(number) is no colour: write #RRGGBB, or three numbers of 0 to 255"), path: path)
    }
    return Colour(red: numbers[0], green: numbers[1], blue: numbers[2])
  }

  /// `NAME=#RRGGBB`.
  ///
  /// - Errors: `.usage` for anything else.
  package static func named(_ text: String) throws(SegmentationError) -> (name: String, colour: Colour) {
    guard let sign = text.lastIndex(of: "="), sign != text.startIndex,
      let colour = Colour(hex: text[text.index(after: sign)...])
    else {
      throw SegmentationError(.usage("--color is '\(text)', not NAME=#RRGGBB, as --color \"sky=#80C0FF\""))
    }
    return (String(text[..<sign]), colour)
  }

  /// What a legend of a label map says of its colours.
  var paletteName: String {
    let base =
      switch colours {
      case .standard: "trident"
      case .voc: "voc"
      case .list(let list, _):
        SHA256Digest.hex(of: list.map { "\($0.red) \($0.green) \($0.blue)" }.joined(separator: "\n"))
      }
    return named.reduce(base) { text, one in
      text + "; \(one.name)=\(one.colour.red),\(one.colour.green),\(one.colour.blue)"
    }
  }
}

/// The colour of every label of a run.
///
/// Black is for the background alone, and grey for pixels of no class; the other classes have the palette's
/// colours in their order, so that a class that is added changes no other's. VOC's colours stay VOC's.
///
/// - Memory: 768 bytes.
package struct LabelColours: Sendable {
  /// 256 colours; labels beyond have those of 0 on again.
  package let palette: Palette
  /// As VOC's development kit has them, which earlier versions and other programs write, too.
  package let isVOC: Bool

  /// The usual colours. `titles`: what results call each label.
  package init(_ classes: ClassList, titles: [String]) {
    var palette = Palette.standard
    if classes.background { palette = Palette(bytes: [0, 0, 0] + palette.bytes.dropLast(3)) }
    if titles.count > classes.count && classes.count < 256 { palette[classes.count] = .grey }
    (self.palette, isVOC) = (palette, false)
  }

  /// The colours that a user wants.
  ///
  /// - Errors: `.usage` for a list of colours that is too short, and for a colour of a class that is not
  ///   there.
  package init(_ style: PictureStyle, _ classes: ClassList, titles: [String]) throws(SegmentationError) {
    var palette = Self(classes, titles: titles).palette
    switch style.colours {
    case .standard: break
    case .voc: palette = .voc
    case .list(let list, let path):
      guard list.count >= min(256, classes.count) else {
        throw SegmentationError(
          .usage("holds \(list.count) colours for \(classes.count) classes; add lines"), path: path)
      }
      for (label, colour) in list.enumerated() { palette[label] = colour }
    }
    for (name, colour) in style.named {
      let found = titles.indices.filter { label in
        titles[label] == name || label < classes.count && classes.phrases(ofClass: label).contains(name)
      }
      guard let label = found.first else {
        let known = titles.prefix(12).joined(separator: ", ") + (titles.count > 12 ? ", ..." : "")
        throw SegmentationError(.usage("--color: there is no class '\(name)'; there are: \(known)"))
      }
      for label in titles.contains(name) ? [label] : found where label < 256 { palette[label] = colour }
    }
    self.palette = palette
    isVOC = palette == .voc
  }

  package subscript(label: Int) -> Colour { palette[label] }
}
