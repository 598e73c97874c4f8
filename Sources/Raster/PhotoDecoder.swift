// Opens a photo of any supported format and hands out its rows.

import CRaster
import System

/// What decoding takes without being asked: a megabyte of file may ask for minutes or gigabytes.
package struct PhotoCeilings: Equatable, Sendable {
  /// Passes of a progressive JPEG over all its pixels. Encoders write about ten.
  package var scans: Int
  /// Passes times pixels.
  package var scannedPixels: Int
  /// Bytes of a picture that cannot be decoded row by row: 64 megapixels of colour as JPEG.
  package var wholeImageByteCount: Int

  package static let usual = PhotoCeilings(
    scans: 50, scannedPixels: 1 << 31, wholeImageByteCount: 512 << 20)
  package static let lifted = PhotoCeilings(scans: .max, scannedPixels: .max, wholeImageByteCount: .max)

  /// Passes over a picture; twelve are always allowed.
  func scans(pixels: Int) -> Int { min(scans, max(12, scannedPixels / max(pixels, 1)), Int(Int32.max)) }
}

/// A photo, decoded from top to bottom, one RGB row at a time.
///
/// - Shapes: a row is [storedWidth * 3], red first.
/// - Units: 8 bits a sample, as stored: gamma and colour profiles are ignored. 16-bit samples lose their low
///   byte, transparency is left out, and CMYK is taken as inverted.
/// - Memory: `workingByteCount`, plus `wholeImageByteCount` where `needsWholeImage`.
/// - Errors: a file that is cut short or damaged is refused, never painted grey; see `RasterError.Reason`. A
///   JPEG that lacks its end marker alone is read; `lacksEnd` says so.
/// - Source: agrees with OpenCV `imread` (same libjpeg and libpng); WebP and TIFF agree with Pillow.
package final class PhotoDecoder {
  /// What the first bytes of the file say it is.
  package enum Format: String, Equatable, Sendable { case jpeg, png, portableMap, webP, tiff }

  /// The longest side that is accepted, in pixels.
  package static let sideLimit = 100_000
  /// The largest picture that is accepted, in pixels.
  package static let pixelLimit = 1 << 31
  /// Pixels that a byte of the file may stand for in a picture of more than `smallPixelCount`. Photos have
  /// below 60; flat colour reaches 85 in a baseline JPEG and 1,032 in a grey PNG, where two megabytes could
  /// ask for minutes of decoding.
  package static let pixelsPerByteLimit = 200
  private static let smallPixelCount = 1 << 28

  /// The file, as named by the caller.
  package let path: String
  /// The format of the file, judged by content.
  package let format: Format
  /// Pixels in a row of the file.
  package let storedWidth: Int
  /// Rows in the file.
  package let storedHeight: Int
  /// Which way up the photo is meant to be seen; upright where the file does not say or says nonsense.
  package let orientation: Orientation
  /// Whether decoding holds the whole picture: progressive or multi-scan JPEG, interlaced PNG, WebP.
  package let needsWholeImage: Bool
  /// Bytes for the whole picture where it is needed, else 0.
  package let wholeImageByteCount: Int
  /// Upper bound of everything else that decoding allocates, in bytes.
  package let workingByteCount: Int
  /// The stored row that comes next, 0 to `storedHeight`.
  package private(set) var nextRow = 0
  /// After the last row: all rows are there, but not the mark that ends the file.
  package private(set) var lacksEnd = false

  /// Columns as seen, after orientation.
  package var width: Int { orientation.size(width: storedWidth, height: storedHeight).width }
  /// Rows as seen, after orientation.
  package var height: Int { orientation.size(width: storedWidth, height: storedHeight).height }

  private enum Backend {
    case jpeg(OpaquePointer)
    case png(OpaquePointer)
    case portableMap(PortableMapReader)
    case webP(WebPReader)
    case tiff(OpaquePointer)
  }

  private let file: InputFile
  private let ceilings: PhotoCeilings
  private let backend: Backend
  private var hasBegun = false

  /// Opens the photo at `path` and reads its headers; no pixel is decoded yet.
  ///
  /// `isTurned`: the way up that the file asks for; otherwise as stored. `name`: what errors call the file,
  /// where its path tells people nothing.
  ///
  /// - Memory: about 64 KiB.
  /// - Errors: no such file, not a regular file, empty, unknown format, bad header, size outside the limits,
  ///   a large picture in hardly any bytes, one above `ceilings`.
  package convenience init(
    path: String, called name: String? = nil, ceilings: PhotoCeilings = .usual, isTurned: Bool = true
  ) throws(RasterError) {
    try self.init(
      path: path, called: name, ignoringChecksums: false, ceilings: ceilings, isTurned: isTurned)
  }

  /// As `init(path:)`; `ignoringChecksums` lets damaged PNG data through to the deeper code, for fuzzing
  /// only.
  package init(
    path: String, called name: String? = nil, ignoringChecksums: Bool, ceilings: PhotoCeilings = .usual,
    isTurned: Bool = true
  ) throws(RasterError) {
    self.ceilings = ceilings
    let file: InputFile
    if let name {
      file = try InputFile.open(path: path, called: name)
    } else {
      file = try InputFile.openOrStandardInput(path: path)
    }
    let path = file.path
    let kind = try FileKind(file)
    if case .foreign = kind { throw RasterError(kind, path: path) }
    // First, because nobody would close the decoder if this failed.
    let exif = isTurned ? try ExifScanner(file: file).orientation() : .upright
    let opened = try Self.open(file, kind, ignoringChecksums: ignoringChecksums)
    orientation = isTurned ? opened.orientation ?? exif : .upright
    self.path = path
    self.file = file
    backend = opened.backend
    format = opened.format
    storedWidth = opened.width
    storedHeight = opened.height
    needsWholeImage = opened.wholeBytes > 0
    wholeImageByteCount = opened.wholeBytes
    workingByteCount = opened.workingBytes
    let sides = 1...Self.sideLimit
    guard sides.contains(storedWidth), sides.contains(storedHeight),
      storedWidth * storedHeight <= Self.pixelLimit
    else { throw RasterError(.badSize(width: storedWidth, height: storedHeight), path: path) }
    let pixelCount = storedWidth * storedHeight
    guard pixelCount <= max(Self.smallPixelCount, file.byteCount * Self.pixelsPerByteLimit) else {
      throw RasterError(
        .bomb(width: storedWidth, height: storedHeight, byteCount: file.byteCount), path: path)
    }
    // Strips and tiles of a TIFF may be as large as the picture.
    guard max(wholeImageByteCount, workingByteCount) <= ceilings.wholeImageByteCount else {
      throw RasterError(
        .aboveCeiling(what: "bytes to be held at once", limit: ceilings.wholeImageByteCount), path: path)
    }
  }

  deinit {
    switch backend {
    case .jpeg(let decoder): cr_jpeg_close(decoder)
    case .png(let decoder): cr_png_close(decoder)
    case .tiff(let decoder): cr_tiff_close(decoder)
    case .portableMap, .webP: break
    }
  }

  private struct Opened {
    var backend: Backend
    var format: Format
    var width: Int
    var height: Int
    var wholeBytes: Int
    var workingBytes: Int
    /// Where the decoder knows it.
    var orientation: Orientation?
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }

  /// WebP and TIFF, whose libraries may be missing.
  private static func open(_ file: InputFile, _ format: Format) throws(RasterError) -> Opened? {
    switch format {
    case .webP:
      let library: WebPLibrary
      do throws(SystemError) { library = try WebPLibrary.shared.get() } catch { throw RasterError(error) }
      let reader = try WebPReader(file: file, library)
      return Opened(
        backend: .webP(reader), format: .webP, width: reader.width, height: reader.height,
        wholeBytes: reader.wholeByteCount, workingBytes: reader.workingByteCount)
    case .tiff:
      let library: TIFFLibrary
      do throws(SystemError) { library = try TIFFLibrary.shared.get() } catch { throw RasterError(error) }
      var (info, failure) = (cr_tiff_info(), cr_failure())
      guard let decoder = library.open(file, &info, &failure) else {
        throw RasterError(failure, path: file.path)
      }
      return Opened(
        backend: .tiff(decoder), format: .tiff, width: Int(info.width), height: Int(info.height),
        wholeBytes: 0, workingBytes: Int(info.working_bytes),
        orientation: Orientation(Int(info.orientation)))
    case .jpeg, .png, .portableMap: return nil
    }
  }

  private static func open(
    _ file: InputFile, _ kind: FileKind, ignoringChecksums: Bool
  ) throws(RasterError) -> Opened {
    if case .photo(let format) = kind, let opened = try open(file, format) { return opened }
    let magic = try file.bytes(at: 0, upTo: 8)
    var failure = cr_failure()
    if magic.starts(with: [0xFF, 0xD8]) {
      var info = cr_jpeg_info()
      guard let decoder = cr_jpeg_open(file.descriptor, &info, &failure) else {
        throw RasterError(failure, path: file.path)
      }
      return Opened(
        backend: .jpeg(decoder), format: .jpeg, width: Int(info.width), height: Int(info.height),
        wholeBytes: Int(info.whole_bytes), workingBytes: Int(info.working_bytes))
    }
    if magic == [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A] {
      // Here, because libpng only says that its header is invalid.
      let sides = try file.bytes(at: 16, upTo: 8)
      if sides.count == 8 {
        let (width, height) = (number(sides[..<4]), number(sides[4...]))
        guard width <= sideLimit, height <= sideLimit else {
          throw RasterError(.badSize(width: width, height: height), path: file.path)
        }
      }
      var info = cr_png_info()
      let flags = Int32(ignoringChecksums ? CR_PNG_IGNORE_CHECKSUMS : 0)
      guard let decoder = cr_png_open(file.descriptor, flags, &info, &failure) else {
        throw RasterError(failure, path: file.path)
      }
      return Opened(
        backend: .png(decoder), format: .png, width: Int(info.width), height: Int(info.height),
        wholeBytes: Int(info.whole_bytes), workingBytes: Int(info.working_bytes))
    }
    if magic.count > 2, magic[0] == 0x50, [0x32, 0x33, 0x35, 0x36].contains(magic[1]) {
      let reader = try PortableMapReader(file: file)
      return Opened(
        backend: .portableMap(reader), format: .portableMap, width: reader.width, height: reader.height,
        wholeBytes: 0, workingBytes: 40 * 1024)
    }
    let isStub = [[0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A], [0xFF, 0xD8]].contains {
      $0.starts(with: magic)
    }
    if isStub { throw RasterError(.truncated("signature"), path: file.path, offset: 0) }
    throw RasterError(try FileKind(file), path: file.path)
  }

  /// Allocates what decoding needs; a progressive or interlaced file is read as a whole here.
  ///
  /// - Memory: `workingByteCount`, and `wholeImageByteCount` if `allowWholeImage`.
  /// - Errors: `wholeImageRefused` if it needs the whole picture and may not have it; a damaged file.
  package func beginDecoding(allowWholeImage: Bool) throws(RasterError) {
    if let spent { throw spent }
    guard !hasBegun else { return }
    guard allowWholeImage || !needsWholeImage else {
      throw RasterError(.wholeImageRefused(byteCount: wholeImageByteCount), path: path)
    }
    var failure = cr_failure()
    switch backend {
    case .jpeg(let decoder):
      let scans = ceilings.scans(pixels: storedWidth * storedHeight)
      try check(cr_jpeg_start(decoder, Int32(scans), &failure), failure, limit: scans)
    case .png(let decoder): try check(cr_png_start(decoder, &failure), failure)
    case .tiff(let decoder): try check(cr_tiff_start(decoder, &failure), failure)
    case .webP(let reader): try spending { () throws(RasterError) in try reader.begin() }
    case .portableMap: break
    }
    hasBegun = true
  }

  /// Decodes the next stored row. Begins decoding without the whole picture if nobody has begun it.
  ///
  /// - Shapes: `row` [storedWidth * 3].
  /// - Memory: allocates nothing.
  /// - Errors: damage up to this row; with the last row also a missing end of file. After an error the
  ///   decoder is spent: every later call repeats the error.
  package func readRow(into row: UnsafeMutablePointer<UInt8>) throws(RasterError) {
    precondition(nextRow < storedHeight, "all \(storedHeight) rows have been read")
    try beginDecoding(allowWholeImage: false)
    var failure = cr_failure()
    let isLast = nextRow + 1 == storedHeight
    switch backend {
    case .jpeg(let decoder):
      try check(cr_jpeg_row(decoder, row, &failure), failure)
      var endedEarly: Int32 = 0
      if isLast { try check(cr_jpeg_finish(decoder, &endedEarly, &failure), failure) }
      lacksEnd = endedEarly != 0
    case .png(let decoder):
      try check(cr_png_row(decoder, row, &failure), failure)
      if isLast { try check(cr_png_finish(decoder, &failure), failure) }
    case .tiff(let decoder): try check(cr_tiff_row(decoder, row, &failure), failure)
    case .webP(let reader): reader.readRow(into: row)
    case .portableMap(let reader): try spending { () throws(RasterError) in try reader.readRow(into: row) }
    }
    nextRow += 1
  }

  /// Does something whose error ends decoding.
  private func spending(_ body: () throws(RasterError) -> Void) throws(RasterError) {
    do throws(RasterError) { try body() } catch {
      spent = error
      throw error
    }
  }

  /// The error that ended decoding, if one has.
  private var spent: RasterError?

  private func check(_ code: Int32, _ failure: cr_failure, limit: Int = 0) throws(RasterError) {
    guard code != CR_OK else { return }
    let error = RasterError(failure, path: path, row: nextRow, limit: limit)
    spent = error
    throw error
  }
}
