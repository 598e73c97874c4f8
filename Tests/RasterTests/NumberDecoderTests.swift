// Label maps as numbers: palettes, narrow and wide grey, and what is no label map.

import Raster
import TestSupport
import Testing

@Suite struct NumberDecoderTests {
  private let temporaryFiles = TemporaryFiles()

  private func numbers(_ path: String) throws -> [UInt16] {
    let decoder = try NumberDecoder(path: path)
    var row = [UInt16](repeating: 0, count: decoder.width)
    var numbers: [UInt16] = []
    for _ in 0..<decoder.height {
      try decoder.readRow(into: &row)
      numbers += row
    }
    return numbers
  }

  /// generate.py stores two bytes of its pattern a pixel, cut to the depth.
  private func drawn(depth: Int) -> [UInt16] {
    let bytes = pattern(width: 13, height: 7, channels: 2)
    return (0..<13 * 7).map { (UInt16(bytes[2 * $0]) << 8 | UInt16(bytes[2 * $0 + 1])) >> (16 - depth) }
  }

  @Test(arguments: [1, 2, 4, 8, 16]) func greyIsNotStretched(_ depth: Int) throws {
    for kind in ["", "i", "t"] {
      #expect(
        try numbers(fixture("files/grey\(depth)\(kind).png")) == drawn(depth: depth), "grey\(depth)\(kind)")
    }
  }

  @Test(arguments: [1, 2, 4, 8]) func palettesGiveIndices(_ depth: Int) throws {
    #expect(try numbers(fixture("files/palette\(depth).png")) == drawn(depth: depth))
  }

  @Test func writtenLabelsComeBack() throws {
    let scratch = Scratch()
    let labels = pattern(width: 40, height: 3, channels: 1)
    let writer = try PNGWriter(path: scratch.file("a.png"), .indexed(.standard), width: 40, height: 3)
    try labels.withUnsafeBufferPointer { for y in 0..<3 { try writer.writeRow($0.baseAddress! + 40 * y) } }
    try writer.finish()
    #expect(try numbers(scratch.file("a.png")) == labels.map { UInt16($0) })
    let bytes = try PNGLayout.indexed(.standard).bytes(of: labels, width: 40, height: 3)
    writeBytes(bytes, to: scratch.file("b.png"))
    #expect(try numbers(scratch.file("b.png")) == labels.map { UInt16($0) })
    writeBytes(bytes.dropLast(30), to: scratch.file("c.png"))
    #expect(throws: RasterError.self) { try numbers(scratch.file("c.png")) }
    let colours = pattern(width: 40, height: 3)
    writeBytes(try PNGLayout.rgb.bytes(of: colours, width: 40, height: 3), to: scratch.file("d.png"))
    #expect(try decode(scratch.file("d.png")) == colours)
    #expect(throws: RasterError(.notNumbers("it holds colours"), path: scratch.file("d.png"))) {
      try NumberDecoder(path: scratch.file("d.png"))
    }
  }

  /// An interlaced file is decoded as a whole: a gigabyte, if its size says so, that a caller may not want.
  @Test func sizesAreKnownBeforeAnythingIsDecoded() throws {
    let scratch = Scratch()
    writeBytes(readBytes(fixture("files/grey16i.png")).dropLast(30), to: scratch.file("a.png"))
    let decoder = try NumberDecoder(path: scratch.file("a.png"))
    #expect(decoder.width == 13 && decoder.height == 7)
    var row = [UInt16](repeating: 0, count: decoder.width)
    for _ in 0..<2 { #expect(throws: RasterError.self) { try decoder.readRow(into: &row) } }
  }

  @Test(arguments: ["ycc420.jpg", "colour2depth8.png", "colour4depth8.png", "colour6depth16.png", "none.png"])
  func otherFilesAreRefused(_ name: String) {
    #expect(throws: RasterError.self) { try NumberDecoder(path: fixture("files/" + name)) }
  }
}
