// How label maps and overlays look: colours, outlines, legend and size.
import Application
import Raster
import Segmentation
import System
import TestSupport
import Testing

@Suite(.serialized) struct PictureTests {
  private let temporaryFiles = TemporaryFiles()

  private func style(_ change: (inout PictureStyle) -> Void) -> PictureStyle {
    var style = PictureStyle()
    change(&style)
    return style
  }

  private func job(_ style: PictureStyle, _ phrases: [String] = [], background: Bool = false) throws
    -> PhotoJob
  {
    let session = try Demo.session()
    var source = Demo.source
    if !phrases.isEmpty { (source.phrases, source.file) = (phrases, nil) }
    source.background = background
    return try PhotoJob(
      session, Words(source, session), Demo.fast, style, listener: SilentListener())
  }

  private func refusal(_ style: PictureStyle, _ phrases: [String] = ["sky", "grass; lawn"]) -> String {
    thrownError(SegmentationError.self) { try job(style, phrases) }?.description ?? ""
  }

  /// An overlay of the farm as its rows of pixels.
  private func overlay(
    _ job: PhotoJob, _ name: String = "o.png", photo: String = Demo.farm, in folder: Folder
  ) throws -> (width: Int, height: Int, pixels: [UInt8], labels: [UInt16]) {
    let rows = RowSink()
    let path = "\(folder.path)/\(name)"
    _ = try job.run(
      PhotoFile(path: photo), name: "farm", into: OutputTarget(.overlay, path).sinks + [rows])
    let decoder = try PhotoDecoder(path: path)
    return (decoder.width, decoder.height, try pixels(path), rows.labels)
  }

  private func pixels(_ path: String) throws -> [UInt8] {
    let decoder = try PhotoDecoder(path: path)
    try decoder.beginDecoding(allowWholeImage: true)
    var row = [UInt8](repeating: 0, count: 3 * decoder.storedWidth)
    var pixels: [UInt8] = []
    for _ in 0..<decoder.storedHeight {
      try decoder.readRow(into: &row)
      pixels += row
    }
    return pixels
  }

  private func luma(_ pixels: [UInt8], _ index: Int) -> Int {
    Colour(red: pixels[3 * index], green: pixels[3 * index + 1], blue: pixels[3 * index + 2]).luma
  }

  /// A border has both classes' full colours, on either side; inside nothing is darker than the photo, but
  /// for what is nearly white.
  @Test func tintAndOutline() throws {
    let folder = Folder()
    let job = try job(style { $0.legend = .none })
    let found = try overlay(job, in: folder)
    let photo = try pixels(Demo.farm)
    #expect((found.width, found.height) == (640, 480) && found.pixels.count == photo.count)
    var (borders, wrong, darker) = (0, 0, 0)
    for y in 2..<478 {
      for x in 2..<638 {
        let at = y * 640 + x
        let label = found.labels[at]
        let isBorder = found.labels[at + 1] != label || found.labels[at + 640] != label
        if isBorder {
          borders += 1
          let colour = Palette.standard[Int(label)]
          let wanted = [colour.red, colour.green, colour.blue]
          if !found.pixels[3 * at..<3 * at + 3].elementsEqual(wanted) { wrong += 1 }
        }
        let isInside = ![-2, -1, 1, 2, -1280, -640, 640, 1280].contains { found.labels[at + $0] != label }
        if isInside && luma(found.pixels, at) < min(207, luma(photo, at) - 1) { darker += 1 }
      }
    }
    #expect(borders > 500 && wrong == 0 && darker == 0)
  }

  @Test func legendAndSize() throws {
    let folder = Folder()
    let plain = try overlay(job(style { $0.legend = .none }), in: folder)
    let inside = try overlay(job(PictureStyle()), in: folder)
    #expect(inside.width == 640 && inside.pixels != plain.pixels)
    let beside = try overlay(job(style { $0.legend = .beside }), in: folder)
    #expect(beside.width > 680 && beside.height == 480)
    // The photo's part is the same, and the column's first row is white.
    #expect(beside.pixels.prefix(3 * 640) == plain.pixels.prefix(3 * 640))
    #expect(beside.pixels[3 * 640..<3 * beside.width].allSatisfy { $0 == 255 })
    let small = try overlay(job(style { ($0.legend, $0.overlaySide) = (.none, 100) }), "o.JPG", in: folder)
    #expect((small.width, small.height) == (100, 75))
    #expect(try FileBytes.read(folder.path + "/o.JPG", limit: 1 << 24).starts(with: [0xFF, 0xD8]))
    // What was made may be made again, by either ending.
    for name in ["o.png", "o.JPG"] {
      _ = try OutputPaths(
        photos: [Demo.farm], others: [], targets: [OutputTarget(.overlay, "\(folder.path)/\(name)")])
    }
    #expect(names(folder.path) == ["o.JPG", "o.png"])
  }

  @Test func endingsOfOtherPicturesAreRefused() throws {
    let folder = Folder()
    let job = try job(PictureStyle())
    for name in ["o.webp", "o.TIFF"] {
      let error = thrownError(SegmentationError.self) { try overlay(job, name, in: folder) }
      #expect(error?.exitCode == 2 && error?.description.contains("would be a PNG") == true)
    }
    #expect(names(folder.path).isEmpty)
  }

  /// The copy of the photo that an overlay is painted on, turned as EXIF says.
  private final class CopySink: ResultSink {
    let needs = SinkNeeds(previewSide: .max)
    var size = (width: 0, height: 0)
    var pixels: [UInt8] = []
    func preview(_ preview: Preview) {
      size = (preview.width, preview.height)
      pixels = Array(UnsafeBufferPointer(start: preview.pixels, count: 3 * size.width * size.height))
    }
  }

  @Test func turnedPhotosAreCopiedUpright() throws {
    let folder = Folder()
    var bytes = try FileBytes.read(Demo.farm, limit: 1 << 24)
    let exif: [UInt8] = [
      0xFF, 0xE1, 0, 34, 0x45, 0x78, 0x69, 0x66, 0, 0, 0x4D, 0x4D, 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0,
      0,
      0, 1, 0, 6, 0, 0, 0, 0, 0, 0,
    ]
    bytes.insert(contentsOf: exif, at: 2)
    let path = folder.path + "/turned.jpg"
    try FileBytes.replace(path, with: bytes)
    let sink = CopySink()
    _ = try job(PictureStyle()).run(PhotoFile(path: path), name: path, into: [sink])
    let stored = try pixels(Demo.farm)
    #expect(sink.size == (480, 640))
    var different = 0
    for y in 0..<480 {
      for x in 0..<640 {
        let seen = x * 480 + 479 - y
        for channel in 0..<3 where stored[3 * (y * 640 + x) + channel] != sink.pixels[3 * seen + channel] {
          different += 1
        }
      }
    }
    #expect(different == 0)
  }

  /// A class that is added changes no other's colour, nor does a background, which alone is black.
  @Test func coloursStay() throws {
    func colours(_ phrases: [String], background: Bool = false) throws -> [Colour] {
      let session = try Demo.session()
      var source = Demo.source
      (source.phrases, source.file, source.background) = (phrases, nil, background)
      let words = try Words(source, session)
      let found = LabelColours(words.classes, titles: words.classes.titles)
      return words.classes.titles.indices.map { found[$0] }
    }
    let words = ["sky", "grass", "horse", "tree"]
    let all = try colours(words)
    #expect(try colours(Array(words.prefix(2))) == Array(all.prefix(2)))
    #expect(try colours(words, background: true) == [.black] + all)
    #expect(!all.contains(.black))
  }

  @Test func palettesAndSingleColours() throws {
    let folder = Folder()
    let file = try folder.write(
      "a.gpl", "GIMP Palette\nName: x\n# a comment\n255 0 0\tred\n\n#00ff00 green\n1,2,3\n")
    var wanted = style { $0.colours = .voc }
    #expect(try job(wanted, ["sky", "grass"]).style.colours.isVOC)
    wanted.colours = try PictureStyle.colours(file)
    wanted.named = [try PictureStyle.named("lawn=#0A0B0C")]
    let session = try Demo.session()
    var source = Demo.source
    (source.phrases, source.file) = (["sky", "grass; lawn"], nil)
    let words = try Words(source, session)
    let found = try LabelColours(wanted, words.classes, titles: words.classes.titles)
    #expect(
      found[0] == Colour(red: 255, green: 0, blue: 0) && found[1] == Colour(red: 10, green: 11, blue: 12))
    #expect(found[2] == Colour(red: 1, green: 2, blue: 3))
    wanted.named = [("cow", .black)]
    #expect(refusal(wanted).contains("there is no class 'cow'; there are: sky, grass"))
    wanted.named = []
    #expect(refusal(wanted, ["a", "b", "c", "d"]).contains("holds 3 colours for 4 classes"))
    try folder.write("b.txt", "#ff0000\nred\n")
    for (text, message) in [
      ("/b.txt", "line 2 is no colour"), ("/none.txt", "--palette is trident, voc or a file"),
    ] {
      let error = thrownError(SegmentationError.self) { try PictureStyle.colours(folder.path + text) }
      #expect(error?.exitCode == 2 && error?.description.contains(message) == true, "\(text)")
    }
    for text in ["sky", "sky=", "sky=red", "=#112233", "sky=#12345"] {
      #expect(throws: SegmentationError.self) { try PictureStyle.named(text) }
    }
  }

  /// A folder that was done in other colours is no folder that is done.
  @Test func coloursBelongToTheLegend() throws {
    let folder = Folder()
    let targets = [OutputTarget(.labelMap, folder.path + "/out/")]
    let paths = try OutputPaths(photos: [Demo.farm], others: [], targets: targets)
    func run(_ style: PictureStyle) throws { try SegmentJob(job(style), paths).run { _ in } }
    try run(PictureStyle())
    let map = try FileBytes.read(folder.path + "/out/farm.png", limit: 1 << 24)
    #expect(Array(map[41..<47]) == Array(Palette.standard.bytes.prefix(6)))
    try run(PictureStyle())
    let error = thrownError(SegmentationError.self) { try run(style { $0.colours = .voc }) }
    #expect(error?.description.contains("--overwrite") == true)
    #expect(try FileBytes.read(folder.path + "/out/farm.png", limit: 1 << 24) == map)
  }
}

extension PictureStyle.Colours {
  var isVOC: Bool { if case .voc = self { true } else { false } }
}
