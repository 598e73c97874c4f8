// Label maps as TIFF: pixels, colours and the place on earth come back. Other programs read them in
// Scripts/check-rasters.sh.

import Raster
import System
import TestSupport
import Testing

@Suite struct LabelTIFFTests {
  private let width = 700, height = 900
  private var isReadable: Bool { (try? OptionalLibrary.tiff.open()) != nil }

  /// Strips of 256 KiB hold 374 rows, or half of that.
  private func labels<Number: FixedWidthInteger>(below limit: Int, as type: Number.Type) -> [Number] {
    var random = SeededRandom(seed: 3)
    return (0..<width * height).map {
      $0 % 7 == 0 ? Number(random.next() % UInt64(limit)) : Number($0 / 9000)
    }
  }

  @Test(arguments: [false, true]) func indexedMapsComeBack(_ isBig: Bool) throws {
    guard isReadable else { return }
    let scratch = Scratch()
    let numbers = labels(below: 256, as: UInt8.self)
    let facts = LabelTIFFWriter.Facts(width: width, height: height, palette: .standard, noData: 7)
    let writer = try LabelTIFFWriter(path: scratch.file("a.tif"), facts, isBig: isBig)
    try numbers.withUnsafeBufferPointer { buffer in
      for y in 0..<height { try writer.writeRow(buffer.baseAddress! + y * width) }
    }
    try writer.end().finish()
    #expect(readBytes(scratch.file("a.tif"))[2] == (isBig ? 43 : 42))
    let pixels = try decode(scratch.file("a.tif"))
    #expect(pixels == numbers.flatMap { Palette.standard.bytes[3 * Int($0)..<3 * Int($0) + 3] })
  }

  @Test func wideMapsComeBack() throws {
    guard isReadable else { return }
    let scratch = Scratch()
    let numbers = labels(below: 60_000, as: UInt16.self)
    let facts = LabelTIFFWriter.Facts(width: width, height: height, palette: nil)
    let writer = try LabelTIFFWriter(path: scratch.file("a.tif"), facts)
    try numbers.withUnsafeBufferPointer { buffer in
      for y in 0..<height { try writer.writeRow(buffer.baseAddress! + y * width) }
    }
    try writer.end().finish()
    let pixels = try decode(scratch.file("a.tif"))
    #expect(stride(from: 0, to: pixels.count, by: 3).map { pixels[$0] } == numbers.map { UInt8($0 >> 8) })
  }

  @Test func theirPlaceIsCarriedOver() throws {
    let little = try #require(GeoTags(path: fixture("rasters/geo-little.tif")))
    #expect(little == GeoTags(path: fixture("rasters/geo-big.tif")))
    #expect(little.tags.map(\.number) == [33_550, 33_922, 34_735, 34_737])
    #expect(little.tags.map(\.count) == [3, 6, 12, 23])
    let scratch = Scratch()
    for isBig in [false, true] {
      let facts = LabelTIFFWriter.Facts(width: 3, height: 1, palette: .standard, place: little)
      let writer = try LabelTIFFWriter(path: scratch.file("a.tif"), facts, isBig: isBig)
      try writer.writeRow([1, 2, 3] as [UInt8])
      try writer.end().finish()
      #expect(GeoTags(path: scratch.file("a.tif")) == little)
    }
    #expect(GeoTags(path: fixture("rasters/rgb-none.tif")) == nil)
    #expect(GeoTags(path: fixture("rasters/lossy.webp")) == nil)
  }

  @Test func damagedDirectoriesHaveNoPlace() {
    let scratch = Scratch()
    let whole = readBytes(fixture("rasters/geo-little.tif"))
    var random = SeededRandom(seed: 9)
    for _ in 0..<300 {
      var bytes = whole
      for _ in 0..<4 { bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(random.next() & 255) }
      writeBytes(bytes[..<Int(random.next() % UInt64(bytes.count))], to: scratch.file("a.tif"))
      _ = GeoTags(path: scratch.file("a.tif"))
    }
  }
}
