// Photos of every kind against OpenCV's and Pillow's pixels, and files that are no photos.

import Raster
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct PhotoDecoderTests {
  static let exact: [String] =
    ["ycc420", "ycc422", "ycc444", "progressive", "grey", "cmyk", "restart", "orientation1"].map {
      $0 + ".jpg"
    }
    + [1, 2, 4, 8, 16].flatMap { ["grey\($0).png", "grey\($0)i.png", "grey\($0)t.png"] }
    + [1, 2, 4, 8].map { "palette\($0).png" }
    + [2, 4, 6].flatMap { ["colour\($0)depth8.png", "colour\($0)depth16.png"] }

  @Test(arguments: exact) func pixelsAgree(_ name: String) throws {
    let golden = readBytes(fixture("files/\(name).rgb"))
    let decoder = try PhotoDecoder(path: fixture("files/\(name)"))
    #expect(decoder.storedWidth == Int(golden[0]) && decoder.storedHeight == Int(golden[4]))
    // Another libjpeg may differ by rounding; with the same one the difference is 0.
    let limit = name.hasSuffix(".jpg") ? 2 : 0
    let difference = try largestDifference(decode(fixture("files/\(name)")), Array(golden[8...]))
    #expect(difference <= limit, "\(name): \(difference)")
    if difference > 0 { print("\(name): differs by \(difference)") }
  }

  @Test func orientationIsRead() throws {
    for orientation in 1...8 {
      let decoder = try PhotoDecoder(path: fixture("files/orientation\(orientation).jpg"))
      #expect(decoder.orientation == Orientation(orientation))
      #expect(decoder.width == (orientation < 5 ? 24 : 16))
      #expect(decoder.height == (orientation < 5 ? 16 : 24))
    }
    for orientation in [1, 3, 6, 8] {
      let decoder = try PhotoDecoder(path: fixture("files/orientation\(orientation).png"))
      #expect(decoder.orientation == Orientation(orientation))
    }
  }

  @Test(arguments: ["progressive.jpg", "grey8i.png"]) func wholeImageNeedsPermission(_ name: String) throws {
    let decoder = try PhotoDecoder(path: fixture("files/\(name)"))
    #expect(decoder.needsWholeImage && decoder.wholeImageByteCount > 0)
    let refusal = RasterError(
      .wholeImageRefused(byteCount: decoder.wholeImageByteCount), path: fixture("files/\(name)"))
    #expect(throws: refusal) { try decoder.beginDecoding(allowWholeImage: false) }
    var row = [UInt8](repeating: 0, count: 3 * decoder.storedWidth)
    #expect(throws: refusal) { try decoder.readRow(into: &row) }
    try decoder.beginDecoding(allowWholeImage: true)
    try decoder.readRow(into: &row)
  }

  @Test func portableMaps() throws {
    let scratch = Scratch()
    func pixels(_ text: String, _ tail: [UInt8] = []) throws -> [UInt8] {
      writeBytes(Array(text.utf8) + tail, to: scratch.file("a"))
      return try decode(scratch.file("a"))
    }
    #expect(try pixels("P6 2 1 255\n", [1, 2, 3, 4, 5, 6]) == [1, 2, 3, 4, 5, 6])
    #expect(try pixels("P5\n# note\n2 1\n65535\n", [1, 255, 128, 0]) == [1, 1, 1, 128, 128, 128])
    #expect(try pixels("P3 1 2 15 0 5 15\n15 7 1") == [0, 85, 255, 255, 119, 17])
    let long = pattern(width: 9000, height: 2)
    #expect(try pixels("P6\n9000 2\n255\n", long) == long)
    #expect(throws: RasterError.self) { try pixels("P6\n9000 2\n255\n", Array(long.dropLast())) }
    #expect(try pixels("P2 1 1 1 1") == [255, 255, 255])
    // Between two numbers there may be something, but no end of it.
    let gap = String(repeating: " ", count: 1 << 19)
    #expect(try pixels("P2 #\(gap)\n1 1 1\(gap)1") == [255, 255, 255])
    for text in ["P2 #\(gap)\(gap)\n1 1 1 1", "P2 1 1 1 #\n\(gap)\(gap) 1"] {
      #expect(throws: RasterError.self) { try pixels(text) }
    }
    for text in ["P6 2 1 255\nabcde", "P2 1 1 255 ", "P6 2", "P3 1 1 255 1 2"] {
      #expect(throws: RasterError.self, "\(text)") { try pixels(text) }
    }
    for text in ["P2 1 1 9 10", "P6 0 1 255\n", "P5 1 1 0\n1", "P5 1 1 65536\n1", "P6 200000 1 255\n1"] {
      #expect(throws: RasterError.self, "\(text)") { try pixels(text) }
    }
  }

  @Test func whatIsNoPhotoIsNamed() throws {
    let scratch = Scratch()
    func reason(_ path: String) -> RasterError.Reason? {
      do throws(RasterError) {
        _ = try PhotoDecoder(path: path)
        return nil
      } catch { return error.reason }
    }
    #expect(reason(scratch.path) == .file(.notAFile(kind: "directory")))
    #expect(reason("/dev/null") == .file(.notAFile(kind: "device")))
    #expect(reason(scratch.file("none")) == .file(.system(action: "open", code: ENOENT)))
    mkfifo(scratch.file("pipe"), 0o600)
    #expect(reason(scratch.file("pipe")) == .file(.notAFile(kind: "pipe")))
    writeBytes([], to: scratch.file("empty"))
    #expect(reason(scratch.file("empty")) == .file(.empty))
    writeBytes([1, 2, 3, 4], to: scratch.file("bytes"))
    #expect(reason(scratch.file("bytes")) == .unknownFormat(nil))
    #expect(
      RasterError(.file(.empty), path: "a.png").description
        == "a.png: is empty; name a jpeg, png, ppm, webp or tiff photo")
  }

  @Test func hugeHeadersAreRefused() throws {
    let scratch = Scratch()
    var png = readBytes(fixture("files/grey8.png"))
    png.replaceSubrange(16..<20, with: [0, 1, 0x86, 0xA1])
    writeBytes(png, to: scratch.file("wide.png"))
    #expect(throws: RasterError.self) {
      try PhotoDecoder(path: scratch.file("wide.png"), ignoringChecksums: true)
    }
    var jpeg = readBytes(fixture("files/progressive.jpg"))
    let frame = try #require(jpeg.indices.first { jpeg[$0] == 0xFF && jpeg[$0 + 1] == 0xC2 })
    jpeg.replaceSubrange(frame + 5..<frame + 9, with: [0xFF, 0xDC, 0x7F, 0xFF])
    writeBytes(jpeg, to: scratch.file("tall.jpg"))
    #expect(throws: RasterError.self) { try PhotoDecoder(path: scratch.file("tall.jpg")) }
    // With as many bytes as such a photo could have.
    #expect(truncate(scratch.file("tall.jpg"), 11_000_000) == 0)
    let error = thrownError(RasterError.self) { try PhotoDecoder(path: scratch.file("tall.jpg")) }
    #expect(error?.description.contains("--lift-ceilings") == true)
    let decoder = try PhotoDecoder(path: scratch.file("tall.jpg"), ceilings: .lifted)
    #expect(decoder.wholeImageByteCount > 6_000_000_000)
    jpeg.replaceSubrange(frame + 5..<frame + 9, with: [0xFF, 0xDC, 0xFF, 0xDC])
    writeBytes(jpeg, to: scratch.file("taller.jpg"))
    #expect(throws: RasterError.self) { try PhotoDecoder(path: scratch.file("taller.jpg")) }
  }
}
