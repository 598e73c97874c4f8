// The .npz form of a vocabulary: a stored ZIP of NumPy arrays.
import Container
import System

/// Vocabularies as `numpy.savez` writes them and `numpy.load` reads them.
///
/// - Errors: `.vocabulary`, `.truncated`, `.checksum`, `.limit`, `.classes`, with the array's name.
enum VocabularyArchive {
  static let localMagic: [UInt8] = [0x50, 0x4B, 0x03, 0x04]
  private static let arrayNames = [
    "vectors", "class_index", "phrases", "model_id", "background", "text_encoding",
  ]
  private static let entryLimit = 64

  private typealias Archive = ZipDirectory<BytesInMemory<SegmentationError>>

  /// The bytes of the archive; same vocabulary, same bytes.
  static func encode(_ vocabulary: Vocabulary) -> [UInt8] {
    let (classes, phrases) = (vocabulary.classes, vocabulary.allPhrases)
    var vectors = NPYHeader.encode(type: "<f4", shape: [phrases.count, vocabulary.width])
    vectors.append(floats: vocabulary.vectors)
    var indices = NPYHeader.encode(type: "<i4", shape: [phrases.count])
    for index in vocabulary.allClassIndex { indices.append(little: index) }
    let background = NPYHeader.encode(type: "|b1", shape: []) + [classes.background ? 1 : 0]
    let arrays = [
      vectors, indices, strings(phrases, shape: [phrases.count]),
      strings([vocabulary.modelID], shape: []), background,
      strings([vocabulary.encoding.rawValue], shape: []),
    ]
    var more = notes(VocabularyNotes(vocabulary))
    if !vocabulary.negatives.isEmpty {
      more.append(("negatives.npy", NPYHeader.encode(type: "|b1", shape: []) + [1]))
    }
    return storedZip(zip(arrayNames, arrays).map { (name: "\($0).npy", bytes: $1) } + more)
  }

  /// Arrays that only vocabularies with templates of their own, or with descriptions, have.
  private static func notes(_ notes: VocabularyNotes) -> [(name: String, bytes: [UInt8])] {
    var arrays: [(name: String, bytes: [UInt8])] = []
    if notes.templates != PromptTemplates.identifier {
      arrays.append(("templates.npy", strings([notes.templates], shape: [])))
    }
    let described = notes.descriptions
    if !described.isEmpty {
      var labels = NPYHeader.encode(type: "<i4", shape: [described.count])
      for (label, _) in described { labels.append(little: UInt32(label)) }
      arrays.append(("described_class.npy", labels))
      arrays.append(("descriptions.npy", strings(described.map(\.line), shape: [described.count])))
    }
    return arrays
  }

  private static func readNotes(_ archive: Archive) throws(SegmentationError) -> VocabularyNotes {
    var notes = VocabularyNotes()
    if archive.entry(named: "templates.npy") != nil {
      notes.templates = try readStrings("templates", archive, shape: [])[0]
      try VocabularyNotes.check(notes.templates)
    }
    guard archive.entry(named: "described_class.npy") != nil else { return notes }
    var (reader, shape, type) = try array("described_class", archive)
    guard type == "<i4", shape.count == 1, (1...ClassList.classLimit).contains(shape[0]) else {
      throw broken("needs int32 [described classes]", "described_class")
    }
    let lines = try readStrings(
      "descriptions", archive, shape: shape, limit: ClassDescription.byteLimit)
    for line in lines {
      let label = Int32(bitPattern: try reader.uint32("described_class"))
      notes.descriptions.append((Int(label), line))
    }
    return notes
  }

  /// Takes an archive apart; other arrays in it are ignored.
  static func decode(_ bytes: [UInt8]) throws(SegmentationError) -> Vocabulary {
    let archive = try Archive(file: BytesInMemory(bytes))
    try limit(archive.entries.count, "arrays in the archive", entryLimit)
    // A damaged name would be another array's, and be ignored.
    for entry in archive.entries { _ = try archive.bodyOffset(of: entry) }
    var (reader, shape, type) = try array("vectors", archive)
    guard type == "<f4", shape.count == 2, shape[0] > 0, shape[1] > 0 else {
      throw broken("needs float32 [phrases, width]", "vectors")
    }
    try limit(shape[0], "phrases", ClassList.phraseLimit)
    try limit(shape[1], "elements in a vector", Vocabulary.widthLimit)
    let (phraseCount, width) = (shape[0], shape[1])
    let vectors = try reader.floats(phraseCount * width, "vectors")
    (reader, shape, type) = try array("class_index", archive)
    guard type == "<i4" || type == "<i8", shape == [phraseCount] else {
      throw broken("needs int32 or int64 [\(phraseCount)]", "class_index")
    }
    var classIndex: [Int] = []
    for _ in 0..<phraseCount {
      let value =
        type == "<i4"
        ? Int(Int32(bitPattern: try reader.uint32("class_index")))
        : Int(Int64(bitPattern: try reader.uint64("class_index")))
      classIndex.append(value)
    }
    let phrases = try readStrings("phrases", archive, shape: [phraseCount])
    // Vectors of a published tower that is not a model of ours name the tower.
    let isOfTower =
      archive.entry(named: "model_id.npy") == nil && archive.entry(named: "text_model.npy") != nil
    if isOfTower {
      try VocabularyFile.checkMeans(vectors, width: width)
    } else {
      try VocabularyFile.checkUnit(vectors, width: width)
    }
    let modelID =
      isOfTower
      ? Model.textIdentity(ofTower: try readStrings("text_model", archive, shape: [])[0])
      : try readStrings("model_id", archive, shape: [])[0]
    guard MappedModel.isIdentity(modelID) else {
      throw broken("needs 64 lower-case hexadecimal digits", "model_id")
    }
    let isUnsaid = archive.entry(named: "background.npy") == nil
    guard isOfTower || !isUnsaid else {
      throw broken("one bool must say whether class 0 is what nothing else is", "background")
    }
    var (classes, negatives) = try Vocabulary.split(
      phrases: phrases, classIndex: classIndex, background: try readFlag("background", archive),
      hasNegatives: try readFlag("negatives", archive))
    let notes = try readNotes(archive)
    try classes.describe(notes.descriptions)
    var vocabulary = Vocabulary(
      classes: classes, negatives: negatives, width: width, vectors: vectors, modelID: modelID,
      encoding: try encoding(archive, isOfTower: isOfTower), templates: notes.templates)
    vocabulary.isBackgroundUnsaid = isUnsaid
    return vocabulary
  }

  /// One bool; false where it is missing.
  private static func readFlag(_ name: String, _ archive: Archive) throws(SegmentationError) -> Bool {
    if archive.entry(named: name + ".npy") == nil { return false }
    var (reader, shape, type) = try array(name, archive)
    let flag = try reader.integer(UInt8.self, name)
    guard type == "|b1", shape == [], flag <= 1 else { throw broken("needs one bool", name) }
    return flag == 1
  }

  private static func encoding(_ archive: Archive, isOfTower: Bool) throws(SegmentationError) -> TextEncoding
  {
    guard archive.entry(named: "text_encoding.npy") != nil else { return isOfTower ? .published : .unstated }
    let name = try readStrings("text_encoding", archive, shape: [])[0]
    guard let encoding = TextEncoding(rawValue: name) else {
      throw broken("'\(name)' is unknown; made by a newer program", "text_encoding")
    }
    return encoding
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
    _ name: String, _ archive: Archive, shape expected: [Int], limit most: Int = ClassList.phraseByteLimit
  ) throws(SegmentationError) -> [String] {
    var (reader, shape, type) = try array(name, archive)
    guard type.hasPrefix("<U"), let width = Int(type.dropFirst(2)), width > 0, shape == expected else {
      throw broken("needs strings ('<U') of shape \(expected)", name)
    }
    try limit(width, "characters in a phrase", most)
    let count = expected.first ?? 1
    guard reader.remaining == 4 * width * count else {
      throw SegmentationError(.truncated(needed: 4 * width * count, available: reader.remaining), field: name)
    }
    var out: [String] = []
    for _ in 0..<count {
      var scalars = String.UnicodeScalarView()
      var ended = false
      for _ in 0..<width {
        let value = try reader.uint32(name)
        guard let scalar = Unicode.Scalar(value), value == 0 || !ended else {
          throw broken("string \(out.count) is not text", name)
        }
        if value == 0 { ended = true } else { scalars.append(scalar) }
      }
      out.append(String(scalars))
    }
    return out
  }

  /// One array: a cursor at its data, its shape and type.
  private static func array(
    _ name: String, _ archive: Archive
  ) throws(SegmentationError) -> (ByteCursor, [Int], String) {
    guard let entry = archive.entry(named: "\(name).npy") else {
      throw broken("no such array in the archive", name)
    }
    guard !entry.isDeflated, !entry.isEncrypted else {
      throw broken("compressed or encrypted; save it with numpy.savez", name)
    }
    let start = try archive.bodyOffset(of: entry)
    var cursor = ByteCursor(archive.file.held, range: start..<start + entry.byteCount)
    let computed = CRC32.of(cursor.buffer[start..<start + entry.byteCount])
    guard computed == entry.checksum else {
      throw SegmentationError(.checksum(stored: entry.checksum, computed: computed), field: name)
    }
    let (type, shape) = try NPYHeader.decode(&cursor, name)
    return (cursor, shape, type)
  }

  private static func limit(_ value: Int, _ what: String, _ limit: Int) throws(SegmentationError) {
    if value > limit {
      throw SegmentationError(.limit(what: what, value: value, limit: limit), field: "archive")
    }
  }

  private static func broken(_ problem: String, _ field: String) -> SegmentationError {
    SegmentationError(.vocabulary(problem), field: field)
  }
}
