// The directory of a zip or zip64 archive, checked before any entry is read.

/// One entry as the central directory describes it.
package struct ZipEntry {
  package let name: String
  package let isDeflated: Bool
  package let isEncrypted: Bool
  package let checksum: UInt32
  package let storedByteCount: Int
  package let byteCount: Int
  package let headerOffset: Int
  /// First byte that belongs to something else: the next entry, or the central directory.
  package fileprivate(set) var limit: Int
}

private let entryLimit = 400_000
private let directoryByteLimit = 32 << 20

/// Entries of an archive, in directory order.
///
/// - Memory: the central directory, at most 32 MiB, while it is parsed; then its entries.
/// - Errors: `.malformed` for overlapping entries, several disks or a broken record; `.duplicate`;
///   `.tooLarge`; `.unsupported` for encryption and methods other than stored and deflate.
/// - Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3.
package final class ZipDirectory<Source: ByteSource> {
  package typealias Failure = Source.Failure

  package let file: Source
  package private(set) var entries: [ZipEntry] = []
  private var indexOfName: [String: Int] = [:]
  /// Bytes unpacked so far, over all entries; for whoever unpacks them.
  package var unpackedByteCount = 0

  package init(file: Source) throws(Failure) {
    self.file = file
    let end = try Self.findEnd(file)
    try parse(end)
    try checkOverlaps(directoryOffset: end.offset)
  }

  package func entry(named name: String) -> ZipEntry? { indexOfName[name].map { entries[$0] } }

  /// Where the entry's stored bytes begin, from its local header.
  package func bodyOffset(of entry: ZipEntry) throws(Failure) -> Int {
    if entry.isEncrypted {
      throw file.failure(.unsupported("the entry is encrypted; unpack and repack it"), name: entry.name)
    }
    let header = try file.bytes(at: entry.headerOffset, count: 30)
    if header.number(at: 0, width: 4) != 0x0403_4b50 {
      throw file.failure(.malformed("no local header here"), at: entry.headerOffset, name: entry.name)
    }
    let nameCount = header.number(at: 26, width: 2)
    let body = entry.headerOffset + 30 + nameCount + header.number(at: 28, width: 2)
    let method = header.number(at: 8, width: 2)
    let name = try file.bytes(at: entry.headerOffset + 30, count: nameCount)
    if !name.elementsEqual(entry.name.utf8) || method != (entry.isDeflated ? 8 : 0) {
      throw file.failure(
        .malformed("local header and central directory disagree"), at: entry.headerOffset, name: entry.name)
    }
    guard let end = checkedSum(body, entry.storedByteCount), end <= entry.limit else {
      throw file.failure(.malformed("the entry runs into the next one"), at: body, name: entry.name)
    }
    return body
  }

  // MARK: End of the archive

  private struct End {
    var offset: Int
    var byteCount: Int
    var entryCount: Int
  }

  /// Finds the closing record: the last one whose comment reaches exactly to the end of the file.
  private static func findEnd(_ file: Source) throws(Failure) -> End {
    let tailCount = min(file.byteCount, 22 + 65_535)
    let tailStart = file.byteCount - tailCount
    let tail = try file.bytes(at: tailStart, count: tailCount)
    var index = tail.count - 22
    while index >= 0 {
      if tail[index] == 0x50, tail.number(at: index, width: 4) == 0x0605_4b50,
        index + 22 + tail.number(at: index + 20, width: 2) == tail.count
      {
        return try readEnd(file, tail: tail, index: index, offset: tailStart + index)
      }
      index -= 1
    }
    throw file.failure(
      .malformed("the zip archive has no closing record; the file is cut off, download it again"),
      at: file.byteCount)
  }

  private static func readEnd(
    _ file: Source, tail: [UInt8], index: Int, offset: Int
  ) throws(Failure) -> End {
    var end = End(
      offset: tail.number(at: index + 16, width: 4), byteCount: tail.number(at: index + 12, width: 4),
      entryCount: tail.number(at: index + 10, width: 2))
    var disks = [
      tail.number(at: index + 4, width: 2), tail.number(at: index + 6, width: 2),
      end.entryCount - tail.number(at: index + 8, width: 2),
    ]
    var directoryLimit = offset
    if offset >= 20 {
      let locator = try file.bytes(at: offset - 20, count: 20)
      if locator.number(at: 0, width: 4) == 0x0706_4b50 {
        let recordOffset = locator.number(at: 8, width: 8)
        guard let recordEnd = checkedSum(recordOffset, 56), recordEnd <= offset - 20 else {
          throw file.failure(.malformed("the zip64 closing record lies outside the file"), at: offset - 20)
        }
        let record = try file.bytes(at: recordOffset, count: 56)
        if record.number(at: 0, width: 4) != 0x0606_4b50 {
          throw file.failure(.malformed("no zip64 closing record here"), at: recordOffset)
        }
        end = End(
          offset: record.number(at: 48, width: 8), byteCount: record.number(at: 40, width: 8),
          entryCount: record.number(at: 32, width: 8))
        disks = [
          record.number(at: 16, width: 4), record.number(at: 20, width: 4), locator.number(at: 4, width: 4),
        ]
        directoryLimit = recordOffset
      }
    }
    if disks.contains(where: { $0 != 0 }) {
      throw file.failure(.unsupported("the archive is split over several disks; join it first"), at: offset)
    }
    guard let directoryEnd = checkedSum(end.offset, end.byteCount), directoryEnd <= directoryLimit else {
      throw file.failure(.malformed("the central directory lies outside the file"), at: offset)
    }
    return end
  }

  // MARK: Central directory

  private func parse(_ end: End) throws(Failure) {
    if end.byteCount > directoryByteLimit {
      throw file.failure(
        .tooLarge(what: "central directory bytes", found: UInt64(end.byteCount), limit: directoryByteLimit),
        at: end.offset)
    }
    if end.entryCount < 0 || end.entryCount > min(entryLimit, end.byteCount / 46) {
      throw file.failure(
        .tooLarge(
          what: "zip entries", found: UInt64(max(0, end.entryCount)),
          limit: min(entryLimit, end.byteCount / 46)),
        at: end.offset)
    }
    let bytes = try file.bytes(at: end.offset, count: end.byteCount)
    entries.reserveCapacity(end.entryCount)
    var index = 0
    for _ in 0..<end.entryCount {
      guard index + 46 <= bytes.count, bytes.number(at: index, width: 4) == 0x0201_4b50 else {
        throw file.failure(.malformed("broken central directory"), at: end.offset + index)
      }
      let nameEnd = index + 46 + bytes.number(at: index + 28, width: 2)
      let extraEnd = nameEnd + bytes.number(at: index + 30, width: 2)
      let next = extraEnd + bytes.number(at: index + 32, width: 2)
      guard next <= bytes.count, let name = String(validating: bytes[(index + 46)..<nameEnd], as: UTF8.self)
      else {
        throw file.failure(.malformed("broken entry name"), at: end.offset + index)
      }
      let entry = try parseEntry(
        bytes, at: index, name: name, extra: nameEnd..<extraEnd, directoryOffset: end.offset)
      if indexOfName.updateValue(entries.count, forKey: name) != nil {
        throw file.failure(.duplicate, at: end.offset + index, name: name)
      }
      entries.append(entry)
      index = next
    }
  }

  private func parseEntry(
    _ bytes: [UInt8], at index: Int, name: String, extra: Range<Int>, directoryOffset: Int
  ) throws(Failure) -> ZipEntry {
    let flags = bytes.number(at: index + 8, width: 2)
    let method = bytes.number(at: index + 10, width: 2)
    // Saturated 32-bit fields are continued, in this order, in the zip64 extra field.
    var fields = [
      bytes.number(at: index + 24, width: 4), bytes.number(at: index + 20, width: 4),
      bytes.number(at: index + 42, width: 4),
    ]
    var wide = Self.zip64Field(bytes, extra: extra)
    for field in 0..<3 where fields[field] == 0xffff_ffff {
      if wide.count < 8 { continue }
      fields[field] = bytes.number(at: wide.lowerBound, width: 8)
      wide = (wide.lowerBound + 8)..<wide.upperBound
    }
    let offset = directoryOffset + index
    if bytes.number(at: index + 34, width: 2) != 0 {
      throw file.failure(.unsupported("the archive is split over several disks; join it first"), at: offset)
    }
    if method != 0 && method != 8 {
      throw file.failure(
        .unsupported("compression method \(method) is not stored or deflate; repack it"), at: offset,
        name: name)
    }
    if fields[0] < 0 || fields[1] < 0 || fields[2] < 0 || (method == 0 && fields[0] != fields[1]) {
      throw file.failure(.malformed("impossible sizes"), at: offset, name: name)
    }
    // Deflate cannot pack better than 1032 to 1, so a larger promise is a lie.
    if method == 8 && fields[0] / 1040 > fields[1] + 1 {
      throw file.failure(.malformed("impossible compression ratio"), at: offset, name: name)
    }
    return ZipEntry(
      name: name, isDeflated: method == 8, isEncrypted: flags & 0x2041 != 0,
      checksum: UInt32(bytes.number(at: index + 16, width: 4)), storedByteCount: fields[1],
      byteCount: fields[0], headerOffset: fields[2], limit: directoryOffset)
  }

  private static func zip64Field(_ bytes: [UInt8], extra: Range<Int>) -> Range<Int> {
    var index = extra.lowerBound
    while index + 4 <= extra.upperBound {
      let count = bytes.number(at: index + 2, width: 2)
      let end = index + 4 + count
      if end > extra.upperBound { break }
      if bytes.number(at: index, width: 2) == 1 { return (index + 4)..<end }
      index = end
    }
    return extra.lowerBound..<extra.lowerBound
  }

  /// Entries must not share bytes: sharing is how a small archive pretends to hold a huge one.
  private func checkOverlaps(directoryOffset: Int) throws(Failure) {
    let order = entries.indices.sorted { entries[$0].headerOffset < entries[$1].headerOffset }
    for position in order.indices {
      let index = order[position]
      let limit =
        position + 1 < order.count ? entries[order[position + 1]].headerOffset : directoryOffset
      let entry = entries[index]
      guard let least = checkedSum(entry.headerOffset, 30, entry.name.utf8.count, entry.storedByteCount),
        least <= limit
      else {
        throw file.failure(
          .malformed("the entry overlaps its neighbour or the directory"), at: entry.headerOffset,
          name: entry.name)
      }
      entries[index].limit = limit
    }
  }
}

/// An archive of entries that are stored as they are; same entries, same bytes.
package func storedZip(_ entries: [(name: String, bytes: [UInt8])]) -> [UInt8] {
  var out: [UInt8] = []
  var directory: [UInt8] = []
  for (name, bytes) in entries {
    let offset = UInt32(out.count)
    var common: [UInt8] = []
    // Version 2.0, no flags, stored, 1980-01-01 00:00.
    for value in [20, 0, 0, 0, 0x21] as [UInt16] { common.append(little: value) }
    for value in [CRC32.of(bytes[...]), UInt32(bytes.count), UInt32(bytes.count)] {
      common.append(little: value)
    }
    for value in [name.utf8.count, 0] { common.append(little: UInt16(value)) }
    out += [0x50, 0x4B, 0x03, 0x04] + common + name.utf8 + bytes
    directory += [0x50, 0x4B, 0x01, 0x02, 20, 0] + common
    for value in [0, 0, 0] as [UInt16] { directory.append(little: value) }
    for value in [0, offset] { directory.append(little: value) }
    directory += name.utf8
  }
  let start = out.count
  out += directory + [0x50, 0x4B, 0x05, 0x06]
  for value in [0, 0, entries.count, entries.count] { out.append(little: UInt16(value)) }
  for value in [directory.count, start] { out.append(little: UInt32(value)) }
  out.append(little: UInt16(0))
  return out
}
