// What a file is, by its first bytes: a photo that can be read, a picture that cannot, or something else.

import System

/// What the contents of a file say it is.
///
/// - Source: the formats' own documents, and the list of signatures that file(1) keeps.
package enum FileKind: Equatable, Sendable {
  /// A photo for `PhotoDecoder`.
  case photo(PhotoDecoder.Format)
  /// A picture of another format: what it is, and the command that makes a readable one of it. `%i` stands
  /// for the file, `%o` for its name without an ending.
  case foreign(name: String, command: String)
  /// No picture at all, with a word for it where there is one.
  case other(String?)

  /// Bytes that `init(start:)` looks at; a DICOM file says so at its 129th.
  package static let startByteCount = 512

  /// Judges a file by its contents.
  ///
  /// - Memory: 512 bytes. Reads the segments' heads of a JPEG up to its frame.
  /// - Errors: no such file, not a regular file, empty; the storage fails.
  package init(path: String) throws(RasterError) { try self.init(InputFile.open(path: path)) }

  init(_ file: System.InputFile<RasterError>) throws(RasterError) {
    let kind = FileKind(start: try file.bytes(at: 0, upTo: Self.startByteCount))
    switch kind {
    case .photo(.jpeg): self = try Self.foreignJPEG(file) ?? kind
    // Without their libraries these are pictures like any other that is not read.
    case .photo(.webP): self = Self.isThere(WebPLibrary.shared) ? kind : Self.webP
    case .photo(.tiff): self = Self.isThere(TIFFLibrary.shared) ? kind : Self.tiff
    default: self = kind
    }
  }

  private static func isThere<Library>(_ library: Result<Library, SystemError>) -> Bool {
    if case .success = library { return true }
    return false
  }

  private static let webP = FileKind.foreign(name: "a WebP picture", command: "dwebp %i -o %o.png")
  private static let tiff = FileKind.foreign(name: "a TIFF picture", command: magick)

  /// The library that reads a picture of this name, if one does.
  static func library(for name: String) -> OptionalLibrary? {
    switch name {
    case "a WebP picture": OptionalLibrary.webP
    case "a TIFF picture": OptionalLibrary.tiff
    default: nil
    }
  }

  /// Judges by the first bytes alone.
  init(start: [UInt8]) {
    func has(_ text: String, at offset: Int = 0) -> Bool { start.dropFirst(offset).starts(with: text.utf8) }
    func has(_ bytes: [UInt8]) -> Bool { start.starts(with: bytes) }
    if has([0xFF, 0xD8]) {
      self = .photo(.jpeg)
    } else if has([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) {
      self =
        has("CgBI", at: 12)
        ? .foreign(
          name: "a PNG that Xcode changed for iPhones (CgBI)",
          command: "xcrun pngcrush -revert-iphone-optimizations %i %o.plain.png")
        : .photo(.png)
    } else if let map = Self.portableMap(start) {
      self = map
    } else if has("ftyp", at: 4) {
      self = Self.media(start)
    } else if has("II*\0") || has([0x4D, 0x4D, 0, 0x2A]) || has("II+\0") || has([0x4D, 0x4D, 0, 0x2B]) {
      self = Self.tiff(start)
    } else if has("RIFF"), let known = Self.riff(start) {
      self = known
    } else if has("BM"), start.count > 17, Self.bitmapHeaders.contains(start[14]), start[15...17].max() == 0 {
      self = .foreign(name: "a BMP picture", command: Self.magick)
    } else if let known = Self.pictures.first(where: { has($0.start) }) {
      self = .foreign(name: known.name, command: known.command)
    } else if let known = Self.others.first(where: { has($0.start, at: $0.offset) }) {
      self = .other(known.name)
    } else {
      self = .other(Self.text(start))
    }
  }

  /// What is left out of a folder is counted by this: `WebP picture`.
  package var group: String {
    switch self {
    case .photo: return "photo"
    case .foreign(let name, _):
      return name.hasPrefix("a ") ? String(name.dropFirst(2)) : String(name.dropFirst(3))
    case .other: return "other file"
    }
  }

  // MARK: Formats that say more behind their first bytes

  /// Byte counts of the headers that a BMP may have: text may begin with these two letters, too.
  private static let bitmapHeaders: Set<UInt8> = [12, 40, 52, 56, 64, 108, 124]

  /// Netpbm's family, by a letter, a digit and a gap.
  private static func portableMap(_ start: [UInt8]) -> FileKind? {
    guard start.count > 2, start[0] == 0x50, start[2] == 0x23 || [0x20, 0x09, 0x0A, 0x0D].contains(start[2])
    else { return nil }
    switch start[1] {
    case 0x32, 0x33, 0x35, 0x36: return .photo(.portableMap)
    case 0x31, 0x34: return .foreign(name: "a PBM bitmap", command: magick)
    case 0x37: return .foreign(name: "a PAM picture", command: magick)
    case 0x46, 0x66: return .foreign(name: "a PFM picture", command: magick)
    default: return nil
    }
  }

  /// A JPEG whose frame is of a kind that no photo's decoder reads; nil for any other.
  private static func foreignJPEG(_ file: System.InputFile<RasterError>) throws(RasterError) -> FileKind? {
    var segments = JPEGSegments(file)
    while let (marker, _) = try segments.next() {
      switch marker {
      case 0xF7: return .foreign(name: "a JPEG-LS picture", command: "ffmpeg -i %i %o.png")
      case 0xC3, 0xCB: return .foreign(name: "a lossless JPEG", command: "ffmpeg -i %i %o.png")
      case 0xC5...0xC7, 0xCD...0xCF: return .foreign(name: "a hierarchical JPEG", command: magick)
      case 0xC0...0xC2, 0xC9, 0xCA: return nil
      default: break
      }
    }
    return nil
  }

  private static let magick = "magick %i %o.png"
  private static let raw = FileKind.foreign(
    name: "a camera's raw picture", command: "darktable-cli %i %o.jpg")

  /// ISO media files: the brands tell pictures from films.
  private static func media(_ start: [UInt8]) -> FileKind {
    let length = start[..<4].reduce(0) { $0 << 8 | Int($1) }
    let box = start[..<min(start.count, max(length, 12))]
    let brands = stride(from: 8, to: box.count - 3, by: 4).filter { $0 != 12 }
      .map { String(decoding: box[$0..<$0 + 4], as: UTF8.self) }
    let heif: Set = ["heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs"]
    if brands.contains(where: { ["avif", "avis"].contains($0) }) {
      return .foreign(name: "an AVIF picture", command: "avifdec %i %o.png")
    }
    if brands.contains(where: { heif.contains($0) }) || ["mif1", "msf1", "mif2"].contains(brands.first) {
      return .foreign(name: "a HEIC picture", command: "heif-convert %i %o.jpg")
    }
    if brands.first == "crx " { return raw }
    return .other("a film")
  }

  /// TIFF, or a camera's raw picture in a TIFF's clothes: DNG and those with a camera's name and parts of
  /// their own.
  private static func tiff(_ start: [UInt8]) -> FileKind {
    let little = start[0] == 0x49
    func number(_ offset: Int, _ count: Int) -> Int {
      guard offset >= 0, offset + count <= start.count else { return -1 }
      let bytes = start[offset..<offset + count]
      return (little ? Array(bytes.reversed()) : Array(bytes)).reduce(0) { $0 << 8 | Int($1) }
    }
    if start.dropFirst(8).starts(with: Array("CR".utf8)) { return raw }
    let directory = number(4, 4)
    let count = number(directory, 2)
    let tags = (0..<max(0, min(count, 40))).map { number(directory + 2 + 12 * $0, 2) }
    // DNGVersion; or Make and SubIFDs.
    if tags.contains(0xC612) || (tags.contains(0x010F) && tags.contains(0x014A)) { return raw }
    return .photo(.tiff)
  }

  private static func riff(_ start: [UInt8]) -> FileKind? {
    switch String(decoding: start.dropFirst(8).prefix(4), as: UTF8.self) {
    case "WEBP":
      if WebPChunks.isAnimated(start) {
        return .foreign(name: "an animated WebP picture", command: "webpmux -get frame 1 %i -o %o.still.webp")
      }
      return WebPChunks.isStill(start) ? .photo(.webP) : webP
    case "AVI ": return .other("a film")
    case "WAVE": return .other("a sound")
    default: return nil
    }
  }

  // MARK: Formats that say all in their first bytes

  private struct Signature: Sendable {
    let start: [UInt8]
    let name: String
    let command: String

    init(text: String, _ name: String, _ command: String = magick) {
      self.init(bytes: Array(text.utf8), name, command)
    }

    init(bytes start: [UInt8], _ name: String, _ command: String = magick) {
      (self.start, self.name, self.command) = (start, name, command)
    }
  }

  private static let jp2Box: [UInt8] = [0, 0, 0, 12, 0x6A, 0x50, 0x20, 0x20, 0x0D, 0x0A, 0x87, 0x0A]
  private static let jxlBox: [UInt8] = [0, 0, 0, 12, 0x4A, 0x58, 0x4C, 0x20, 0x0D, 0x0A, 0x87, 0x0A]

  private static let pictures: [Signature] = [
    Signature(text: "GIF8", "a GIF picture", "magick %i[0] %o.png"),
    Signature(bytes: jp2Box, "a JPEG 2000 picture", "opj_decompress -i %i -o %o.png"),
    Signature(bytes: [0xFF, 0x4F, 0xFF, 0x51], "a JPEG 2000 picture", "opj_decompress -i %i -o %o.png"),
    Signature(bytes: jxlBox, "a JPEG XL picture", "djxl %i %o.png"),
    Signature(bytes: [0xFF, 0x0A], "a JPEG XL picture", "djxl %i %o.png"),
    Signature(bytes: [0x49, 0x49, 0xBC, 0x01], "a JPEG XR picture"),
    Signature(text: "8BPS", "a Photoshop picture", "magick %i[0] %o.png"),
    Signature(text: "gimp xcf", "a GIMP picture", "magick %i -flatten %o.png"),
    Signature(bytes: [0x76, 0x2F, 0x31, 0x01], "an OpenEXR picture"),
    Signature(text: "#?RADIANCE", "a Radiance HDR picture"),
    Signature(text: "qoif", "a QOI picture"),
    Signature(text: "DDS ", "a DDS texture"),
    Signature(bytes: [0x8A, 0x4D, 0x4E, 0x47], "a MNG picture", "magick %i[0] %o.png"),
    Signature(bytes: [0x8B, 0x4A, 0x4E, 0x47], "a JNG picture"),
    Signature(bytes: [0, 0, 1, 0], "an icon", "magick %i[0] %o.png"),
    Signature(text: "SIMPLE  =", "a FITS picture"),
    Signature(text: "FUJIFILMCCD-RAW", "a camera's raw picture", "darktable-cli %i %o.jpg"),
    Signature(text: "FOVb", "a camera's raw picture", "darktable-cli %i %o.jpg"),
    Signature(bytes: [0, 0x4D, 0x52, 0x4D], "a camera's raw picture", "darktable-cli %i %o.jpg"),
    Signature(text: "IIRO", "a camera's raw picture", "darktable-cli %i %o.jpg"),
    Signature(text: "IIRS", "a camera's raw picture", "darktable-cli %i %o.jpg"),
    Signature(text: "MMOR", "a camera's raw picture", "darktable-cli %i %o.jpg"),
    Signature(bytes: [0x49, 0x49, 0x55, 0], "a camera's raw picture", "darktable-cli %i %o.jpg"),
    Signature(bytes: [0x49, 0x49, 0x1A, 0], "a camera's raw picture", "darktable-cli %i %o.jpg"),
    Signature(text: "<svg", "an SVG drawing", "rsvg-convert %i -o %o.png"),
  ]

  private static let others: [(start: String, offset: Int, name: String)] = [
    ("%PDF", 0, "a PDF document"), ("PK\u{3}\u{4}", 0, "a ZIP archive"), ("Rar!", 0, "an archive"),
    ("GGUF", 0, "a model file"), ("DICM", 128, "a DICOM file"), ("NUMPY", 1, "a NumPy array"),
    ("version https://git-lfs", 0, "a pointer of Git LFS; run 'git lfs pull'"),
  ]

  /// A word for text: pages that a failed download leaves, above all.
  private static func text(_ start: [UInt8]) -> String? {
    let isText = !start.contains { $0 < 0x09 || ($0 > 0x0D && $0 < 0x20) }
    guard isText, !start.isEmpty else { return nil }
    let words = String(decoding: start, as: UTF8.self).lowercased()
    if words.contains("<svg") { return "an SVG drawing" }
    if words.contains("<!doctype html") || words.contains("<html") {
      return "a web page, not what it links to"
    }
    return "text"
  }
}

extension RasterError {
  /// What a file is that is no photo.
  package init(_ kind: FileKind, path: String) {
    switch kind {
    case .photo: self.init(Reason.unknownFormat(nil), path: path)
    case .other(let name): self.init(.unknownFormat(name), path: path, offset: name == nil ? 0 : nil)
    case .foreign(let name, let command):
      self.init(Reason.foreign(name: name, command: Self.filled(command, path)), path: path)
    }
  }

  /// A command with the file's name in place, quoted where a shell would take it apart.
  private static func filled(_ command: String, _ path: String) -> String {
    let path = path == "standard input" ? "FILE" : path
    func quoted(_ text: String) -> String {
      let isPlain = text.utf8.allSatisfy { byte in
        (0x2B...0x3A).contains(byte) || (0x40...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
          || byte == 0x5F || byte >= 0x80
      }
      return isPlain
        ? text
        : "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
    let words: [String] = command.split(separator: " ").map { word in
      if word == "%i" { return quoted(path) }
      if word.hasPrefix("%i") { return quoted(path + word.dropFirst(2)) }
      guard word.hasPrefix("%o") else { return String(word) }
      let stem = folder(of: path) + baseName(path)
      return quoted(stem + word.dropFirst(2))
    }
    return words.joined(separator: " ")
  }
}
