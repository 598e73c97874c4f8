// Photos cut short at every length, and photos with flipped bytes.

import Raster
import TestSupport
import Testing

@Suite struct HostileFileTests {
  @Test(
    arguments: ["ycc420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "orientation6.jpg"]
      + ["grey8.png", "grey8i.png", "palette4.png", "orientation6.png", "colour6depth16.png"])
  func everyTruncationIsAnError(_ name: String) throws {
    let scratch = Scratch()
    let whole = readBytes(fixture("files/\(name)"))
    try #require(whole.count > 20)
    // A JPEG that lacks its end marker alone is read.
    let needed = name.hasSuffix(".jpg") ? whole.count - 2 : whole.count
    for count in Effort.sample(0..<needed) {
      writeBytes(whole[..<count], to: scratch.file("cut"))
      #expect(throws: RasterError.self, "\(name) cut to \(count) bytes") { try decode(scratch.file("cut")) }
    }
  }

  @Test(
    arguments: ["ycc420.jpg", "progressive.jpg", "cmyk.jpg", "restart.jpg", "orientation5.jpg"]
      + ["grey8.png", "palette4.png", "grey16i.png", "orientation6.png"], [false, true])
  func flippedBytesNeverCrash(_ name: String, ignoringChecksums: Bool) throws {
    let scratch = Scratch()
    let whole = readBytes(fixture("files/\(name)"))
    var random = SeededRandom(seed: name.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) })
    var refused = 0
    for _ in 0..<200 {
      var bytes = whole
      for _ in 0...Int(random.next() % 4) {
        bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      }
      writeBytes(bytes, to: scratch.file("flipped"))
      do throws(RasterError) {
        _ = try decode(scratch.file("flipped"), ignoringChecksums: ignoringChecksums)
      } catch {
        refused += 1
        #expect(!error.description.contains("\n") && error.path == scratch.file("flipped"))
      }
    }
    #expect(refused > 0)
  }

  @Test func damagedExifIsIgnored() throws {
    let scratch = Scratch()
    let whole = readBytes(fixture("files/orientation6.jpg"))
    let start = try #require(whole.indices.first { whole[$0...].starts(with: Array("Exif".utf8)) })
    for at in start + 6..<start + 32 {
      for value: UInt8 in [0, 1, 0x7F, 0xFF] {
        var bytes = whole
        bytes[at] = value
        writeBytes(bytes, to: scratch.file("exif.jpg"))
        let decoder = try PhotoDecoder(path: scratch.file("exif.jpg"))
        #expect((1...8).contains(decoder.orientation.rawValue))
      }
    }
  }

  /// A grey PNG of which only the header is right.
  private func header(_ width: Int, _ height: Int) -> [UInt8] {
    func big(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }
    func chunk(_ body: [UInt8]) -> [UInt8] {
      var crc = UInt32.max
      for byte in body {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc & 1 == 0 ? crc >> 1 : crc >> 1 ^ 0xEDB8_8320 }
      }
      return big(body.count - 4) + body + big(Int(~crc))
    }
    return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
      + chunk(Array("IHDR".utf8) + big(width) + big(height) + [8, 0, 0, 0, 0])
      + chunk(Array("IDAT".utf8) + [0x78, 1])
  }

  @Test func hugeSizesAreRefused() throws {
    let scratch = Scratch()
    let path = scratch.file("huge.png")
    func reason(_ width: Int, _ height: Int, byteCount: Int) throws -> RasterError.Reason? {
      let bytes = header(width, height)
      writeBytes(bytes + [UInt8](repeating: 0, count: byteCount - bytes.count), to: path)
      do throws(RasterError) {
        _ = try PhotoDecoder(path: path)
        return nil
      } catch { return error.reason }
    }
    for (width, height) in [(100_001, 1), (1, 1_000_000), (0x7FFF_FFFF, 0x7FFF_FFFF)] {
      #expect(try reason(width, height, byteCount: 100) == .badSize(width: width, height: height))
    }
    #expect(
      try reason(30_000, 30_000, byteCount: 900_000)
        == .bomb(width: 30_000, height: 30_000, byteCount: 900_000))
    #expect(
      try reason(20_000, 20_000, byteCount: 1_999_999)
        == .bomb(width: 20_000, height: 20_000, byteCount: 1_999_999))
    #expect(try reason(20_000, 20_000, byteCount: 2_000_000) == nil)
    #expect(try reason(16_384, 16_384, byteCount: 100) == nil, "small enough to be decoded whatever it is")
  }

  @Test func extraneousBytesAreTolerated() throws {
    let scratch = Scratch()
    let whole = readBytes(fixture("files/ycc420.jpg"))
    writeBytes(whole + [1, 2, 3], to: scratch.file("tail.jpg"))
    #expect(try decode(scratch.file("tail.jpg")) == decode(fixture("files/ycc420.jpg")))
  }
}
