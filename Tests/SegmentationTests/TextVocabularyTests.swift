// Vocabulary files, NumPy arrays and the cache of text vectors.
import Segmentation
import System
import TestSupport
import Testing

@Suite struct TextVocabularyTests {
  private let temporaryFiles = TemporaryFiles()

  static let modelID = String(repeating: "0123456789abcdef", count: 4)

  static func vocabulary(
    width: Int = 4, encoding: TextEncoding = .fine, negatives: [String] = []
  ) throws -> Vocabulary {
    let classes = try ClassList(arguments: ["sky; wall", "caf\u{E9} \u{1F431}", "x"], background: true)
    var random = TextRandom(state: 11)
    var vectors: [Float] = []
    for _ in classes.phrases + negatives {
      let row = (0..<width).map { _ in Float.random(in: -1...1, using: &random) }
      let length = row.reduce(0) { $0 + $1 * $1 }.squareRoot()
      vectors += row.map { $0 / length }
    }
    return Vocabulary(
      classes: classes, negatives: negatives, width: width, vectors: vectors, modelID: modelID,
      encoding: encoding)
  }

  private func outcome(_ bytes: [UInt8]) -> Result<Vocabulary, SegmentationError> {
    do throws(SegmentationError) {
      return .success(try VocabularyFile.decode(bytes))
    } catch {
      return .failure(error)
    }
  }

  @Test(arguments: [".tvoc", ".npz"]) func roundTrip(suffix: String) throws {
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    let open = try Self.vocabulary(width: 5, negatives: ["wall paper", "floor"])
    try VocabularyFile.write(open, path: folder + "/n" + suffix)
    let read = try VocabularyFile.read(path: folder + "/n" + suffix)
    #expect(read == open && read.negatives == ["wall paper", "floor"] && read.classes.count == 3)
    let vocabulary = try Self.vocabulary(width: 5)
    try VocabularyFile.write(vocabulary, path: folder + "/v" + suffix)
    try VocabularyFile.write(vocabulary, path: folder + "/v" + suffix)
    #expect(try VocabularyFile.read(path: folder + "/v" + suffix) == vocabulary)
    let error = thrownError(SegmentationError.self) {
      try VocabularyFile.write(vocabulary, path: folder + "/none/v" + suffix)
    }
    #expect(error?.exitCode == 6)
    let missing = thrownError(SegmentationError.self) { try VocabularyFile.read(path: folder + "/none") }
    #expect(missing?.exitCode == 4 && missing?.path == folder + "/none")
  }

  /// A file of nothing but negative phrases looks for nothing.
  @Test func refusesNegativesAlone() throws {
    let classes = try ClassList(arguments: ["sky; wall"], background: false)
    let vectors: [Float] = [1, 0, 0, 1]
    let whole = Vocabulary(
      classes: classes, width: 2, vectors: vectors, modelID: Self.modelID, encoding: .fine)
    var bytes = VocabularyFile.encode(whole)
    bytes[28] |= 16
    bytes.replaceSubrange(68..<72, with: [0, 0, 0, 0])
    let sum = CRC32.of(bytes[...])
    for index in 0..<4 { bytes[68 + index] = UInt8(truncatingIfNeeded: sum >> (8 * UInt32(index))) }
    guard case .failure(let error) = outcome(bytes) else {
      Issue.record("accepted")
      return
    }
    #expect(error.description.contains("negative phrases and no class"))
  }

  @Test func refusesAnotherModel() throws {
    let vocabulary = try Self.vocabulary()
    try vocabulary.check(modelID: Self.modelID, width: 4)
    let other = String(repeating: "f", count: 64)
    #expect(throws: SegmentationError(.otherModel(file: Self.modelID, model: other), field: "model id")) {
      try vocabulary.check(modelID: other, width: 4)
    }
    #expect(throws: SegmentationError.self) { try vocabulary.check(modelID: Self.modelID, width: 5) }
  }

  @Test(arguments: [".tvoc", ".npz"]) func refusesEveryTruncation(suffix: String) throws {
    let bytes = try Self.bytes(suffix)
    for length in Effort.sample(0..<bytes.count) {
      if case .success = outcome(Array(bytes[..<length])) {
        Issue.record("\(suffix) accepted at \(length) bytes")
      }
    }
    if case .success = outcome(bytes + [0]) { Issue.record("\(suffix) accepted with a byte too many") }
  }

  @Test(arguments: [".tvoc", ".npz"]) func survivesFlippedBytes(suffix: String) throws {
    let vocabulary = try Self.vocabulary()
    let bytes = try Self.bytes(suffix)
    var random = TextRandom(state: 3)
    for place in Effort.sample(bytes.indices) {
      for mask in [0xFF, 0x01, 0x80, UInt8.random(in: 1...255, using: &random)] {
        var damaged = bytes
        damaged[place] ^= mask
        if case .success(let found) = outcome(damaged) {
          #expect(suffix == ".npz" && found == vocabulary, "\(suffix), byte \(place), mask \(mask)")
        }
      }
    }
    for seed in Effort.sample(0..<2000) {
      var random = TextRandom(state: UInt64(seed))
      var damaged = bytes
      for _ in 0..<Int.random(in: 2...12, using: &random) {
        damaged[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      if case .success(let found) = outcome(damaged) {
        #expect(found == vocabulary, "\(suffix), seed \(seed)")
      }
    }
  }

  /// With a checksum made to fit, the fields behind it are reached.
  @Test func survivesFlippedFieldsWithFittingChecksum() throws {
    let bytes = try Self.bytes(".tvoc")
    for place in Effort.sample(0..<160) {
      for mask in [0xFF, 0x01, 0x80] as [UInt8] {
        var damaged = bytes
        damaged[place] ^= mask
        damaged.replaceSubrange(68..<72, with: [0, 0, 0, 0])
        let sum = Self.crc32(damaged)
        for index in 0..<4 { damaged[68 + index] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * index)) }
        if case .failure(let error) = outcome(damaged) {
          #expect(error.exitCode == 4, "byte \(place) changed by \(mask): \(error)")
        }
      }
    }
  }

  @Test func checksumsAreZlibs() throws {
    #expect(Self.crc32(Array("123456789".utf8)) == 0xCBF4_3926)
    let bytes = try Self.bytes(".tvoc")
    var cleared = bytes
    cleared.replaceSubrange(68..<72, with: [0, 0, 0, 0])
    let stored = bytes[68..<72].reversed().reduce(UInt32(0)) { value, byte in value << 8 | UInt32(byte) }
    #expect(Self.crc32(cleared) == stored)
  }

  @Test func readsWhatNumpySaves() throws {
    let fixture = "Tests/Fixtures/vocabulary/savez.npz"
    let root = TextSupport.root
    let vocabulary = try VocabularyFile.read(path: root + "/" + fixture)
    #expect(vocabulary.classes.phrases == ["sky", "wall", "caf\u{E9} \u{1F431}"])
    #expect(vocabulary.classes.classIndex == [0, 0, 1])
    #expect(vocabulary.classes.background == false)
    #expect(vocabulary.vectors == [1, 0, 0, 1, -0.6, 0.8])
    #expect(vocabulary.modelID == Self.modelID)
    let packed = thrownError(SegmentationError.self) {
      try VocabularyFile.read(path: root + "/Tests/Fixtures/vocabulary/compressed.npz")
    }
    #expect(packed?.description.contains("save it with numpy.savez") == true)
  }

  /// Vectors of a published tower may be means that nobody has divided by their lengths.
  @Test func takesMeansOfATower() throws {
    let folder = TextSupport.root + "/Tests/Fixtures/vocabulary"
    let vocabulary = try VocabularyFile.read(path: folder + "/tower.npz")
    #expect(vocabulary.classes.phrases == ["sky", "wall", "cat"])
    #expect(vocabulary.isBackgroundUnsaid && !vocabulary.classes.background)
    #expect(try !VocabularyFile.read(path: folder + "/savez.npz").isBackgroundUnsaid)
    #expect(vocabulary.vectors == [0.5, 0, 0.56, 0.75, -0.6, 0.8])
    #expect(vocabulary.modelID == Model.textIdentity(ofTower: "siglip2-so400m"))
    #expect(Model.textIdentity(ofTower: Self.modelID) == Self.modelID, "a model file's id stands for itself")
    let long = thrownError(SegmentationError.self) {
      try VocabularyFile.read(path: folder + "/tower-long.npz")
    }
    #expect(long?.description.contains("row 0 is not of length 0.001 to 1") == true)
  }

  private static func bytes(_ suffix: String) throws -> [UInt8] {
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    try VocabularyFile.write(vocabulary(), path: folder + "/v" + suffix)
    return try #require(TextSupport.read(folder + "/v" + suffix))
  }

  /// Bit by bit, independent of the tables under test.
  private static func crc32(_ bytes: [UInt8]) -> UInt32 {
    var value = ~UInt32(0)
    for byte in bytes {
      value ^= UInt32(byte)
      for _ in 0..<8 { value = value & 1 == 0 ? value >> 1 : value >> 1 ^ 0xEDB8_8320 }
    }
    return ~value
  }
}

@Suite struct TextCacheTests {
  private let temporaryFiles = TemporaryFiles()

  private func cache(
    _ base: String?, model: String = TextVocabularyTests.modelID, variant: String = "v", width: Int = 3
  )
    -> TextVectorCache
  {
    TextVectorCache(base: base, modelID: model, variant: variant, width: width)
  }

  @Test func remembers() throws {
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    let cache = cache(folder)
    #expect(cache.problem == nil && cache.folder == folder + "/trident/text")
    #expect(cache.vector(of: "cat") == nil)
    #expect(cache.store([0.6, 0, -0.8], for: "cat"))
    #expect(cache.store([0.6, 0, -0.8], for: "cat"))
    #expect(cache.vector(of: "cat") == [0.6, 0, -0.8])
    #expect(cache.vector(of: "Cat") == nil)
    #expect(self.cache(folder, variant: "w").vector(of: "cat") == nil)
    #expect(self.cache(folder, model: String(repeating: "0", count: 64)).vector(of: "cat") == nil)
    #expect(self.cache(folder, width: 2).vector(of: "cat") == nil)
  }

  @Test func ignoresDamagedFiles() throws {
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    let cache = cache(folder)
    cache.store([0, 1, 0], for: "cat")
    let path = try #require(cache.path(of: "cat"))
    let bytes = try #require(TextSupport.read(path))
    for length in Effort.sample(0..<bytes.count) {
      TextSupport.write(path, Array(bytes[..<length]))
      #expect(cache.vector(of: "cat") == nil, "\(length) bytes")
    }
    for place in Effort.sample(bytes.indices) {
      var damaged = bytes
      damaged[place] ^= 0x10
      TextSupport.write(path, damaged)
      #expect(cache.vector(of: "cat") == nil, "byte \(place)")
    }
    cache.store([0, 1, 0], for: "cat")
    #expect(cache.vector(of: "cat") == [0, 1, 0])
  }

  @Test func unusableFoldersAreNoCache() throws {
    let none = cache(nil)
    #expect(none.folder == nil && none.problem != nil)
    #expect(none.vector(of: "cat") == nil && !none.store([1, 0, 0], for: "cat"))
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    TextSupport.write(folder + "/file", [1])
    let blocked = cache(folder + "/file")
    #expect(blocked.folder == nil && blocked.problem?.contains(folder) == true)
  }

  @Test func writersAtOnceLeaveAWholeFile() async throws {
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    let cache = cache(folder)
    await withTaskGroup(of: Void.self) { group in
      for index in 0..<16 {
        group.addTask { cache.store(index % 2 == 0 ? [1, 0, 0] : [0, 0, 1], for: "cat") }
      }
    }
    let vector = try #require(cache.vector(of: "cat"))
    #expect(vector == [1, 0, 0] || vector == [0, 0, 1])
  }
}
