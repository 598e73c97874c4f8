// A vocabulary encoded once: classes, phrases and their text vectors, as .tvoc or .npz.
import Raster

/// Text vectors of a class list, made with one model.
///
/// - Memory: 4 B a vector element and the strings.
package struct Vocabulary: Equatable, Sendable {
  package let classes: ClassList
  /// Elements of a vector.
  package let width: Int
  /// Unit vectors; [phrases, width].
  package let vectors: [Float]
  /// Identity of the model that made the vectors: 64 lower-case hexadecimal digits.
  package let modelID: String

  /// Widest vector a file may hold.
  package static let widthLimit = 16_384

  /// Traps if the sizes disagree or the model id is not 64 hexadecimal digits.
  package init(classes: ClassList, width: Int, vectors: [Float], modelID: String) {
    precondition(width > 0 && vectors.count == classes.phrases.count * width, "vectors of another size")
    precondition(VocabularyFile.isModelID(modelID), "a model id is 64 lower-case hexadecimal digits")
    self.classes = classes
    self.width = width
    self.vectors = vectors
    self.modelID = modelID
  }

  /// Refuses a vocabulary made with another model or of another width.
  package func check(modelID: String, width: Int) throws(SegmentationError) {
    guard modelID == self.modelID else {
      throw SegmentationError(.otherModel(file: self.modelID, model: modelID), field: "model id")
    }
    guard width == self.width else {
      throw SegmentationError(
        .vocabulary("vectors have \(self.width) elements, the model makes \(width)"), field: "vectors")
    }
  }
}

/// Reading and writing vocabularies; the layout is in docs/vocabulary-file.md.
///
/// - Errors: `.vocabulary`, `.truncated`, `.checksum`, `.limit`, `.classes`, with the file and the field.
package enum VocabularyFile {
  /// Largest file that is read.
  package static let byteLimit = 1 << 30
  static let magic: [UInt8] = [0x54, 0x56, 0x4F, 0x43]
  static let version: UInt32 = 1
  static let headerByteCount = 80
  private static let checksumOffset = 68

  /// Reads a `.tvoc` or `.npz` file, told apart by their first bytes.
  ///
  /// - Memory: the file and, while it is taken apart, its vectors once more.
  package static func read(path: String) throws(SegmentationError) -> Vocabulary {
    let bytes: [UInt8]
    do throws(FileProblem) {
      bytes = try FileBytes.read(path, limit: byteLimit)
    } catch {
      throw SegmentationError(.vocabulary(error.message), path: path)
    }
    do throws(SegmentationError) {
      return try decode(bytes)
    } catch {
      throw error.at(path: path)
    }
  }

  /// Writes a vocabulary; a name ending in `.npz` selects that kind, any other `.tvoc`.
  ///
  /// - Errors: `.output`.
  package static func write(_ vocabulary: Vocabulary, path: String) throws(SegmentationError) {
    let bytes = path.hasSuffix(".npz") ? VocabularyArchive.encode(vocabulary) : encode(vocabulary)
    do throws(RasterError) {
      try FileBytes.replace(path, with: bytes)
    } catch {
      throw SegmentationError(.output(error.description))
    }
  }

  /// Takes either kind apart.
  package static func decode(_ bytes: [UInt8]) throws(SegmentationError) -> Vocabulary {
    if bytes.starts(with: VocabularyArchive.localMagic) { return try VocabularyArchive.decode(bytes) }
    return try decodeNative(bytes)
  }

  /// The bytes of a `.tvoc` file.
  package static func encode(_ vocabulary: Vocabulary) -> [UInt8] {
    let classes = vocabulary.classes
    let text = classes.phrases.map { Array($0.utf8) }
    let textByteCount = text.reduce(0) { $0 + $1.count }
    let tables = headerByteCount + 4 * text.count + 4 * (text.count + 1) + textByteCount
    let start = (tables + 63) / 64 * 64
    var out = magic
    out.reserveCapacity(start + 4 * vocabulary.vectors.count)
    out.append(little: version)
    out.append(little: UInt64(start + 4 * vocabulary.vectors.count))
    for value in [text.count, vocabulary.width, classes.count, classes.background ? 1 : 0] {
      out.append(little: UInt32(value))
    }
    out.append(contentsOf: packed(vocabulary.modelID))
    out.append(little: UInt32(textByteCount))
    out.append(little: UInt32(0))
    out.append(little: UInt64(0))
    for index in classes.classIndex { out.append(little: UInt32(index)) }
    var offset = 0
    for phrase in text {
      out.append(little: UInt32(offset))
      offset += phrase.count
    }
    out.append(little: UInt32(offset))
    for phrase in text { out.append(contentsOf: phrase) }
    out.append(contentsOf: repeatElement(0, count: start - out.count))
    out.append(floats: vocabulary.vectors)
    out.store(little: TextChecksum.crc32(out), at: checksumOffset)
    return out
  }

  private static func decodeNative(_ bytes: [UInt8]) throws(SegmentationError) -> Vocabulary {
    var reader = ByteReader(bytes)
    guard bytes[try reader.take(4, "magic")].elementsEqual(magic) else {
      throw SegmentationError(
        .vocabulary("neither .tvoc nor .npz; make it with 'trident text'"), field: "magic")
    }
    let found = try reader.u32("version")
    guard found == version else {
      throw SegmentationError(
        .vocabulary("version \(found), this program reads \(version)"), field: "version")
    }
    let byteCount = try reader.u64("byte count")
    guard byteCount == UInt64(bytes.count) else {
      let needed = Int(clamping: byteCount)
      throw SegmentationError(.truncated(needed: needed, available: bytes.count), field: "byte count")
    }
    let phraseCount = try limited(reader.u32("phrases"), "phrases", ClassList.phraseLimit)
    let width = try limited(reader.u32("width"), "elements in a vector", Vocabulary.widthLimit)
    let classCount = try limited(reader.u32("classes"), "classes", ClassList.classLimit)
    let flags = try reader.u32("flags")
    let modelID = hexadecimal(bytes[try reader.take(32, "model id")])
    let textByteCount = Int(try reader.u32("text bytes"))
    let stored = try reader.u32("checksum")
    let reserved = try reader.u64("reserved")
    guard flags <= 1, reserved == 0 else {
      throw SegmentationError(.vocabulary("unknown flags; made by a newer program"), field: "flags")
    }
    try checkSum(bytes, stored)
    let classes = try readClasses(&reader, phraseCount, textByteCount, background: flags == 1)
    guard classes.count == classCount else {
      throw SegmentationError(
        .vocabulary("\(classes.count) classes, header says \(classCount)"), field: "classes")
    }
    let padding = try reader.take((64 - reader.offset % 64) % 64, "padding")
    guard bytes[padding].allSatisfy({ $0 == 0 }) else {
      throw SegmentationError(.vocabulary("padding is not zero"), field: "padding")
    }
    let vectors = try reader.floats(phraseCount * width, "vectors")
    guard reader.remaining == 0 else {
      throw SegmentationError(.vocabulary("\(reader.remaining) bytes too many"), field: "vectors")
    }
    try checkUnit(vectors, width: width)
    return Vocabulary(classes: classes, width: width, vectors: vectors, modelID: modelID)
  }

  private static func readClasses(
    _ reader: inout ByteReader, _ phraseCount: Int, _ textByteCount: Int, background: Bool
  ) throws(SegmentationError) -> ClassList {
    var classIndex: [Int] = []
    try reader.fits(8 * phraseCount + 4, "class index")
    for _ in 0..<phraseCount { classIndex.append(Int(try reader.u32("class index"))) }
    var offsets: [Int] = []
    for _ in 0...phraseCount { offsets.append(Int(try reader.u32("text offsets"))) }
    let text = try reader.take(textByteCount, "text")
    guard offsets[0] == 0, offsets[phraseCount] == textByteCount,
      zip(offsets, offsets.dropFirst()).allSatisfy(<=)
    else {
      throw SegmentationError(.vocabulary("offsets do not rise from 0 to the end"), field: "text offsets")
    }
    var phrases: [String] = []
    for index in 0..<phraseCount {
      let range = text.lowerBound + offsets[index]..<text.lowerBound + offsets[index + 1]
      guard let phrase = FileBytes.string(utf8: reader.bytes[range]) else {
        throw SegmentationError(.vocabulary("phrase \(index) is not UTF-8"), field: "text")
      }
      phrases.append(phrase)
    }
    return try ClassList(phrases: phrases, classIndex: classIndex, background: background)
  }

  private static func checkSum(_ bytes: [UInt8], _ stored: UInt32) throws(SegmentationError) {
    let head = TextChecksum.crc32(Array(bytes[..<checksumOffset]) + [0, 0, 0, 0])
    let computed = TextChecksum.crc32(bytes[(checksumOffset + 4)...], after: head)
    if computed != stored {
      throw SegmentationError(.checksum(stored: stored, computed: computed), field: "checksum")
    }
  }

  private static func limited(_ value: UInt32, _ what: String, _ limit: Int) throws(SegmentationError) -> Int
  {
    guard value > 0 else { throw SegmentationError(.vocabulary("no \(what)"), field: "header") }
    guard value <= limit else {
      throw SegmentationError(.limit(what: what, value: Int(value), limit: limit), field: "header")
    }
    return Int(value)
  }

  /// Every vector's length is 1 within 1e-3; this also refuses values that are no numbers.
  static func checkUnit(_ vectors: [Float], width: Int) throws(SegmentationError) {
    for row in 0..<vectors.count / width {
      let square = vectors[row * width..<(row + 1) * width].reduce(0.0) { $0 + Double($1) * Double($1) }
      guard abs(square - 1) <= 2e-3 else {
        throw SegmentationError(.vocabulary("row \(row) is not of length 1; normalise it"), field: "vectors")
      }
    }
  }

  static func isModelID(_ text: String) -> Bool {
    text.utf8.count == 64 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }

  static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }

  /// The 32 bytes of 64 hexadecimal digits.
  static func packed(_ modelID: String) -> [UInt8] {
    let nibbles = modelID.utf8.map { $0 >= 0x61 ? $0 - 0x61 + 10 : $0 - 0x30 }
    return stride(from: 0, to: nibbles.count - 1, by: 2).map { nibbles[$0] << 4 | nibbles[$0 + 1] }
  }
}

extension ByteReader {
  /// Fails early if fewer than `count` bytes are left.
  fileprivate func fits(_ count: Int, _ field: String) throws(SegmentationError) {
    if count > remaining {
      throw SegmentationError(.truncated(needed: count, available: remaining), field: field)
    }
  }
}
