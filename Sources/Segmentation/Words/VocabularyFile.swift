// A vocabulary encoded once: classes, phrases and their text vectors, as .tvoc or .npz.
import Container
import System

/// Text vectors of a class list, made with one model.
///
/// - Memory: 4 B a vector element and the strings.
package struct Vocabulary: Equatable, Sendable {
  package let classes: ClassList
  /// Behind the classes' phrases: what they win is of no class.
  package let negatives: [String]
  /// Elements of a vector.
  package let width: Int
  /// [phrases, width], negative ones last; of length 1, or means over templates as they are (.npz with
  /// `text_model`).
  package let vectors: [Float]
  /// Identity of the model that made the vectors: 64 lower-case hexadecimal digits.
  package let modelID: String
  package let encoding: TextEncoding
  /// `TemplateList.identifier` of the templates, or `TemplateList.byClass`.
  package let templates: String
  /// The file does not say whether class 0 is what nothing else is (.npz with `text_model`): it is read as
  /// any other class.
  package var isBackgroundUnsaid = false

  /// Widest vector a file may hold.
  package static let widthLimit = 16_384

  /// Traps if the sizes disagree or the model id is not 64 hexadecimal digits.
  package init(
    classes: ClassList, negatives: [String] = [], width: Int, vectors: [Float], modelID: String,
    encoding: TextEncoding, templates: String = PromptTemplates.identifier
  ) {
    precondition(
      width > 0 && vectors.count == (classes.phrases.count + negatives.count) * width,
      "vectors of another size")
    precondition(MappedModel.isIdentity(modelID), "a model id is 64 lower-case hexadecimal digits")
    (self.classes, self.negatives) = (classes, negatives)
    self.width = width
    self.vectors = vectors
    self.modelID = modelID
    (self.encoding, self.templates) = (encoding, templates)
  }

  /// The phrases, negative ones last, as those of one more class.
  package var allPhrases: [String] { classes.phrases + negatives }
  /// Class of each of them.
  package var allClassIndex: [Int32] {
    classes.classIndex.map { Int32($0) } + negatives.map { _ in Int32(classes.count) }
  }

  /// Takes the negative phrases, which are those of the last class, off a list.
  ///
  /// - Errors: `.vocabulary` where nothing else is left; `.classes`.
  static func split(
    phrases: [String], classIndex: [Int], background: Bool, hasNegatives: Bool
  ) throws(SegmentationError) -> (classes: ClassList, negatives: [String]) {
    let all = try ClassList(phrases: phrases, classIndex: classIndex, background: background)
    guard hasNegatives else { return (all, []) }
    let first = classIndex.firstIndex(of: all.count - 1) ?? 0
    guard first > 0 else {
      throw SegmentationError(.vocabulary("has negative phrases and no class"), field: "class index")
    }
    let named = Set(phrases[..<first])
    if let both = phrases[first...].first(where: { named.contains($0) }) {
      throw SegmentationError(.vocabulary("'\(both)' is a class and negative, too"), field: "text")
    }
    return (
      try ClassList(
        phrases: Array(phrases[..<first]), classIndex: Array(classIndex[..<first]), background: background),
      Array(phrases[first...])
    )
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
  package static let magic: [UInt8] = [0x54, 0x56, 0x4F, 0x43]
  static let version: UInt32 = 1
  static let headerByteCount = 80
  private static let checksumOffset = 68

  /// Reads a `.tvoc` or `.npz` file, told apart by their first bytes.
  ///
  /// - Memory: the file and, while it is taken apart, its vectors once more.
  package static func read(path: String) throws(SegmentationError) -> Vocabulary {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try FileBytes.read(path, limit: byteLimit)
    } catch {
      throw SegmentationError(.vocabulary(error.reason.description), path: path)
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
    do throws(SystemError) { try FileBytes.replace(path, with: bytes) } catch { throw .output(error) }
  }

  /// Takes either kind apart.
  package static func decode(_ bytes: [UInt8]) throws(SegmentationError) -> Vocabulary {
    if bytes.starts(with: VocabularyArchive.localMagic) { return try VocabularyArchive.decode(bytes) }
    return try decodeNative(bytes)
  }

  /// The bytes of a `.tvoc` file.
  package static func encode(_ vocabulary: Vocabulary) -> [UInt8] {
    let classes = vocabulary.classes
    let text = vocabulary.allPhrases.map { Array($0.utf8) }
    let textByteCount = text.reduce(0) { $0 + $1.count }
    let notes = VocabularyNotes(vocabulary)
    let tables = headerByteCount + 4 * text.count + 4 * (text.count + 1) + textByteCount + notes.bytes.count
    let start = (tables + 63) / 64 * 64
    var out = magic
    out.reserveCapacity(start + 4 * vocabulary.vectors.count)
    out.append(little: version)
    out.append(little: UInt64(start + 4 * vocabulary.vectors.count))
    let flags =
      (classes.background ? 1 : 0) | (encodingCode(vocabulary.encoding) << 1)
      | (notes.isEmpty ? 0 : notesFlag) | (vocabulary.negatives.isEmpty ? 0 : negativesFlag)
    let classCount = classes.count + (vocabulary.negatives.isEmpty ? 0 : 1)
    for value in [text.count, vocabulary.width, classCount, flags] {
      out.append(little: UInt32(value))
    }
    out.append(contentsOf: packed(vocabulary.modelID))
    out.append(little: UInt32(textByteCount))
    out.append(little: UInt32(0))
    out.append(little: UInt64(notes.bytes.count))
    for index in vocabulary.allClassIndex { out.append(little: UInt32(index)) }
    var offset = 0
    for phrase in text {
      out.append(little: UInt32(offset))
      offset += phrase.count
    }
    out.append(little: UInt32(offset))
    for phrase in text { out.append(contentsOf: phrase) }
    out.append(contentsOf: notes.bytes)
    out.append(contentsOf: repeatElement(0, count: start - out.count))
    out.append(floats: vocabulary.vectors)
    out.store(little: CRC32.of(out[...]), at: checksumOffset)
    return out
  }

  private static func decodeNative(_ bytes: [UInt8]) throws(SegmentationError) -> Vocabulary {
    var reader = ByteCursor(bytes)
    guard bytes[try reader.take(4, "magic")].elementsEqual(magic) else {
      throw SegmentationError(
        .vocabulary("neither .tvoc nor .npz; make it with 'trident text'"), field: "magic")
    }
    let written = try reader.uint32("version")
    guard written == version else {
      throw SegmentationError(
        .vocabulary("version \(written), this program reads \(version)"), field: "version")
    }
    let byteCount = try reader.uint64("byte count")
    guard byteCount == UInt64(bytes.count) else {
      let needed = Int(clamping: byteCount)
      throw SegmentationError(.truncated(needed: needed, available: bytes.count), field: "byte count")
    }
    let phraseCount = try limited(reader.uint32("phrases"), "phrases", ClassList.phraseLimit)
    let width = try limited(reader.uint32("width"), "elements in a vector", Vocabulary.widthLimit)
    let classCount = try limited(reader.uint32("classes"), "classes", ClassList.classLimit)
    let flags = try reader.uint32("flags")
    let modelID = hexadecimal(bytes[try reader.take(32, "model id")])
    let textByteCount = Int(try reader.uint32("text bytes"))
    let stored = try reader.uint32("checksum")
    let noteByteCount = try reader.uint64("note bytes")
    let hasNotes = Int(flags) & notesFlag != 0
    guard Int(flags) < 2 * negativesFlag, hasNotes == (noteByteCount > 0) else {
      throw SegmentationError(.vocabulary("unknown flags; made by a newer program"), field: "flags")
    }
    try checkSum(bytes, stored)
    let hasNegatives = Int(flags) & negativesFlag != 0
    var (classes, negatives) = try readClasses(
      &reader, phraseCount, textByteCount, background: flags & 1 == 1, hasNegatives: hasNegatives)
    let found = classes.count + (hasNegatives ? 1 : 0)
    guard found == classCount else {
      throw SegmentationError(
        .vocabulary("\(found) classes, header says \(classCount)"), field: "classes")
    }
    var notes = VocabularyNotes()
    if hasNotes {
      let range = try reader.take(Int(clamping: noteByteCount), "notes")
      notes = try VocabularyNotes(ByteCursor(bytes, range: range))
    }
    try classes.describe(notes.descriptions)
    let padding = try reader.take((64 - reader.offset % 64) % 64, "padding")
    guard bytes[padding].allSatisfy({ $0 == 0 }) else {
      throw SegmentationError(.vocabulary("padding is not zero"), field: "padding")
    }
    let vectors = try reader.floats(phraseCount * width, "vectors")
    guard reader.remaining == 0 else {
      throw SegmentationError(.vocabulary("\(reader.remaining) bytes too many"), field: "vectors")
    }
    try checkUnit(vectors, width: width)
    return Vocabulary(
      classes: classes, negatives: negatives, width: width, vectors: vectors, modelID: modelID,
      encoding: encodings[Int(flags >> 1) & 3], templates: notes.templates)
  }

  /// Notes stand behind the text.
  private static let notesFlag = 8
  /// The last class is that of negative phrases.
  private static let negativesFlag = 16

  /// As numbers in the flags.
  private static let encodings: [TextEncoding] = [.unstated, .fine, .float32, .published]

  private static func encodingCode(_ encoding: TextEncoding) -> Int {
    encodings.firstIndex(of: encoding) ?? 0
  }

  private static func readClasses(
    _ reader: inout ByteCursor, _ phraseCount: Int, _ textByteCount: Int, background: Bool,
    hasNegatives: Bool
  ) throws(SegmentationError) -> (classes: ClassList, negatives: [String]) {
    var classIndex: [Int] = []
    try reader.fits(8 * phraseCount + 4, "class index")
    for _ in 0..<phraseCount { classIndex.append(Int(try reader.uint32("class index"))) }
    var offsets: [Int] = []
    for _ in 0...phraseCount { offsets.append(Int(try reader.uint32("text offsets"))) }
    let text = try reader.take(textByteCount, "text")
    guard offsets[0] == 0, offsets[phraseCount] == textByteCount,
      zip(offsets, offsets.dropFirst()).allSatisfy(<=)
    else {
      throw SegmentationError(.vocabulary("offsets do not rise from 0 to the end"), field: "text offsets")
    }
    var phrases: [String] = []
    for index in 0..<phraseCount {
      let range = text.lowerBound + offsets[index]..<text.lowerBound + offsets[index + 1]
      guard let phrase = String(validating: reader.buffer[range], as: UTF8.self) else {
        throw SegmentationError(.vocabulary("phrase \(index) is not UTF-8"), field: "text")
      }
      phrases.append(phrase)
    }
    return try Vocabulary.split(
      phrases: phrases, classIndex: classIndex, background: background, hasNegatives: hasNegatives)
  }

  private static func checkSum(_ bytes: [UInt8], _ stored: UInt32) throws(SegmentationError) {
    var crc = CRC32()
    bytes[..<checksumOffset].withUnsafeBytes { crc.update($0) }
    withUnsafeBytes(of: UInt32(0)) { crc.update($0) }
    bytes[(checksumOffset + 4)...].withUnsafeBytes { crc.update($0) }
    let computed = crc.value
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
    try checkLengths(vectors, width: width, least: 1 - 1e-3, "is not of length 1; normalise it")
  }

  /// Means over templates that nobody has divided by their lengths: scores divide. Shorter than a thousandth
  /// a mean says nothing.
  static func checkMeans(_ vectors: [Float], width: Int) throws(SegmentationError) {
    try checkLengths(
      vectors, width: width, least: 1e-3, "is not of length 0.001 to 1; give means of unit vectors")
  }

  private static func checkLengths(
    _ vectors: [Float], width: Int, least: Double, _ problem: String
  ) throws(SegmentationError) {
    for row in 0..<vectors.count / width {
      let square = vectors[row * width..<(row + 1) * width].reduce(0.0) { $0 + Double($1) * Double($1) }
      let length = square.squareRoot()
      guard length >= least, length <= 1 + 1e-3 else {
        throw SegmentationError(.vocabulary("row \(row) \(problem)"), field: "vectors")
      }
    }
  }

  /// The 32 bytes of 64 hexadecimal digits.
  static func packed(_ modelID: String) -> [UInt8] {
    let nibbles = modelID.utf8.map { $0 >= 0x61 ? $0 - 0x61 + 10 : $0 - 0x30 }
    return stride(from: 0, to: nibbles.count - 1, by: 2).map { nibbles[$0] << 4 | nibbles[$0 + 1] }
  }
}

extension ByteCursor {
  /// Fails early if fewer than `count` bytes are left.
  fileprivate func fits(_ count: Int, _ field: String) throws(SegmentationError) {
    if count > remaining {
      throw SegmentationError(.truncated(needed: count, available: remaining), field: field)
    }
  }
}
