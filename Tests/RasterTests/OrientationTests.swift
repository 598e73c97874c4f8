// Orientation wherever a camera, a program or a web page may have left it.

import Raster
import TestSupport
import Testing

@Suite struct OrientationTests {
  private static let prefix = Array("Exif\0\0".utf8)

  private static func number(_ value: Int, _ count: Int, little: Bool) -> [UInt8] {
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    return little ? bytes : bytes.reversed()
  }

  /// A TIFF block with one tag of one number.
  private static func block(
    _ value: Int, type: Int = 3, width: Int = 2, little: Bool = true, tag: Int = 0x0112
  ) -> [UInt8] {
    func number(_ value: Int, _ count: Int) -> [UInt8] { Self.number(value, count, little: little) }
    var bytes = Array((little ? "II" : "MM").utf8)
    for part in [number(42, 2), number(8, 4), number(1, 2), number(tag, 2), number(type, 2), number(1, 4)] {
      bytes += part
    }
    let field = number(value, width)
    bytes += field.count > 4 ? number(26, 4) : field + [UInt8](repeating: 0, count: 4 - field.count)
    bytes += number(0, 4)
    return field.count > 4 ? bytes + field : bytes
  }

  private static func segment(_ body: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = [0xFF, 0xE1]
    bytes += number(body.count + 2, 2, little: false)
    return bytes + body
  }

  private static func big(_ value: Int) -> [UInt8] { number(value, 4, little: false) }

  private static func chunk(_ name: String, _ body: [UInt8]) -> [UInt8] {
    let named = Array(name.utf8) + body
    var crc = UInt32.max
    for byte in named {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 0 ? crc >> 1 : crc >> 1 ^ 0xEDB8_8320 }
    }
    var bytes = big(body.count)
    bytes += named
    return bytes + big(Int(~crc))
  }

  /// A zlib stream of one stored block.
  private static func packed(_ text: [UInt8]) -> [UInt8] {
    var (low, high) = (1, 0)
    for byte in text {
      low = (low + Int(byte)) % 65521
      high = (high + low) % 65521
    }
    var bytes: [UInt8] = [0x78, 1, 1]
    bytes += number(text.count, 2, little: true)
    bytes += number(~text.count, 2, little: true)
    bytes += text
    return bytes + big(high << 16 | low)
  }

  /// As ImageMagick writes it: name, length, lines of 72 digits.
  private static func profile(_ name: String, _ bytes: [UInt8]) -> [UInt8] {
    let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
    let lines = stride(from: 0, to: digits.count, by: 36).map { start in
      digits[start..<min(start + 36, digits.count)].joined()
    }
    return Array("\n\(name)\n      \(bytes.count)\n\(lines.joined(separator: "\n"))\n".utf8)
  }

  /// What a JPEG says with these bytes behind its first marker, a PNG with these chunks behind its header.
  private func jpeg(_ segments: [UInt8]...) throws -> Int {
    let scratch = Scratch()
    let whole = readBytes(fixture("files/ycc420.jpg"))
    var bytes = Array(whole[..<2])
    for segment in segments { bytes += segment }
    bytes += whole[2...]
    writeBytes(bytes, to: scratch.file("a.jpg"))
    return try PhotoDecoder(path: scratch.file("a.jpg")).orientation.rawValue
  }

  private func png(_ chunks: [UInt8]..., atEnd: Bool = false) throws -> Int {
    let scratch = Scratch()
    let whole = readBytes(fixture("files/grey8.png"))
    let place = atEnd ? whole.count - 12 : 33
    var bytes = Array(whole[..<place])
    for chunk in chunks { bytes += chunk }
    bytes += whole[place...]
    writeBytes(bytes, to: scratch.file("a.png"))
    _ = try decode(scratch.file("a.png"))
    return try PhotoDecoder(path: scratch.file("a.png")).orientation.rawValue
  }

  /// TIFF's types of whole numbers: number of the type, bytes.
  @Test(arguments: [(1, 1), (3, 2), (4, 4), (6, 1), (8, 2), (9, 4), (13, 4), (16, 8), (17, 8)])
  func integersOfAnyType(_ type: Int, _ width: Int) throws {
    for little in [true, false] {
      for value in [2, 3, 6, 8] {
        let block = Self.block(value, type: type, width: width, little: little)
        #expect(try jpeg(Self.segment(Self.prefix + block)) == value, "type \(type), little \(little)")
        #expect(try png(Self.chunk("eXIf", block)) == value, "type \(type), little \(little)")
      }
    }
    #expect(try jpeg(Self.segment(Self.prefix + Self.block(1 << 17 | 6, type: 4, width: 4))) == 1)
  }

  @Test func blocksBehindOthers() throws {
    let xmp = Self.segment(Array("http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>".utf8))
    let turned = Self.segment(Self.prefix + Self.block(6))
    #expect(try jpeg(xmp, turned) == 6)
    #expect(try jpeg([0xFF], xmp, xmp, turned) == 6)
    // The first names something else; the second turns.
    #expect(try jpeg(Self.segment(Self.prefix + Self.block(5, tag: 0x0100)), turned) == 6)
    #expect(try jpeg(Self.segment(Self.prefix), turned) == 6)
    #expect(try jpeg(Self.segment(Self.prefix + Self.block(3)), turned) == 3)
    // One block in two segments.
    let block = Self.block(8)
    #expect(try jpeg(Self.segment(Self.prefix + block[..<15]), Self.segment(Self.prefix + block[15...])) == 8)
    #expect(try jpeg(Self.segment(Self.prefix + Self.prefix + block)) == 8)
  }

  @Test func xmpWhereThereIsNoExif() throws {
    let head = "http://ns.adobe.com/xap/1.0/\0"
    func xmp(_ text: String) -> [UInt8] { Self.segment(Array((head + text).utf8)) }
    #expect(try jpeg(xmp("<rdf:Description tiff:Orientation=\"6\"/>")) == 6)
    #expect(try jpeg(xmp("<tiff:Orientation>8</tiff:Orientation>")) == 8)
    #expect(try jpeg(xmp("<tiff:Orientation>12</tiff:Orientation>")) == 1)
    #expect(try jpeg(xmp("tiff:Orientation 6")) == 1)
    #expect(try jpeg(xmp("tiff:Orientation=\"6\""), Self.segment(Self.prefix + Self.block(3))) == 3)
    let fields: [UInt8] = Array("XML:com.adobe.xmp\0".utf8)
    let text = Array("<tiff:Orientation>6</tiff:Orientation>".utf8)
    let plain: [UInt8] = fields + [0, 0, 0x65, 0x6E, 0, 0]
    let packed: [UInt8] = fields + [1, 0, 0, 0]
    #expect(try png(Self.chunk("iTXt", plain + text)) == 6)
    #expect(try png(Self.chunk("iTXt", packed + Self.packed(text))) == 6)
  }

  @Test func profilesOfPNG() throws {
    let exif = Self.prefix + Self.block(6)
    #expect(try png(Self.chunk("eXIf", exif)) == 6)
    #expect(try png(Self.chunk("eXIf", Self.block(6)), atEnd: true) == 6)
    for name in ["exif", "APP1", "app1"] {
      let keyword = Array("Raw profile type \(name)\0".utf8)
      let text = Self.profile(name.lowercased(), exif)
      let packed = Self.packed(text)
      let (one, other): ([UInt8], [UInt8]) = (keyword + [0], keyword + [1])
      #expect(try png(Self.chunk("tEXt", keyword + text)) == 6)
      #expect(try png(Self.chunk("zTXt", one + packed)) == 6)
      #expect(try png(Self.chunk("zTXt", one + packed), atEnd: true) == 6)
      let plain: [UInt8] = keyword + [0, 0, 0, 0]
      let squeezed: [UInt8] = keyword + [1, 0, 0, 0]
      #expect(try png(Self.chunk("iTXt", plain + text)) == 6)
      #expect(try png(Self.chunk("iTXt", squeezed + packed)) == 6)
      // Another method, and a stream that ends early.
      #expect(try png(Self.chunk("zTXt", other + packed)) == 1)
      #expect(try png(Self.chunk("zTXt", one + packed.prefix(30))) == 1)
    }
    #expect(try png(Self.chunk("tEXt", Array("Comment\0".utf8) + Self.profile("exif", exif))) == 1)
    #expect(try png(Self.chunk("tEXt", Array("Raw profile type exif".utf8))) == 1)
    #expect(try png(Self.chunk("zTXt", Array("Raw profile type exif\0".utf8))) == 1)
  }
}
