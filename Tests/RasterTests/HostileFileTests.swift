// Photos cut short at every length, and photos with flipped bytes.

import Raster
import Testing

@Suite struct HostileFileTests {
  @Test(arguments: ["ycc420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "orientation6.jpg"]
    + ["grey8.png", "grey8i.png", "palette4.png", "orientation6.png", "colour6depth16.png"])
  func everyTruncationIsAnError(_ name: String) throws {
    let scratch = Scratch()
    let whole = readBytes(fixture("files/\(name)"))
    try #require(whole.count > 20)
    for count in 0..<whole.count {
      writeBytes(whole[..<count], to: scratch.file("cut"))
      #expect(throws: RasterError.self, "\(name) cut to \(count) bytes") { try decode(scratch.file("cut")) }
    }
  }

  @Test(arguments: ["ycc420.jpg", "progressive.jpg", "cmyk.jpg", "restart.jpg", "orientation5.jpg"]
    + ["grey8.png", "palette4.png", "grey16i.png", "orientation6.png"], [false, true])
  func flippedBytesNeverCrash(_ name: String, ignoringChecksums: Bool) throws {
    let scratch = Scratch()
    let whole = readBytes(fixture("files/\(name)"))
    var random = SplitMix(state: name.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) })
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

  @Test func extraneousBytesAreTolerated() throws {
    let scratch = Scratch()
    let whole = readBytes(fixture("files/ycc420.jpg"))
    writeBytes(whole + [1, 2, 3], to: scratch.file("tail.jpg"))
    #expect(try decode(scratch.file("tail.jpg")) == decode(fixture("files/ycc420.jpg")))
  }
}

/// A small seeded generator; the seed is the fixture's name.
struct SplitMix {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
