// Flags of how pictures look.
import Application
import ArgumentParser
import Segmentation

extension PictureStyle.Legend: ExpressibleByArgument {}

/// Colours, legend and size.
struct PictureFlags: ParsableArguments {
  @Option(
    help: "Colours of classes: trident, voc, or a file with a line #RRGGBB or R G B for each label.",
    completion: .file())
  var palette = "trident"
  @Option(
    name: .customLong("color"), help: "NAME=#RRGGBB: the colour of one class. Repeat for more.")
  var colours: [String] = []
  @Option(help: "Where the overlay says what its colours mean.")
  var legend = PictureStyle.Legend.inside
  @Option(help: "Long side of the overlay, pixels (the photo's).") var overlaySize: Int?

  /// The file that --palette names.
  var file: String? { palette == "trident" || palette == "voc" ? nil : palette }

  /// - Errors: `.usage` for what is no colour, no file of colours, or no size.
  func style() throws(SegmentationError) -> PictureStyle {
    var style = PictureStyle()
    style.colours = try PictureStyle.colours(palette)
    for text in colours { style.named.append(try PictureStyle.named(text)) }
    style.legend = legend
    if let overlaySize {
      guard (16...100_000).contains(overlaySize) else {
        throw SegmentationError(.usage("--overlay-size \(overlaySize) is outside 16...100000"))
      }
      style.overlaySide = overlaySize
    }
    return style
  }
}
