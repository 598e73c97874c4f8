// Photos from files and from memory, as the phases want them.
import Raster
import System

/// A photo file, decoded anew for every pass.
///
/// - Memory: while a pass runs: the decoder's rows, and the whole picture for a progressive JPEG, an
///   interlaced PNG or a WebP.
/// - Errors: `.photo`, naming the file.
package final class PhotoFile: PhotoPixels {
  /// How the names of files in a folder end that count as photos.
  package static let endings = plainEndings + [".webp", ".tif", ".tiff"]
  /// Those of formats that are always read; the others need a library.
  package static let plainEndings = [".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".pnm"]

  package let path: String
  package let width: Int
  package let height: Int
  /// Private memory that decoding needs because the format cannot be read row by row.
  package let wholeImageByteCount: Int
  package private(set) var remark: String?
  /// EXIF asks for another way up than the stored one, and gets it.
  package var isTurned: Bool { orientation != .upright }
  private let name: String?
  private let turns: Bool
  private let orientation: Orientation
  private let format: PhotoDecoder.Format
  private let storedWidth: Int
  private let storedHeight: Int
  private let decoderByteCount: Int
  private let ceilings: PhotoCeilings

  /// `isTurned`: as EXIF says, not as it is stored. `name`: what errors and remarks call the file, where its
  /// path tells people nothing.
  package init(
    path: String, called name: String? = nil, ceilings: PhotoCeilings = .usual, isTurned: Bool = true
  ) throws(SegmentationError) {
    (self.path, self.name) = (path, name)
    self.ceilings = ceilings
    turns = isTurned
    do throws(RasterError) {
      let decoder = try PhotoDecoder(path: path, called: name, ceilings: ceilings, isTurned: isTurned)
      width = decoder.width
      height = decoder.height
      orientation = decoder.orientation
      format = decoder.format
      storedWidth = decoder.storedWidth
      storedHeight = decoder.storedHeight
      wholeImageByteCount = decoder.needsWholeImage ? decoder.wholeImageByteCount : 0
      decoderByteCount = decoder.workingByteCount
    } catch {
      throw SegmentationError(.photo(error.description))
    }
  }

  package func load(_ copies: [CopyRequest]) throws {
    do throws(RasterError) {
      let decoder = try opened()
      try PhotoCopies(decoder, copies.map(\.photoCopy))
        .run(allowWholeImage: true)
      noteEnd(of: decoder)
    } catch {
      throw SegmentationError(.photo(error.description))
    }
  }

  package func contents() throws(SegmentationError) -> FileContents? {
    do throws(SystemError) {
      let file = try InputFile<SystemError>.openOrStandardInput(path: path)
      return FileContents(sha256: try file.sha256Hex(), byteCount: file.byteCount)
    } catch {
      throw SegmentationError(.photo(SystemError(error.reason, path: name ?? path).description))
    }
  }

  /// The photo once more, as it was when its size was told.
  private func opened() throws(RasterError) -> PhotoDecoder {
    let decoder = try PhotoDecoder(path: path, called: name, ceilings: ceilings, isTurned: turns)
    guard decoder.width == width, decoder.height == height else {
      throw RasterError(.corrupt("the file changed while it was being read"), path: decoder.path)
    }
    return decoder
  }

  /// Once all rows were read.
  private func noteEnd(of decoder: PhotoDecoder) {
    guard decoder.lacksEnd else { return }
    remark = "warning: \(decoder.path) ends without a jpeg's end marker; all its rows are there, and are used"
  }

  package lazy var place: GeoTags? = format == .tiff && !isTurned ? GeoTags(path: path) : nil

  package var rowByteCount: Int { wholeImageByteCount + decoderByteCount + 3 * storedWidth }

  package func eachRow(_ body: (_ y: Int, _ row: UnsafePointer<UInt8>) throws -> Void) throws {
    if isTurned {
      throw SegmentationError(
        .photo(
          "\(name ?? path): is stored turned, which --tile does not read; save it upright "
            + "(magick -auto-orient)"
        )
      )
    }
    do {
      let decoder = try opened()
      try decoder.beginDecoding(allowWholeImage: true)
      let row = ScratchBytes(count: 3 * width)
      let pixels = row.base.assumingMemoryBound(to: UInt8.self)
      for y in 0..<height {
        try decoder.readRow(into: pixels)
        try body(y, UnsafePointer(pixels))
      }
      noteEnd(of: decoder)
    } catch let error as RasterError {
      throw SegmentationError(.photo(error.description))
    }
  }

  package func workingByteCount(_ copies: [CopyRequest]) -> Int {
    wholeImageByteCount + decoderByteCount
      + PhotoCopies.byteCount(
        storedWidth: storedWidth, storedHeight: storedHeight, orientation: orientation,
        stages: copies.map(\.stages))
  }
}

extension CopyRequest {
  var photoCopy: PhotoCopy { PhotoCopy(stages: stages, destination: pixels, rowStored: rowStored) }

  /// The resizing steps of the copy.
  var stages: [PhotoCopy.Stage] {
    switch kind {
    case .windows: return [.bilinear(width: width, height: height)]
    case .preview: return [.antialias(width: width, height: height)]
    case .whole: return [.columns(0..<width, height: height)]
    case .square: return [.cubic(width: width, height: height)]
    case .sam(let paddedWidth, let paddedHeight, let columns):
      var stages: [PhotoCopy.Stage] = [.bilinear(width: paddedWidth, height: paddedHeight)]
      if columns != 0..<paddedWidth { stages.append(.columns(columns, height: paddedHeight)) }
      stages.append(.antialias(width: width, height: height))
      return stages
    }
  }
}

/// A photo that only has a size: for plans.
package final class PhotoSize: PhotoPixels {
  package let width: Int
  package let height: Int

  package init(width: Int, height: Int) {
    self.width = width
    self.height = height
  }

  package func load(_ copies: [CopyRequest]) throws { preconditionFailure("a size has no pixels") }

  package var rowByteCount: Int { 3 * width }

  package func workingByteCount(_ copies: [CopyRequest]) -> Int {
    3 * width
      + PhotoCopies.byteCount(
        storedWidth: width, storedHeight: height, orientation: .upright, stages: copies.map(\.stages))
  }
}

/// A photo that is already in memory.
///
/// - Shapes: `pixels` [height, stride], RGB bytes, upright, of which 3 * width a row count; borrowed, must
///   outlive the object.
package final class PhotoInMemory: PhotoPixels {
  package let width: Int
  package let height: Int
  private let pixels: UnsafePointer<UInt8>
  private let stride: Int

  package init(pixels: UnsafePointer<UInt8>, width: Int, height: Int, stride: Int? = nil) {
    self.pixels = pixels
    self.stride = stride ?? 3 * width
    self.width = width
    self.height = height
  }

  package func load(_ copies: [CopyRequest]) throws {
    let copies = copies.map(\.photoCopy)
    let pass = PhotoCopies(width: width, height: height, copies)
    for row in 0..<height { pass.push(pixels + row * stride) }
  }

  package func eachRow(_ body: (_ y: Int, _ row: UnsafePointer<UInt8>) throws -> Void) throws {
    for y in 0..<height { try body(y, pixels + y * stride) }
  }

  package func workingByteCount(_ copies: [CopyRequest]) -> Int {
    PhotoCopies.byteCount(
      storedWidth: width, storedHeight: height, orientation: .upright, stages: copies.map(\.stages))
  }
}
