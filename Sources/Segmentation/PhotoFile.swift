// Photos from files and from memory, as the phases want them.
import Raster

/// A photo file, decoded anew for every pass.
///
/// - Memory: while a pass runs: the decoder's rows, and the whole picture for a progressive JPEG or an interlaced PNG.
/// - Errors: `.photo`, naming the file.
package final class PhotoFile: PhotoPixels {
  /// How the names of files in a folder end that count as photos.
  package static let endings = [".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".pnm"]

  package let path: String
  package let width: Int
  package let height: Int
  /// Private memory that decoding needs because the format cannot be read row by row.
  package let wholeImageByteCount: Int
  private let orientation: Orientation
  private let storedWidth: Int
  private let storedHeight: Int
  private let decoderByteCount: Int

  package init(path: String) throws(SegmentationError) {
    self.path = path
    do throws(RasterError) {
      let decoder = try PhotoDecoder(path: path)
      width = decoder.width
      height = decoder.height
      orientation = decoder.orientation
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
      let decoder = try PhotoDecoder(path: path)
      guard decoder.width == width, decoder.height == height else {
        throw RasterError(.corrupt("the file changed while it was being read"), path: path)
      }
      try PhotoCopies(decoder, copies.map { PhotoCopy(stages: $0.stages, destination: $0.pixels) })
        .run(allowWholeImage: true)
    } catch {
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
  /// The resizing steps of the copy.
  var stages: [PhotoCopy.Stage] {
    switch kind {
    case .windows: return [.bilinear(width: width, height: height)]
    case .preview: return [.antialias(width: width, height: height)]
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

  package func workingByteCount(_ copies: [CopyRequest]) -> Int {
    3 * width
      + PhotoCopies.byteCount(
        storedWidth: width, storedHeight: height, orientation: .upright, stages: copies.map(\.stages))
  }
}

/// A photo that is already in memory.
///
/// - Shapes: `pixels` [height, width, 3], RGB bytes, upright; borrowed, must outlive the object.
package final class PhotoInMemory: PhotoPixels {
  package let width: Int
  package let height: Int
  private let pixels: UnsafePointer<UInt8>

  package init(pixels: UnsafePointer<UInt8>, width: Int, height: Int) {
    self.pixels = pixels
    self.width = width
    self.height = height
  }

  package func load(_ copies: [CopyRequest]) throws {
    let copies = copies.map { PhotoCopy(stages: $0.stages, destination: $0.pixels) }
    let pass = PhotoCopies(width: width, height: height, copies)
    for row in 0..<height { pass.push(pixels + row * width * 3) }
  }

  package func workingByteCount(_ copies: [CopyRequest]) -> Int {
    PhotoCopies.byteCount(
      storedWidth: width, storedHeight: height, orientation: .upright, stages: copies.map(\.stages))
  }
}
