// Unpacking of deflated entries, by streaming into a file that has no name.

import CZlib
import Glibc
import System

/// A range of bytes of an open file: an entry's contents, wherever they came to lie.
struct ByteExtent {
  let file: InputFile
  let offset: Int
  let byteCount: Int
}

/// A zip archive on disk.
typealias ZipDirectory = System.ZipDirectory<InputFile>

extension ZipDirectory {
  /// The contents of an entry.
  ///
  /// Stored entries, which is all that PyTorch writes, are ranges of the archive itself. A deflated entry,
  /// from an archive that was repacked, is unpacked to an unlinked file in `TMPDIR` or `/tmp`.
  ///
  /// - Memory: two windows of 64 KiB, whatever the entry's size; disk: the entry's size.
  /// - Errors: `limitExceeded` when all unpacked entries together pass 64 MiB plus sixteen times the archive;
  ///   `checksumMismatch`; `cannotWrite`.
  func extent(of entry: ZipEntry, checkingStored: Bool) throws(QuantizationError) -> ByteExtent {
    let body = try bodyOffset(of: entry)
    if !entry.isDeflated {
      if checkingStored { try checkStored(entry, at: body) }
      return ByteExtent(file: file, offset: body, byteCount: entry.byteCount)
    }
    let limit = Self.unpackedByteLimit(file.byteCount)
    guard let total = checkedSum(unpackedByteCount, entry.byteCount), total <= limit else {
      throw file.error(
        .limitExceeded(what: "unpacked bytes", limit: limit, found: entry.byteCount), at: body,
        name: entry.name)
    }
    unpackedByteCount = total
    let unpacked = try inflateEntry(entry, at: body)
    return ByteExtent(file: unpacked, offset: 0, byteCount: entry.byteCount)
  }

  /// What a file's contents may come to: 64 MiB plus sixteen times the file.
  static func unpackedByteLimit(_ byteCount: Int) -> Int {
    (64 << 20) + min(byteCount, Int.max / 32) * 16
  }

  /// Compares a stored entry with its checksum; PyTorch writes 0 where it was told to compute none.
  func checkStored(_ entry: ZipEntry, at body: Int) throws(QuantizationError) {
    if entry.checksum == 0 { return }
    let window = ScratchBytes(count: min(65_536, max(entry.byteCount, 1)))
    var checksum = CRC32()
    var done = 0
    while done < entry.byteCount {
      let count = min(window.count, entry.byteCount - done)
      try file.read(at: body + done, count: count, into: window.base)
      checksum.update(UnsafeRawBufferPointer(start: window.base, count: count))
      done += count
    }
    try compare(checksum.value, entry, at: body)
  }

  private func compare(_ checksum: UInt32, _ entry: ZipEntry, at body: Int) throws(QuantizationError) {
    if checksum != entry.checksum {
      throw file.error(
        .checksumMismatch(stored: entry.checksum, computed: checksum), at: body, name: entry.name)
    }
  }

  private func inflateEntry(_ entry: ZipEntry, at body: Int) throws(QuantizationError) -> InputFile {
    let disk: UnnamedFile
    do throws(SystemError) { disk = try UnnamedFile() } catch {
      throw file.failure(error.reason, name: error.path)
    }
    let inflater = try Inflater(file: file, range: body..<(body + entry.storedByteCount), isGzip: false)
    let window = ScratchBytes(count: 65_536)
    var checksum = CRC32()
    var done = 0
    while true {
      let count = try inflater.next(into: window)
      if count == 0 { break }
      if count > entry.byteCount - done {
        throw file.error(
          .malformed("the entry unpacks to more than the \(entry.byteCount) bytes it declares"), at: body,
          name: entry.name)
      }
      checksum.update(UnsafeRawBufferPointer(start: window.base, count: count))
      do throws(SystemError) { try disk.write(window.base, count: count, at: done) } catch {
        throw file.failure(error.reason, name: "unpacked entry")
      }
      done += count
    }
    if done != entry.byteCount {
      throw file.error(.truncated(needed: entry.byteCount, available: done), at: body, name: entry.name)
    }
    try compare(checksum.value, entry, at: body)
    return InputFile(descriptor: dup(disk.descriptor), byteCount: entry.byteCount, path: file.path)
  }
}

/// zlib's inflate over a range of a file.
///
/// - Memory: one 64 KiB window and zlib's state, about 40 KiB.
/// - Errors: `malformed` when zlib finds fault; `truncated` when the range ends early.
final class Inflater {
  private let file: InputFile
  private let range: Range<Int>
  private let window: ScratchBytes
  private var consumed = 0
  private var stream = z_stream()
  private var isFinished = false

  init(file: InputFile, range: Range<Int>, isGzip: Bool) throws(QuantizationError) {
    self.file = file
    self.range = range
    window = ScratchBytes(count: min(65_536, max(range.count, 1)))
    let status = isGzip ? cz_inflate_init_gzip(&stream) : cz_inflate_init_raw(&stream)
    if status != Z_OK { throw file.error(.cannotRead(errno: ENOMEM), at: range.lowerBound) }
  }

  deinit { inflateEnd(&stream) }

  /// Fills as much of `output` as the stream still gives; 0 at its end.
  func next(into output: ScratchBytes) throws(QuantizationError) -> Int {
    if isFinished { return 0 }
    stream.next_out = output.base.assumingMemoryBound(to: Bytef.self)
    stream.avail_out = uInt(output.count)
    while stream.avail_out > 0 {
      if stream.avail_in == 0 && consumed < range.count {
        let count = min(window.count, range.count - consumed)
        try file.read(at: range.lowerBound + consumed, count: count, into: window.base)
        stream.next_in = window.base.assumingMemoryBound(to: Bytef.self)
        stream.avail_in = uInt(count)
        consumed += count
      }
      let status = inflate(&stream, Z_NO_FLUSH)
      let position = range.lowerBound + consumed - Int(stream.avail_in)
      if status == Z_STREAM_END {
        isFinished = true
        break
      }
      if status == Z_BUF_ERROR || (status == Z_OK && stream.avail_in == 0 && consumed == range.count) {
        if stream.avail_out > 0 {
          throw file.error(
            .malformed("the compressed bytes end early; download the file again"), at: position)
        }
        break
      }
      if status != Z_OK {
        throw file.error(
          .malformed("the compressed bytes are damaged; download the file again"), at: position)
      }
    }
    return output.count - Int(stream.avail_out)
  }
}
