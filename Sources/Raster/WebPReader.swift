// WebP in: libwebp behind rows. A WebP picture can only be decoded as a whole.

import System

/// libwebp's functions.
///
/// - Source: `webp/decode.h`; both have been there, with these parameters, since its first version.
struct WebPLibrary: Sendable {
  typealias GetInfo =
    @convention(c) (UnsafePointer<UInt8>, Int, UnsafeMutablePointer<Int32>, UnsafeMutablePointer<Int32>) ->
    Int32
  typealias DecodeRGBInto =
    @convention(c) (UnsafePointer<UInt8>, Int, UnsafeMutablePointer<UInt8>, Int, Int32) ->
    UnsafeMutablePointer<UInt8>?

  let getInfo: GetInfo
  let decodeRGBInto: DecodeRGBInto

  /// The library, once it was asked for.
  static let shared: Result<WebPLibrary, SystemError> = {
    do throws(SystemError) {
      let library = try OptionalLibrary.webP.open()
      return .success(
        WebPLibrary(
          getInfo: try library.function("WebPGetInfo"),
          decodeRGBInto: try library.function("WebPDecodeRGBInto")))
    } catch { return .failure(error) }
  }()
}

/// The parts of a WebP file, without what is in them.
///
/// - Memory: 8 bytes at a time. Looks at 4,096 parts at most.
/// - Errors: the storage fails.
/// - Source: RFC 9649, section 2.
struct WebPChunks {
  private let file: InputFile
  private var offset = 12
  private var placesLeft = 4096

  init(_ file: InputFile) { self.file = file }

  /// The next part's name and where its bytes lie; nil at the end.
  mutating func next() throws(RasterError) -> (name: String, body: Range<Int>)? {
    let head = try file.bytes(at: offset, upTo: 8)
    guard head.count == 8, placesLeft > 0 else { return nil }
    placesLeft -= 1
    let length = head[4...].reversed().reduce(0) { $0 << 8 | Int($1) }
    let body = offset + 8..<offset + 8 + length
    offset = body.upperBound + length % 2
    return (String(decoding: head[..<4], as: UTF8.self), body)
  }

  /// Whether the first bytes are those of a still picture.
  static func isStill(_ start: [UInt8]) -> Bool {
    guard start.count > 25 else { return false }
    switch String(decoding: start[12..<16], as: UTF8.self) {
    case "VP8 ": return start[23...25] == [0x9D, 0x01, 0x2A]
    case "VP8L": return start[20] == 0x2F
    case "VP8X": return start[20] & 0x02 == 0
    default: return false
    }
  }

  /// Whether the first bytes are those of an animation.
  static func isAnimated(_ start: [UInt8]) -> Bool {
    start.count > 20 && start[12..<16] == [0x56, 0x50, 0x38, 0x58] && start[20] & 0x02 != 0
  }
}

/// A WebP picture, lossy or lossless, decoded at once.
///
/// - Units: transparency is left out: colours are as stored below it.
/// - Memory: `wholeByteCount`: the file, the picture, and what libwebp decodes into.
/// - Errors: a file that is cut short or damaged; no part of it is handed out.
/// - Source: agrees with Pillow, which hands the same library the same bytes.
final class WebPReader {
  let width: Int
  let height: Int
  /// The file and the picture.
  let wholeByteCount: Int
  /// What libwebp allocates besides.
  let workingByteCount: Int
  private let file: InputFile
  private let library: WebPLibrary
  private var pixels: ScratchBytes?
  private var row = 0

  init(file: InputFile, _ library: WebPLibrary) throws(RasterError) {
    (self.file, self.library) = (file, library)
    let start = try file.bytes(at: 0, upTo: 4096)
    var (width, height): (Int32, Int32) = (0, 0)
    let isKnown = start.withUnsafeBufferPointer {
      library.getInfo($0.baseAddress!, $0.count, &width, &height)
    }
    var (isLossless, hasAlpha, chunks) = (false, false, WebPChunks(file))
    while let (name, body) = try chunks.next() {
      if body.upperBound > file.byteCount {
        throw RasterError(.truncated("part '\(name)'"), path: file.path, offset: body.lowerBound)
      }
      if name == "VP8L" { isLossless = true }
      if name == "ALPH" { hasAlpha = true }
    }
    guard isKnown != 0 else { throw RasterError(.corrupt("webp header"), path: file.path, offset: 0) }
    (self.width, self.height) = (Int(width), Int(height))
    wholeByteCount = file.byteCount + 3 * self.width * self.height
    workingByteCount = Self.working(self.width, self.height, isLossless: isLossless, hasAlpha: hasAlpha)
  }

  /// Lossy: rows of macroblocks and their filters. Lossless: the picture at four bytes a pixel, sixteen rows
  /// of cache, and code tables of 12 KiB for each of at most 2,600 kinds of area (what encoders write). Alpha
  /// is decoded although it is dropped: a byte a pixel, and as lossless where it is packed so.
  private static func working(_ width: Int, _ height: Int, isLossless: Bool, hasAlpha: Bool) -> Int {
    let tables = min(2600, (width + 3) / 4 * ((height + 3) / 4)) * 12 << 10
    let entropy = isLossless ? 4 * width * (height + 17) + tables : 256 * width
    let alpha = hasAlpha ? 2 * width * height + 16 * width + tables : 0
    return 512 << 10 + entropy + alpha
  }

  /// Decodes the picture; the file's bytes are given back.
  func begin() throws(RasterError) {
    let stored = ScratchBytes(count: file.byteCount)
    try file.read(at: 0, count: file.byteCount, into: stored.base)
    let target = ScratchBytes(count: 3 * width * height)
    let decoded = library.decodeRGBInto(
      UnsafePointer(stored.base.assumingMemoryBound(to: UInt8.self)), file.byteCount,
      target.base.assumingMemoryBound(to: UInt8.self), 3 * width * height, Int32(3 * width))
    guard decoded != nil else { throw RasterError(.corrupt("webp picture"), path: file.path) }
    pixels = target
  }

  /// Copies the next row, RGB.
  func readRow(into target: UnsafeMutablePointer<UInt8>) {
    guard let pixels else { return }
    target.update(
      from: pixels.base.assumingMemoryBound(to: UInt8.self) + 3 * width * row, count: 3 * width)
    row += 1
    if row == height { self.pixels = nil }
  }
}
