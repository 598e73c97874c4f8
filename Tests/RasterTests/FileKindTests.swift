// Pictures that are not read are named as what they are; JPEGs without an end are read or refused by their
// rows.

import Raster
import TestSupport
import Testing

@Suite struct FileKindTests {
  private func error(_ bytes: [UInt8], _ name: String = "a.bin") -> RasterError? {
    let scratch = Scratch()
    writeBytes(bytes, to: scratch.file(name))
    do throws(RasterError) {
      _ = try PhotoDecoder(path: scratch.file(name))
      return nil
    } catch {
      var error = error
      error.path = name
      if case .foreign(let kind, let command) = error.reason {
        let short = command.split(separator: scratch.path + "/", omittingEmptySubsequences: false).joined()
        error.reason = .foreign(name: kind, command: short)
      }
      return error
    }
  }

  private static func padded(_ text: String, _ tail: [UInt8] = []) -> [UInt8] {
    var bytes = Array(text.utf8)
    bytes += tail
    bytes += [UInt8](repeating: 0, count: 64)
    return bytes
  }

  /// A TIFF with these tags.
  private static func tiff(_ tags: [UInt16], _ magic: [UInt8] = [0x49, 0x49, 0x2A, 0]) -> [UInt8] {
    var bytes: [UInt8] = magic
    bytes += [8, 0, 0, 0, UInt8(tags.count), 0]
    for tag in tags {
      bytes += [UInt8(tag & 255), UInt8(tag >> 8)]
      bytes += [3, 0, 1, 0, 0, 0, 1, 0, 0, 0]
    }
    return bytes + [UInt8](repeating: 0, count: 20)
  }

  private struct Picture {
    let bytes: [UInt8]
    let word: String
    let command: String
  }

  private static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 13, 10, 26, 10, 0, 0, 0, 4]
  private static let bitmap: [UInt8] = [
    0x42, 0x4D, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 40, 0, 0, 0, 9,
  ]
  private static let jp2: [UInt8] = [0, 0, 0, 12, 0x6A, 0x50, 0x20, 0x20, 0x0D, 0x0A, 0x87, 0x0A, 0, 0, 0]
  private static let jls: [UInt8] = [
    0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 0, 0, 0xFF, 0xF7, 0, 11, 8, 0, 8, 0, 8, 1,
  ]
  private static let lossless: [UInt8] = [0xFF, 0xD8, 0xFF, 0xC3, 0, 11, 8, 0, 8, 0, 8, 1]

  private static var pictures: [Picture] {
    var list: [Picture] = []
    func add(_ bytes: [UInt8], _ word: String, _ command: String) {
      list.append(Picture(bytes: bytes, word: word, command: command))
    }
    add(padded("RIFF\u{10}\0\0\0WEBPVP8 "), "WebP", "dwebp a.bin -o a.png")
    add(padded("\0\0\0\u{18}ftypheic\0\0\0\0mif1heic"), "HEIC", "heif-convert a.bin a.jpg")
    add(padded("\0\0\0\u{18}ftypmif1\0\0\0\0mif1heic"), "HEIC", "heif-convert a.bin a.jpg")
    add(padded("\0\0\0\u{1C}ftypmif1\0\0\0\0mif1avifmiaf"), "AVIF", "avifdec a.bin a.png")
    add(padded("\0\0\0\u{18}ftypavis\0\0\0\0avif"), "AVIF", "avifdec a.bin a.png")
    add(padded("\0\0\0\u{18}ftypcrx \0\0\0\u{1}crx "), "raw", "darktable-cli a.bin a.jpg")
    add(tiff([0x100, 0x10F, 0x14A]), "raw", "darktable-cli")
    add(tiff([0x100, 0xC612]), "raw", "darktable-cli")
    add(padded("FUJIFILMCCD-RAW 0201"), "raw", "darktable-cli")
    add(padded("GIF89a"), "GIF", "magick 'a.bin[0]' a.png")
    add(bitmap, "BMP", "magick a.bin a.png")
    add(jp2, "JPEG 2000", "opj_decompress -i a.bin -o a.png")
    add([0xFF, 0x4F, 0xFF, 0x51, 0, 0, 0], "JPEG 2000", "opj_decompress")
    add([0xFF, 0x0A, 0, 0], "JPEG XL", "djxl a.bin a.png")
    add(jls, "JPEG-LS", "ffmpeg -i a.bin")
    add(lossless, "lossless JPEG", "ffmpeg -i a.bin")
    add(signature + padded("CgBI"), "CgBI", "-revert-iphone-optimizations a.bin")
    add(padded("8BPS"), "Photoshop", "magick")
    add(padded("P4\n8 8\n"), "PBM", "magick")
    return list
  }

  @Test func foreignPicturesAreNamed() throws {
    for picture in Self.pictures {
      let found = try #require(error(picture.bytes), "\(picture.word)")
      #expect(found.description.contains(picture.word), "\(found)")
      #expect(found.advice?.contains(picture.command) == true, "\(found)")
    }
    #expect(
      error(Self.padded("GIF89a"), "my cat's.gif")?.advice
        == "magick 'my cat'\\''s.gif[0]' 'my cat'\\''s.png'")
    #expect(error(Array("<!DOCTYPE html><html>".utf8))?.description.contains("is a web page") == true)
    #expect(error(Array("<?xml version='1.0'?><svg>".utf8))?.description.contains("SVG") == true)
    for text in ["BMW is a car", "P2P networks", "P6x", "hello"] {
      #expect(error(Array(text.utf8))?.advice == nil)
    }
  }

  private func result(_ bytes: [UInt8]) throws -> (pixels: [UInt8], lacksEnd: Bool) {
    let scratch = Scratch()
    writeBytes(bytes, to: scratch.file("a.jpg"))
    let decoder = try PhotoDecoder(path: scratch.file("a.jpg"))
    try decoder.beginDecoding(allowWholeImage: true)
    var (row, pixels) = ([UInt8](repeating: 0, count: 3 * decoder.storedWidth), [UInt8]())
    for _ in 0..<decoder.storedHeight {
      try decoder.readRow(into: &row)
      pixels += row
    }
    return (pixels, decoder.lacksEnd)
  }

  @Test(arguments: ["ycc420.jpg", "ycc444.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "restart.jpg"])
  func endMarkersMayBeMissing(_ name: String) throws {
    let whole = readBytes(fixture("files/\(name)"))
    let wanted = try result(whole)
    #expect(!wanted.lacksEnd)
    let bare = Array(whole.dropLast(2))
    for tail in [[], [0xFF], [0, 0], [UInt8](repeating: 0, count: 5000)] as [[UInt8]] {
      let found = try result(bare + tail)
      #expect(found.pixels == wanted.pixels && found.lacksEnd, "\(name), \(tail.count) bytes behind")
    }
    // Half of the data, also where a rescued card fills it up.
    let start = try #require(whole.indices.last { whole[$0...].starts(with: [0xFF, 0xDA]) })
    let half = Array(whole[..<(start + (whole.count - start) / 2)])
    for tail in [[], [UInt8](repeating: 0, count: 20_000)] as [[UInt8]] {
      #expect(throws: RasterError.self, "\(name), \(tail.count) bytes behind") { try result(half + tail) }
    }
  }

  @Test func missingScansAreNoMissingEnd() throws {
    let whole = readBytes(fixture("files/progressive.jpg"))
    let scans = whole.indices.filter { whole[$0...].starts(with: [0xFF, 0xDA]) }
    try #require(scans.count > 2)
    for scan in scans.dropFirst() {
      #expect(throws: RasterError.self) { try result(Array(whole[..<scan])) }
    }
  }
}
