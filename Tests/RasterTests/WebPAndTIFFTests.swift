// WebP and TIFF of every kind against Pillow's pixels, and such files that are damaged. The files and their
// sums are made by Tests/Fixtures/raster/generate_rasters.py.

import Raster
import System
import TestSupport
import Testing

@Suite struct WebPAndTIFFTests {
  private static let cases = table("rasters.csv")

  /// Whether a file's library is there; where it is not, the file is named as one that is not read.
  private static func isReadable(_ name: String) -> Bool {
    (try? (name.hasSuffix(".webp") ? OptionalLibrary.webP : .tiff).open()) != nil
  }

  private func upright(_ path: String) throws -> (width: Int, height: Int, pixels: [UInt8]) {
    let decoder = try PhotoDecoder(path: path)
    try decoder.beginDecoding(allowWholeImage: true)
    var row = [UInt8](repeating: 0, count: 3 * decoder.storedWidth)
    var pixels = [UInt8](repeating: 0, count: 3 * decoder.width * decoder.height)
    try pixels.withUnsafeMutableBufferPointer { target in
      let store = OrientedStore(
        storedWidth: decoder.storedWidth, storedHeight: decoder.storedHeight,
        orientation: decoder.orientation, destination: target.baseAddress!)
      for y in 0..<decoder.storedHeight {
        try decoder.readRow(into: &row)
        store.put(row: y, row)
      }
    }
    return (decoder.width, decoder.height, pixels)
  }

  private static let readable = cases.map { $0[0] }.filter(isReadable)

  @Test(arguments: readable) func pixelsAreThoseOfPillow(_ name: String) throws {
    let wanted = try #require(Self.cases.first { $0[0] == name })
    let found = try upright(fixture("rasters/\(name)"))
    #expect("\(found.width) \(found.height)" == "\(wanted[1]) \(wanted[2])")
    #expect(found.pixels.withUnsafeBytes { CRC32.of($0) } == UInt32(wanted[3]))
  }

  @Test func cutFilesAreErrors() throws {
    let scratch = Scratch()
    for name in ["lossy.webp", "lossless.webp", "lossy-alpha.webp"] where Self.isReadable(name) {
      let whole = readBytes(fixture("rasters/\(name)"))
      for count in Effort.sample(0..<whole.count - 1) {
        writeBytes(whole[..<count], to: scratch.file("cut"))
        #expect(throws: RasterError.self, "\(name) cut to \(count) bytes") {
          try decode(scratch.file("cut"))
        }
      }
    }
    // What a TIFF lacks at its end may be a tag that nobody needs; its picture is whole or an error.
    for name in ["rgb-none.tif", "tiles-lzw.tif", "planes-zlib.tif", "jpeg.tif"] where Self.isReadable(name) {
      let whole = readBytes(fixture("rasters/\(name)"))
      let pixels = try decode(fixture("rasters/\(name)"))
      for count in Effort.sample(0..<whole.count) {
        writeBytes(whole[..<count], to: scratch.file("cut"))
        let found = try? decode(scratch.file("cut"))
        #expect(found == nil || found == pixels, "\(name) cut to \(count) bytes")
      }
    }
  }

  /// JPEG strips of YCbCr, a plane each: nothing reads such files, and they say that three planes lie apart.
  @Test func planesOfYCbCrAreRefused() throws {
    guard Self.isReadable("a.tif") else { return }
    let scratch = Scratch()
    let strip = readBytes(fixture("files/grey.jpg"))
    var bytes: [UInt8] = [0x49, 0x49, 42, 0, 0, 0, 0, 0]
    func add(_ value: Int, _ count: Int) {
      for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
    }
    let first = bytes.count
    for _ in 0..<3 { bytes += strip }
    let (bits, offsets, lengths) = (bytes.count, bytes.count + 6, bytes.count + 18)
    for _ in 0..<3 { add(8, 2) }
    for index in 0..<3 { add(first + index * strip.count, 4) }
    for _ in 0..<3 { add(strip.count, 4) }
    let directory = bytes.count
    let tags: [[Int]] = [
      [256, 4, 1, 37], [257, 4, 1, 29], [258, 3, 3, bits], [259, 3, 1, 7], [262, 3, 1, 6],
      [273, 4, 3, offsets], [277, 3, 1, 3], [278, 4, 1, 29], [279, 4, 3, lengths], [284, 3, 1, 2],
      [530, 3, 2, 0x1_0001],
    ]
    add(tags.count, 2)
    for tag in tags { for (value, size) in zip(tag, [2, 2, 4, 4]) { add(value, size) } }
    add(0, 4)
    for index in 0..<4 { bytes[4 + index] = UInt8(truncatingIfNeeded: directory >> (8 * index)) }
    writeBytes(bytes, to: scratch.file("a.tif"))
    let error = thrownError(RasterError.self) { _ = try decode(scratch.file("a.tif")) }
    #expect(error?.description.contains("3 planes of ycbcr") == true, "\(error?.description ?? "none")")
  }

  @Test(
    arguments: ["lossy.webp", "lossless.webp", "tiles-lzw.tif", "rgb-none.tif", "planes-zlib.tif"]
      + ["tiles-jpeg.tif", "palette16-raw.tif", "rgb-big-endian-big.tif", "two-group3.tif"])
  func flippedBytesNeverCrash(_ name: String) throws {
    guard Self.isReadable(name) else { return }
    let scratch = Scratch()
    let whole = readBytes(fixture("rasters/\(name)"))
    var random = SeededRandom(seed: name.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) })
    for _ in 0..<100 {
      var bytes = whole
      for _ in 0...Int(random.next() % 4) {
        bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      }
      writeBytes(bytes, to: scratch.file("flipped"))
      do throws(RasterError) {
        let decoder = try PhotoDecoder(path: scratch.file("flipped"))
        if decoder.storedWidth * decoder.storedHeight < 1 << 20 { _ = try decode(scratch.file("flipped")) }
      } catch {
        #expect(!error.description.contains("\n") && error.path == scratch.file("flipped"))
      }
    }
  }

  /// A little-endian TIFF of these numbers by tag; its strip lies at byte 8.
  private func tiff(_ tags: [(UInt16, UInt32)], strip: [UInt8] = []) -> [UInt8] {
    func little(_ value: UInt32, _ count: Int) -> [UInt8] {
      (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt32(8 * $0)) }
    }
    var bytes: [UInt8] = [0x49, 0x49, 42, 0]
    bytes += little(UInt32(8 + strip.count), 4)
    bytes += strip
    bytes += little(UInt32(tags.count), 2)
    for (tag, value) in tags {
      bytes += little(UInt32(tag), 2)
      bytes += [4, 0]
      bytes += little(1, 4)
      bytes += little(value, 4)
    }
    bytes += [0, 0, 0, 0]
    return bytes
  }

  private func refusal(_ tags: [(UInt16, UInt32)]) -> String {
    let scratch = Scratch()
    writeBytes(tiff(tags, strip: [UInt8](repeating: 1, count: 64)), to: scratch.file("a.tif"))
    do throws(RasterError) {
      _ = try decode(scratch.file("a.tif"))
      return "read"
    } catch { return error.description }
  }

  @Test func sizesAreCheckedBeforeAnythingIsAllocated() throws {
    guard Self.isReadable("a.tif") else { return }
    func grey(_ width: UInt32, _ height: UInt32, _ more: [(UInt16, UInt32)] = []) -> [(UInt16, UInt32)] {
      var tags: [(UInt16, UInt32)] = [
        (256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height),
        (279, 64),
      ]
      tags.removeAll { old in more.contains { $0.0 == old.0 } }
      return (tags + more).sorted { $0.0 < $1.0 }
    }
    #expect(refusal(grey(8, 8)) == "read")
    #expect(refusal(grey(100_001, 8)).contains("size of 100001 x 8"))
    #expect(refusal(grey(90_000, 20_000)).contains("promises 90000 x 20000"))
    #expect(refusal(grey(8, 4000)).contains("ends too early"))
    #expect(refusal(grey(8, 8, [(259, 5), (279, 1 << 30)])).contains("longer than the file"))
    #expect(refusal(grey(8, 8, [(259, 50_000)])).contains("compression 50000; gdal_translate"))
    #expect(refusal(grey(8, 8, [(258, 32)])).contains("32 bits a sample"))
    #expect(refusal(grey(8, 8, [(258, 32), (339, 3)])).contains("gdal_translate -ot byte -scale"))
    #expect(refusal(grey(8, 8, [(277, 4)])).contains("4 bands of grey; choose three"))
    #expect(refusal(grey(8, 8, [(262, 32_803)])).contains("photometric interpretation 32803"))
    #expect(refusal(grey(8, 8, [(322, 1 << 20), (323, 16), (324, 8), (325, 64)])).contains("tiles of"))
    #expect(
      refusal(grey(9000, 9000, [(322, 1 << 16), (323, 1 << 16), (324, 8), (325, 64)]))
        .contains("bytes to be held at once"))
  }

  @Test func animationsAreNamed() throws {
    var bytes = Array("RIFF".utf8)
    bytes += [22, 0, 0, 0]
    bytes += Array("WEBPVP8X".utf8)
    bytes += [10, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 7, 0, 0]
    let scratch = Scratch()
    writeBytes(bytes, to: scratch.file("a.webp"))
    let error = thrownError(RasterError.self) { try PhotoDecoder(path: scratch.file("a.webp")) }
    #expect(error?.description.contains("is an animated WebP picture") == true)
    #expect(error?.advice?.hasPrefix("webpmux -get frame 1") == true)
  }

  @Test func wholePicturesAreCounted() throws {
    guard Self.isReadable("a.webp") else { return }
    let decoder = try PhotoDecoder(path: fixture("rasters/lossy.webp"))
    #expect(decoder.needsWholeImage && decoder.wholeImageByteCount > 3 * 45 * 38)
    #expect(throws: RasterError.self) { try decoder.beginDecoding(allowWholeImage: false) }
    guard Self.isReadable("a.tif") else { return }
    #expect(try !PhotoDecoder(path: fixture("rasters/tiles-lzw.tif")).needsWholeImage)
  }

  @Test func missingLibrariesNameTheirPackage() {
    let error = RasterError(
      .foreign(name: "a WebP picture", command: "dwebp a.webp -o a.png"), path: "a.webp")
    #expect(error.description.contains("dwebp a.webp -o a.png; or install libwebp"))
    #expect(error.description.contains("apt install libwebp7"))
    let missing = OptionalLibrary(
      name: "libnone", files: ["libnone.so.1"], package: "libnone1", purpose: "Nothing")
    let problem = thrownError(SystemError.self) { try missing.open() }
    #expect(problem?.description.contains("apt install libnone1") == true)
  }
}
