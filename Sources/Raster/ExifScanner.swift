// Finds what a JPEG, PNG or WebP file says about its orientation, by hopping over its parts.

import CRaster
import System

/// Reads the orientation of a JPEG, PNG or WebP file, as Pillow's `exif_transpose` does.
///
/// Exif may lie in several APP1 segments, behind XMP, in a PNG's `eXIf` chunk with or without the prefix that
/// JPEG asks for, or as text of hexadecimal digits (`Raw profile type exif`, or `APP1`), packed or not. The
/// first block that holds the tag decides; where none does, XMP's `tiff:Orientation`. Damaged Exif counts as
/// none.
///
/// - Memory: 18 bytes at a time; for text 448 KiB at most, given back. Looks at 4,096 segments at most, or
///   65,536 chunks.
/// - Errors: the storage fails.
/// - Source: EXIF 2.32; PNG 3, 11.3.4.5; Pillow 13 `Image.getexif`. Differs: a tag of one byte counts, too.
struct ExifScanner {
  let file: InputFile

  /// What is read of a text, bytes: a whole APP1 segment in hexadecimal digits.
  private static let textLimit = 160 << 10
  private static let exifPrefix = Array("Exif\0\0".utf8)
  private static let xmpPrefix = Array("http://ns.adobe.com/xap/1.0/\0".utf8)

  /// The orientation of a JPEG, PNG or WebP file; any other is upright.
  func orientation() throws(RasterError) -> Orientation {
    let magic = try file.bytes(at: 0, upTo: 4)
    if magic.starts(with: [0xFF, 0xD8]) { return Orientation(try jpegOrientation() ?? 1) }
    if magic == Array("RIFF".utf8) { return Orientation(try webPOrientation() ?? 1) }
    return Orientation(magic == [0x89, 0x50, 0x4E, 0x47] ? try pngOrientation() ?? 1 : 1)
  }

  /// Walks the parts of a WebP.
  private func webPOrientation() throws(RasterError) -> Int? {
    var (chunks, packet) = (WebPChunks(file), 0..<0)
    while let (name, body) = try chunks.next() {
      if name == "EXIF", let found = try tag(in: ExifBlock(file, [body])) { return found }
      if name == "XMP " { packet = body }
    }
    return Self.xmpOrientation(
      try file.bytes(at: packet.lowerBound, upTo: min(packet.count, Self.textLimit)))
  }

  /// Walks the segments of a JPEG up to its first scan.
  private func jpegOrientation() throws(RasterError) -> Int? {
    var blocks: [Range<Int>] = []
    var packets: [Range<Int>] = []
    var segments = JPEGSegments(file)
    while let (marker, body) = try segments.next() {
      guard marker == 0xE1, !body.isEmpty else { continue }
      let start = try file.bytes(at: body.lowerBound, upTo: min(Self.xmpPrefix.count, body.count))
      if start.starts(with: Self.exifPrefix) { blocks.append(body.dropFirst(Self.exifPrefix.count)) }
      if start.starts(with: Self.xmpPrefix) { packets.append(body.dropFirst(Self.xmpPrefix.count)) }
    }
    // A block above 64 KiB goes on in the next segment; one that only names another may come first.
    if let found = try tag(in: ExifBlock(file, blocks)) { return found }
    for block in blocks.dropFirst() {
      if let found = try tag(in: ExifBlock(file, [block])) { return found }
    }
    for packet in packets.reversed() {
      let text = try file.bytes(at: packet.lowerBound, upTo: min(packet.count, Self.textLimit))
      if let found = Self.xmpOrientation(text) { return found }
    }
    return nil
  }

  /// Walks the chunks of a PNG.
  private func pngOrientation() throws(RasterError) -> Int? {
    var texts: [(keyword: String, chunk: Range<Int>, kind: String)] = []
    var offset = 8
    for _ in 0..<65536 {
      let head = try file.bytes(at: offset, upTo: 8)
      guard head.count == 8 else { break }
      let length = head[..<4].reduce(0) { $0 << 8 | Int($1) }
      let name = String(decoding: head[4...], as: UTF8.self)
      guard name != "IEND", length < 1 << 31 else { break }
      let body = offset + 8..<offset + 8 + length
      if name == "eXIf", let found = try tag(in: ExifBlock(file, [body])) { return found }
      if ["tEXt", "zTXt", "iTXt"].contains(name), texts.count < 64 {
        let start = try file.bytes(at: body.lowerBound, upTo: min(80, length))
        let keyword = String(decoding: start.prefix { $0 != 0 }, as: UTF8.self)
        if keyword.hasPrefix("Raw profile type ") || keyword == "XML:com.adobe.xmp" {
          texts.append((keyword, body.dropFirst(keyword.utf8.count + 1), name))
        }
      }
      offset = body.upperBound + 4
    }
    for text in texts where ["exif", "app1"].contains(text.keyword.dropFirst(17).lowercased()) {
      let isInternational = text.kind == "iTXt"
      let bytes = Self.digits(
        isInternational
          ? try international(text.chunk) : try unpacked(text.chunk, isPacked: text.kind == "zTXt"))
      if let found = try tag(in: ExifBlock(bytes)) { return found }
      if let found = Self.xmpOrientation(bytes) { return found }
    }
    for text in texts where text.keyword == "XML:com.adobe.xmp" {
      if let found = Self.xmpOrientation(try international(text.chunk)) { return found }
    }
    return nil
  }

  /// A text behind its keyword. `isPacked`: a byte that names the method, then what zlib made.
  private func unpacked(_ chunk: Range<Int>, isPacked: Bool) throws(RasterError) -> [UInt8] {
    let stored = try file.bytes(at: chunk.lowerBound, upTo: min(chunk.count, Self.textLimit))
    guard isPacked else { return stored }
    guard stored.first == 0, stored.count > 1 else { return [] }
    let scratch = ScratchBytes(count: Self.textLimit)
    let into = scratch.base.assumingMemoryBound(to: UInt8.self)
    let count = stored.withUnsafeBufferPointer {
      cr_unpack($0.baseAddress! + 1, $0.count - 1, into, scratch.count)
    }
    return [UInt8](UnsafeRawBufferPointer(start: scratch.base, count: count))
  }

  /// A text of `iTXt`: whether it is packed, the method, language and translated keyword come first.
  private func international(_ chunk: Range<Int>) throws(RasterError) -> [UInt8] {
    let start = try file.bytes(at: chunk.lowerBound, upTo: min(chunk.count, 256))
    guard start.count > 2, let language = start.dropFirst(2).firstIndex(of: 0),
      let keyword = start[(language + 1)...].firstIndex(of: 0)
    else { return [] }
    // The method's byte stands in front of what is packed, as in zTXt; the fields between are skipped.
    if start[0] == 0 { return try unpacked(chunk.dropFirst(keyword + 1), isPacked: false) }
    return try unpacked(chunk.dropFirst(keyword), isPacked: true)
  }

  /// The bytes that a raw profile spells: behind its name and its length, two digits each.
  private static func digits(_ text: [UInt8]) -> [UInt8] {
    let lines = text.split(separator: 0x0A, maxSplits: 3, omittingEmptySubsequences: false)
    guard lines.count == 4 else { return [] }
    var bytes: [UInt8] = []
    var high: UInt8?
    for byte in lines[3] {
      guard let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
        if byte == 0x0A || byte == 0x0D || byte == 0x20 { continue }
        return bytes
      }
      if let first = high {
        bytes.append(first << 4 | UInt8(digit))
        high = nil
      } else {
        high = UInt8(digit)
      }
    }
    return bytes
  }

  /// The digit behind `tiff:Orientation="` or `tiff:Orientation>`.
  private static func xmpOrientation(_ text: [UInt8]) -> Int? {
    let name = Array("tiff:Orientation".utf8)
    var rest = text[...]
    while let start = rest.firstIndex(of: name[0]) {
      rest = rest[start...]
      if rest.starts(with: name) {
        var value = rest.dropFirst(name.count)
        if value.starts(with: Array("=\"".utf8)) {
          value = value.dropFirst(2)
        } else if value.first == 0x3E {
          value = value.dropFirst()
        } else {
          value = []
        }
        if let digit = value.first, (0x30...0x39).contains(digit) { return Int(digit) - 0x30 }
      }
      rest = rest.dropFirst()
    }
    return nil
  }

  /// Tag 0x0112 of the first directory of a TIFF block; nil where it is not there.
  private func tag(in block: ExifBlock) throws(RasterError) -> Int? {
    var start = 0
    while start < 60, try block.bytes(at: start, count: 6) == Self.exifPrefix { start += 6 }
    let head = try block.bytes(at: start, count: 8)
    guard head.count == 8 else { return nil }
    let little = head[0] == 0x49
    guard head[0] == head[1], little || head[0] == 0x4D else { return nil }
    func number(_ bytes: ArraySlice<UInt8>) -> Int {
      (little ? Array(bytes.reversed()) : Array(bytes)).reduce(0) { $0 << 8 | Int($1) }
    }
    // Some programs write 42 the other way round.
    guard [42, 42 << 8].contains(number(head[2..<4])) else { return nil }
    let directory = number(head[4..<8])
    let counter = try block.bytes(at: start + directory, count: 2)
    guard counter.count == 2 else { return nil }
    for index in 0..<min(number(counter[...]), 1024) {
      let entry = try block.bytes(at: start + directory + 2 + 12 * index, count: 12)
      guard entry.count == 12 else { return nil }
      guard number(entry[0..<2]) == 0x0112 else { continue }
      // Of several numbers the first counts, as in Pillow.
      let count = number(entry[4..<8])
      guard let width = Self.integerWidths[number(entry[2..<4])], (1...65_535).contains(count) else {
        return nil
      }
      if width * count <= 4 { return number(entry[8..<8 + width]) }
      let value = try block.bytes(at: start + number(entry[8..<12]), count: width)
      guard value.count == width else { return nil }
      if width <= 4 { return number(value[...]) }
      guard (little ? value[4...] : value[..<4]).allSatisfy({ $0 == 0 }) else { return nil }
      return number(little ? value[..<4] : value[4...])
    }
    return nil
  }

  /// Bytes of TIFF's integer types: BYTE, SHORT, LONG, their signed twins, IFD, and the three of 8 bytes.
  private static let integerWidths = [1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8]
}

/// A TIFF block: ranges of a file, one behind the other, or bytes.
private struct ExifBlock {
  private let file: InputFile?
  private let ranges: [Range<Int>]
  private let held: [UInt8]

  init(_ file: InputFile, _ ranges: [Range<Int>]) { (self.file, self.ranges, held) = (file, ranges, []) }

  init(_ held: [UInt8]) { (file, ranges, self.held) = (nil, [], held) }

  /// Up to `count` bytes; fewer only at the end of the block.
  func bytes(at offset: Int, count: Int) throws(RasterError) -> [UInt8] {
    guard let file else { return offset < held.count ? Array(held[offset...].prefix(count)) : [] }
    var (offset, bytes) = (offset, [UInt8]())
    for range in ranges where bytes.count < count {
      if offset < range.count {
        let wanted = min(count - bytes.count, range.count - offset)
        let part = try file.bytes(at: range.lowerBound + offset, upTo: wanted)
        bytes += part
        if part.count < wanted { return bytes }
      }
      offset = max(0, offset - range.count)
    }
    return bytes
  }
}
