// The .npz form of a vocabulary: a stored ZIP of NumPy arrays.

/// Vocabularies as `numpy.savez` writes them and `numpy.load` reads them.
///
/// - Errors: `.vocabulary`, `.truncated`, `.checksum`, `.limit`, `.classes`, with the array's name.
/// - Source: PKWARE APPNOTE 6.3 (stored entries only); NumPy `numpy/lib/format.py`.
enum VocabularyArchive {
  static let localMagic: [UInt8] = [0x50, 0x4B, 0x03, 0x04]
  private static let arrayNames = ["vectors", "class_index", "phrases", "model_id", "background"]
  private static let entryLimit = 64
  private static let tailByteCount = 22

  private struct Entry {
    var checksum: UInt32
    var range: Range<Int>
  }

  /// The bytes of the archive; same vocabulary, same bytes.
  static func encode(_ vocabulary: Vocabulary) -> [UInt8] {
    let classes = vocabulary.classes
    var vectors = NPYHeader.encode(type: "<f4", shape: [classes.phrases.count, vocabulary.width])
    vectors.append(floats: vocabulary.vectors)
    var indices = NPYHeader.encode(type: "<i4", shape: [classes.phrases.count])
    for index in classes.classIndex { indices.append(little: index) }
    let background = NPYHeader.encode(type: "|b1", shape: []) + [classes.background ? 1 : 0]
    let arrays = [
      vectors, indices, strings(classes.phrases, shape: [classes.phrases.count]),
      strings([vocabulary.modelID], shape: []), background,
    ]
    var out: [UInt8] = []
    var directory: [UInt8] = []
    for (name, bytes) in zip(arrayNames, arrays) {
      let fileName = Array("\(name).npy".utf8)
      let offset = UInt32(out.count)
      var common: [UInt8] = []
      // Version 2.0, no flags, stored, 1980-01-01 00:00.
      for value in [20, 0, 0, 0, 0x21] as [UInt16] { common.append(little: value) }
      for value in [TextChecksum.crc32(bytes), UInt32(bytes.count), UInt32(bytes.count)] {
        common.append(little: value)
      }
      for value in [fileName.count, 0] { common.append(little: UInt16(value)) }
      out += localMagic + common + fileName + bytes
      directory += [0x50, 0x4B, 0x01, 0x02, 20, 0] + common
      for value in [0, 0, 0] as [UInt16] { directory.append(little: value) }
      for value in [0, offset] { directory.append(little: value) }
      directory += fileName
    }
    let start = out.count
    out += directory + [0x50, 0x4B, 0x05, 0x06]
    for value in [0, 0, arrays.count, arrays.count] { out.append(little: UInt16(value)) }
    for value in [directory.count, start] { out.append(little: UInt32(value)) }
    out.append(little: UInt16(0))
    return out
  }

  /// Takes an archive apart; other arrays in it are ignored.
  static func decode(_ bytes: [UInt8]) throws(SegmentationError) -> Vocabulary {
    let entries = try readDirectory(bytes)
    var (reader, shape, type) = try array("vectors", entries, bytes)
    guard type == "<f4", shape.count == 2, shape[0] > 0, shape[1] > 0 else {
      throw broken("needs float32 [phrases, width]", "vectors")
    }
    try limit(shape[0], "phrases", ClassList.phraseLimit)
    try limit(shape[1], "elements in a vector", Vocabulary.widthLimit)
    let (phraseCount, width) = (shape[0], shape[1])
    let vectors = try reader.floats(phraseCount * width, "vectors")
    try VocabularyFile.checkUnit(vectors, width: width)
    (reader, shape, type) = try array("class_index", entries, bytes)
    guard type == "<i4" || type == "<i8", shape == [phraseCount] else {
      throw broken("needs int32 or int64 [\(phraseCount)]", "class_index")
    }
    var classIndex: [Int] = []
    for _ in 0..<phraseCount {
      let value =
        type == "<i4"
        ? Int(Int32(bitPattern: try reader.u32("class_index")))
        : Int(Int64(bitPattern: try reader.u64("class_index")))
      classIndex.append(value)
    }
    let phrases = try readStrings("phrases", entries, bytes, shape: [phraseCount])
    let modelID = try readStrings("model_id", entries, bytes, shape: [])[0]
    guard VocabularyFile.isModelID(modelID) else {
      throw broken("needs 64 lower-case hexadecimal digits", "model_id")
    }
    (reader, shape, type) = try array("background", entries, bytes)
    guard type == "|b1", shape == [], let flag = bytes[try reader.take(1, "background")].first, flag <= 1 else {
      throw broken("needs one bool", "background")
    }
    let classes = try ClassList(phrases: phrases, classIndex: classIndex, background: flag == 1)
    return Vocabulary(classes: classes, width: width, vectors: vectors, modelID: modelID)
  }

  /// Fixed-width UTF-32 strings, short ones filled with zeros.
  private static func strings(_ values: [String], shape: [Int]) -> [UInt8] {
    let width = values.map(\.unicodeScalars.count).max() ?? 1
    var out = NPYHeader.encode(type: "<U\(width)", shape: shape)
    for value in values {
      for scalar in value.unicodeScalars { out.append(little: scalar.value) }
      out.append(contentsOf: repeatElement(0, count: 4 * (width - value.unicodeScalars.count)))
    }
    return out
  }

  private static func readStrings(
    _ name: String, _ entries: [String: Entry], _ bytes: [UInt8], shape expected: [Int]
  ) throws(SegmentationError) -> [String] {
    var (reader, shape, type) = try array(name, entries, bytes)
    guard type.hasPrefix("<U"), let width = Int(type.dropFirst(2)), width > 0, shape == expected else {
      throw broken("needs strings ('<U') of shape \(expected)", name)
    }
    try limit(width, "characters in a phrase", ClassList.phraseByteLimit)
    let count = expected.first ?? 1
    guard reader.remaining == 4 * width * count else {
      throw SegmentationError(.truncated(needed: 4 * width * count, available: reader.remaining), field: name)
    }
    var out: [String] = []
    for _ in 0..<count {
      var scalars = String.UnicodeScalarView()
      var ended = false
      for _ in 0..<width {
        let value = try reader.u32(name)
        guard let scalar = Unicode.Scalar(value), value == 0 || !ended else {
          throw broken("string \(out.count) is not text", name)
        }
        if value == 0 { ended = true } else { scalars.append(scalar) }
      }
      out.append(String(scalars))
    }
    return out
  }

  /// One array: a reader standing at its data, its shape and type.
  private static func array(
    _ name: String, _ entries: [String: Entry], _ bytes: [UInt8]
  ) throws(SegmentationError) -> (ByteReader, [Int], String) {
    guard let entry = entries["\(name).npy"] else { throw broken("no such array in the archive", name) }
    let computed = TextChecksum.crc32(bytes[entry.range])
    guard computed == entry.checksum else {
      throw SegmentationError(.checksum(stored: entry.checksum, computed: computed), field: name)
    }
    var reader = ByteReader(bytes, range: entry.range)
    let (type, shape) = try NPYHeader.decode(&reader, name)
    return (reader, shape, type)
  }

  /// The entries named in the central directory, with the place of their bytes.
  private static func readDirectory(_ bytes: [UInt8]) throws(SegmentationError) -> [String: Entry] {
    guard bytes.count >= tailByteCount else {
      throw SegmentationError(.truncated(needed: tailByteCount, available: bytes.count), field: "directory")
    }
    var tail = ByteReader(bytes, range: bytes.count - tailByteCount..<bytes.count)
    guard try tail.u32("directory") == 0x0605_4B50, try tail.u32("directory") == 0 else {
      throw broken("the archive has no end record; it is incomplete or has a comment", "directory")
    }
    let count = try tail.u16("directory")
    guard try tail.u16("directory") == count else { throw broken("more than one volume", "directory") }
    try limit(count, "arrays in the archive", entryLimit)
    let size = Int(try tail.u32("directory"))
    let start = Int(try tail.u32("directory"))
    guard try tail.u16("directory") == 0, start <= bytes.count - tailByteCount,
      size == bytes.count - tailByteCount - start
    else { throw broken("the directory does not end where the end record starts", "directory") }
    var reader = ByteReader(bytes, range: start..<start + size)
    var entries: [String: Entry] = [:]
    for _ in 0..<count {
      let (name, entry) = try readEntry(&reader, bytes, limit: start)
      if entries.updateValue(entry, forKey: name) != nil { throw broken("stands twice in the archive", name) }
    }
    guard reader.remaining == 0 else { throw broken("bytes behind the last entry", "directory") }
    return entries
  }

  private static func readEntry(
    _ reader: inout ByteReader, _ bytes: [UInt8], limit end: Int
  ) throws(SegmentationError) -> (String, Entry) {
    guard try reader.u32("directory") == 0x0201_4B50 else { throw broken("no entry", "directory") }
    _ = try reader.take(4, "directory")
    let flags = try reader.u16("directory")
    let method = try reader.u16("directory")
    _ = try reader.take(4, "directory")
    let checksum = try reader.u32("directory")
    let storedSize = Int(try reader.u32("directory"))
    let size = Int(try reader.u32("directory"))
    let nameLength = try reader.u16("directory")
    let extraLength = try reader.u16("directory")
    let commentLength = try reader.u16("directory")
    _ = try reader.take(8, "directory")
    let offset = Int(try reader.u32("directory"))
    guard let name = FileBytes.string(utf8: bytes[try reader.take(nameLength, "directory")]) else {
      throw broken("a name is not UTF-8", "directory")
    }
    _ = try reader.take(extraLength + commentLength, "directory")
    guard method == 0, storedSize == size, flags & 1 == 0 else {
      throw broken("compressed or encrypted; save it with numpy.savez", name)
    }
    guard offset <= end else { throw broken("starts behind the end", name) }
    var local = ByteReader(bytes, range: offset..<end)
    guard try local.u32(name) == 0x0403_4B50 else { throw broken("no entry where the directory says", name) }
    _ = try local.take(22, name)
    let skipped = try local.u16(name) + local.u16(name)
    _ = try local.take(skipped, name)
    return (name, Entry(checksum: checksum, range: try local.take(size, name)))
  }

  private static func limit(_ value: Int, _ what: String, _ limit: Int) throws(SegmentationError) {
    if value > limit { throw SegmentationError(.limit(what: what, value: value, limit: limit), field: "archive") }
  }

  private static func broken(_ problem: String, _ field: String) -> SegmentationError {
    SegmentationError(.vocabulary(problem), field: field)
  }
}
