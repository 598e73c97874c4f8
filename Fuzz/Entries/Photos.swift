// Photos: decoded whole, with and without the format's checksums.
import Raster

/// Larger pictures are only opened: decoding them is what the memory plan decides about.
private let pixelLimit = 1 << 20

func fuzzJPEG(_ bytes: UnsafeBufferPointer<UInt8>) { fuzz([0xFF, 0xD8, 0xFF], bytes) }

func fuzzPNG(_ bytes: UnsafeBufferPointer<UInt8>) {
  fuzz([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A], bytes)
}

/// Also the tags that place it on earth.
func fuzzTIFF(_ bytes: UnsafeBufferPointer<UInt8>) {
  fuzz([], bytes)
  withFile(Array(bytes)) { _ = GeoTags(path: $0) }
}

func fuzzWebP(_ bytes: UnsafeBufferPointer<UInt8>) { fuzz(Array("RIFF".utf8), bytes) }

func fuzzPPM(_ bytes: UnsafeBufferPointer<UInt8>) { fuzz([0x50], bytes) }

/// The input with the format's first bytes in place.
private func fuzz(_ magic: [UInt8], _ bytes: UnsafeBufferPointer<UInt8>) {
  withFile(magic + bytes.dropFirst(magic.count)) { path in
    for ignoring in [false, true] {
      guard let decoder = try? PhotoDecoder(path: path, ignoringChecksums: ignoring) else { continue }
      precondition(decoder.storedWidth > 0 && decoder.storedHeight > 0)
      if decoder.storedWidth * decoder.storedHeight <= pixelLimit { decode(decoder) }
    }
  }
}

private func decode(_ decoder: PhotoDecoder) {
  let row = UnsafeMutablePointer<UInt8>.allocate(capacity: 3 * decoder.storedWidth)
  defer { row.deallocate() }
  do throws(RasterError) {
    try decoder.beginDecoding(allowWholeImage: true)
    while decoder.nextRow < decoder.storedHeight { try decoder.readRow(into: row) }
  } catch {
    precondition(!error.description.contains("\n"))
  }
}
