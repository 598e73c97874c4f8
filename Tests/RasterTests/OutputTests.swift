// Writers read back, and what stands on disk when writing goes wrong.

import Raster
import System
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// One at a time: the table of temporary files belongs to the whole process.
@Suite(.serialized) struct OutputTests {
  private let temporaryFiles = TemporaryFiles()

  @Test func indexedRoundTrip() throws {
    for (width, height) in [(1, 1), (13, 7), (300, 2), (2, 300)] {
      let scratch = Scratch()
      let labels = pattern(width: width, height: height, channels: 1)
      let writer = try PNGWriter(
        path: scratch.file("a.png"), .indexed(.standard), width: width, height: height)
      try labels.withUnsafeBufferPointer { labels in
        for y in 0..<height { try writer.writeRow(labels.baseAddress! + y * width) }
      }
      try writer.finish()
      let colours = Palette.standard
      let expected = labels.flatMap { label -> [UInt8] in
        let colour = colours[Int(label)]
        return [colour.red, colour.green, colour.blue]
      }
      #expect(try decode(scratch.file("a.png")) == expected)
      #expect(scratch.names == ["a.png"])
    }
  }

  @Test func greyAndColourRoundTrip() throws {
    let scratch = Scratch()
    let grey = try PNGWriter(path: scratch.file("g.png"), .grey16, width: 5, height: 2, compression: 0)
    let numbers: [UInt16] = [0, 255, 256, 0x1234, 65535]
    for _ in 0..<2 { try grey.writeRow(numbers) }
    try grey.finish()
    let row = numbers.flatMap { [UInt8](repeating: UInt8($0 >> 8), count: 3) }
    #expect(try decode(scratch.file("g.png")) == row + row)
    let pixels = pattern(width: 31, height: 1)
    let colour = try PNGWriter(path: scratch.file("c.png"), .rgb, width: 31, height: 3)
    for _ in 0..<3 { try colour.writeRow(pixels) }
    try colour.finish()
    #expect(try decode(scratch.file("c.png")) == pixels + pixels + pixels)
  }

  @Test func unfinishedWriterLeavesTheOldFile() throws {
    let scratch = Scratch()
    writeBytes([1, 2, 3], to: scratch.file("a.png"))
    do {
      let writer = try PNGWriter(path: scratch.file("a.png"), .rgb, width: 4, height: 4)
      try writer.writeRow([UInt8](repeating: 0, count: 12))
      #expect(scratch.names.count == 2)
    }
    #expect(scratch.names == ["a.png"])
    #expect(readBytes(scratch.file("a.png")) == [1, 2, 3])
  }

  @Test func nothingIsReplacedBeforeAllIsReady() throws {
    let scratch = Scratch()
    for name in ["a.png", "a.json"] { writeBytes([1], to: scratch.file(name)) }
    let legend = try AtomicFile(path: scratch.file("a.json"))
    try legend.write("new")
    let map = try PNGWriter(path: scratch.file("a.png"), .rgb, width: 1, height: 1)
    try map.writeRow([1, 2, 3] as [UInt8])
    let ended = try map.end()
    for file in [ended, legend] { try file.sync() }
    #expect(readBytes(scratch.file("a.png")) == [1] && readBytes(scratch.file("a.json")) == [1])
    legend.removeTarget()
    try ended.finish()
    #expect(try decode(scratch.file("a.png")) == [1, 2, 3])
    #expect(!scratch.names.contains("a.json"))
    try legend.finish()
    #expect(readBytes(scratch.file("a.json")) == Array("new".utf8))
    #expect(scratch.names.sorted() == ["a.json", "a.png"])
  }

  @Test func fullDiskLeavesNoLitter() throws {
    // A file-size limit fails writes like a full disk does, once its signal is ignored. It holds for the
    // whole process, so it is larger than anything that the other suites write.
    signal(SIGXFSZ, SIG_IGN)
    let scratch = Scratch()
    var old = rlimit()
    getrlimit(fileSizeLimit, &old)
    defer { setrlimit(fileSizeLimit, &old) }
    var small = rlimit(rlim_cur: 200_000, rlim_max: old.rlim_max)
    setrlimit(fileSizeLimit, &small)
    let writer = try PNGWriter(path: scratch.file("b"), .rgb, width: 40_000, height: 9, compression: 0)
    #expect(throws: RasterError.self) {
      for _ in 0..<9 { try writer.writeRow([UInt8](repeating: 3, count: 120_000)) }
      try writer.finish()
    }
    #expect(scratch.names == [])
  }

  @Test func paletteColoursDiffer() {
    #expect(Palette.voc[0] == .black && Palette.voc[1] == Colour(red: 128, green: 0, blue: 0))
    for palette in [Palette.standard, .voc] {
      #expect(palette.count == 256 && Set((0..<256).map { palette[$0] }).count == 256)
    }
    for plain in [Colour.black, .grey, Colour(red: 255, green: 255, blue: 255)] {
      #expect(!(0..<256).contains { Palette.standard[$0] == plain })
    }
    #expect(Colour(hex: "#0a80FF") == Colour(red: 10, green: 128, blue: 255))
    for text in ["", "#", "0a80ff", "#0a80f", "#0a80fff", "#0a80fg", "#+a80ff"] {
      #expect(Colour(hex: text) == nil, "\(text)")
    }
  }

  /// docs/colours.md has the smallest distances in Lab that Scripts/generate-palette.py --report finds.
  @Test func coloursLieAsFarApartAsTheDocumentSays() throws {
    for (palette, columns) in [(Palette.standard, (1, 2)), (.voc, (3, 4))] {
      let views = (0..<256).map { Seen(palette[$0]) }
      var rows = try documentedDistances()
      #expect(rows.map { $0[0] } == [12, 21, 60, 150, 256])
      var least = (normal: Double.infinity, dulled: Double.infinity)
      for (index, view) in views.enumerated() {
        for other in views[..<index] {
          least.normal = min(least.normal, Seen.apart(view.normal, other.normal))
          least.dulled = min(least.dulled, Seen.apart(view.dulled, other.dulled))
        }
        guard let row = rows.first, Double(index + 1) == row[0] else { continue }
        // Rounded to one digit.
        #expect(abs(least.normal - row[columns.0]) < 0.051 && abs(least.dulled - row[columns.1]) < 0.051)
        rows.removeFirst()
      }
    }
  }

  private func documentedDistances() throws -> [[Double]] {
    let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
    let path = root.joined(separator: "/") + "/docs/colours.md"
    let text = String(decoding: try FileBytes.read(path, limit: 1 << 20), as: UTF8.self)
    return text.split(separator: "\n").map { $0.split { "| ".contains($0) }.compactMap { Double($0) } }
      .filter { $0.count == 5 }
  }

  @Test func jpegReadsBack() throws {
    let scratch = Scratch()
    let (width, height) = (37, 19)
    let writer = try JPEGWriter(AtomicFile(path: scratch.file("a.jpg")), width: width, height: height)
    let row = (0..<width).flatMap { x -> [UInt8] in [UInt8(x * 6), 128, UInt8(255 - x * 6)] }
    for _ in 0..<height { try writer.writeRow(row) }
    try writer.end().finish()
    let read = try decode(scratch.file("a.jpg"))
    #expect(read.count == width * height * 3)
    let wanted = (0..<height).flatMap { _ in row }
    #expect(zip(read, wanted).allSatisfy { abs(Int($0) - Int($1)) < 8 })
    #expect(scratch.names == ["a.jpg"])
    let error = thrownError(RasterError.self) {
      _ = try JPEGWriter(AtomicFile(path: scratch.file("b.jpg")), width: 70_000, height: 1)
    }
    #expect(error?.reason == .badSize(width: 70_000, height: 1))
    #expect(scratch.names == ["a.jpg"])
  }

  /// Every character of Latin-1 has a shape of its own; others are read without accents, or are boxes.
  @Test func glyphs() {
    let letters = (0x21...0xFF).filter { $0 < 0x7F || $0 > 0xA0 }.map { Character(Unicode.Scalar(UInt8($0))) }
    for letter in letters {
      let glyphs = BitmapFont.glyphs(String(letter))
      #expect(!glyphs.contains { $0.isBox || $0.width == 0 || $0.width > 5 }, "\(letter)")
    }
    let words = letters.filter(\.isLetter).filter { $0 != "ª" && $0 != "º" }
    #expect(Set(words.map { "\(BitmapFont.glyphs(String($0)))" }).count == words.count)
    #expect(BitmapFont.glyphs("łódź…") == BitmapFont.glyphs("lódz..."))
    #expect(BitmapFont.glyphs("猫a").map(\.isBox) == [true, false])
    #expect(BitmapFont.width(BitmapFont.glyphs("il")) == 4 && BitmapFont.width([]) == 0)
  }
}

/// A colour in CIE Lab (D65), for normal eyes and for deuteranopes, as Scripts/generate-palette.py has it.
private struct Seen {
  typealias Lab = (Double, Double, Double)
  let normal: Lab
  let dulled: Lab

  init(_ colour: Colour) {
    let (r, g, b) = (Self.linear(colour.red), Self.linear(colour.green), Self.linear(colour.blue))
    normal = Self.lab(r, g, b)
    func cut(_ value: Double) -> Double { min(1, max(0, value)) }
    dulled = Self.lab(
      cut(0.367322 * r + 0.860646 * g - 0.227968 * b), cut(0.280085 * r + 0.672501 * g + 0.047413 * b),
      cut(-0.011820 * r + 0.042940 * g + 0.968881 * b))
  }

  private static func linear(_ byte: UInt8) -> Double {
    let value = Double(byte) / 255
    return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
  }

  private static func lab(_ r: Double, _ g: Double, _ b: Double) -> Lab {
    func bent(_ t: Double) -> Double { t > 216.0 / 24389 ? cbrt(t) : (24389.0 / 27 * t + 16) / 116 }
    let x = bent((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047)
    let y = bent(0.2126729 * r + 0.7151522 * g + 0.0721750 * b)
    let z = bent((0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883)
    return (116 * y - 16, 500 * (x - y), 200 * (y - z))
  }

  static func apart(_ one: Lab, _ other: Lab) -> Double {
    let (l, a, b) = (one.0 - other.0, one.1 - other.1, one.2 - other.2)
    return (l * l + a * a + b * b).squareRoot()
  }
}

#if canImport(Glibc)
  private let fileSizeLimit = __rlimit_resource_t(RLIMIT_FSIZE.rawValue)
#else
  private let fileSizeLimit = RLIMIT_FSIZE
#endif
