// Text vectors kept between runs, one small file a phrase.
import Container
import System

/// A folder of text vectors keyed by model, variant and phrase.
///
/// The variant names everything else that shapes a vector: the template list and the precision. A file
/// holds its whole key, so a collision of names is a miss; files are replaced at once, so processes may
/// share the folder. Nothing here fails: without a usable folder or file every look-up is a miss.
///
/// - Memory: one vector at a time.
package struct TextVectorCache: Sendable {
  /// Folder of the files, or nil if none can be used.
  package let folder: String?
  /// Why there is no folder.
  package let problem: String?
  private let modelID: String
  private let variant: String
  private let width: Int
  private static let magic: [UInt8] = [0x54, 0x56, 0x45, 0x43, 1, 0, 0, 0]

  /// Uses `$XDG_CACHE_HOME/trident/text`, or `~/.cache/trident/text`; creates it if need be.
  package init(modelID: String, variant: String, width: Int) {
    self.init(base: userFolder("XDG_CACHE_HOME", "/.cache"), modelID: modelID, variant: variant, width: width)
  }

  /// Uses `base/trident/text`; nil for `base` means there is none.
  package init(base: String?, modelID: String, variant: String, width: Int) {
    precondition(MappedModel.isIdentity(modelID), "a model id is 64 lower-case hexadecimal digits")
    self.modelID = modelID
    self.variant = variant
    self.width = width
    guard let base else {
      folder = nil
      problem = "neither XDG_CACHE_HOME nor HOME names a folder"
      return
    }
    let path = base + "/trident/text"
    do throws(SystemError) {
      try Folder.makePrivate(path)
      folder = path
      problem = nil
    } catch {
      folder = nil
      problem = error.description
    }
  }

  /// The stored unit vector of a phrase, or nil.
  package func vector(of phrase: String) -> [Float]? {
    guard let path = path(of: phrase) else { return nil }
    let key = key(of: phrase)
    let expected = key.count + 4 * width + 4
    guard let bytes = try? FileBytes.read(path, limit: expected), bytes.count == expected,
      bytes.starts(with: key)
    else { return nil }
    var tail = ByteCursor(bytes, range: key.count..<expected)
    guard let vector = try? tail.floats(width, "vector"), let stored = try? tail.uint32("checksum"),
      stored == CRC32.of(bytes.dropLast(4)),
      (try? VocabularyFile.checkUnit(vector, width: width)) != nil
    else { return nil }
    return vector
  }

  /// Stores a unit vector; false if it could not be written.
  @discardableResult
  package func store(_ vector: [Float], for phrase: String) -> Bool {
    precondition(vector.count == width, "a vector of another width")
    guard let path = path(of: phrase) else { return false }
    var bytes = key(of: phrase)
    bytes.append(floats: vector)
    bytes.append(little: CRC32.of(bytes[...]))
    return (try? FileBytes.replace(path, with: bytes)) != nil
  }

  /// File of a phrase, or nil without a folder.
  package func path(of phrase: String) -> String? {
    guard let folder else { return nil }
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in key(of: phrase) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    let bytes = stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: hash >> UInt64($0)) }
    return folder + "/" + hexadecimal(bytes) + ".tvec"
  }

  /// Start of a phrase's file: magic, model, sizes, variant, phrase.
  private func key(of phrase: String) -> [UInt8] {
    var key = Self.magic + VocabularyFile.packed(modelID)
    for count in [width, variant.utf8.count, phrase.utf8.count] { key.append(little: UInt32(count)) }
    return key + variant.utf8 + phrase.utf8
  }
}
