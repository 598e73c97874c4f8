// What a model is, as 64 hexadecimal digits: SHA-256 over everything that decides its results.

import System

/// The identity of a model file while its parts go by, in file order.
///
/// Sizes, activation and merges belong to it, as do names, shapes, types and bytes of tensors; where the
/// weights came from, and checksums, do not. docs/model-file.md has the definition.
///
/// - Memory: under 1 KiB.
package struct ModelIdentity {
  private var digest = SHA256Digest()

  package init() {}

  /// Whether a key belongs to the identity.
  private static func counts(_ key: String) -> Bool {
    let isMeaningful = key.hasPrefix("trident.") || key.hasPrefix("tokenizer.")
    let isPlaceholder = key == MappedModel.identityKey || key.hasSuffix("_crc32")
    return isMeaningful && !isPlaceholder && !key.hasPrefix("trident.source.")
  }

  /// A key with its value, as GGUF spells both.
  mutating func add(key: String, entry: UnsafeRawBufferPointer) {
    if Self.counts(key) { digest.update(entry) }
  }

  /// Name, shape and type of a tensor, as GGUF spells them but without the offset; its bytes come next.
  mutating func add(_ record: TensorRecord) {
    var name = record.name
    name.withUTF8 { text in
      withUnsafeBytes(of: UInt64(text.count).littleEndian) { digest.update($0) }
      digest.update(UnsafeRawBufferPointer(text))
    }
    withUnsafeBytes(of: UInt32(record.dimensions.count).littleEndian) { digest.update($0) }
    for dimension in record.dimensions {
      withUnsafeBytes(of: UInt64(dimension).littleEndian) { digest.update($0) }
    }
    withUnsafeBytes(of: record.type.rawValue.littleEndian) { digest.update($0) }
  }

  /// Bytes of the tensor that was added last.
  mutating func add(_ bytes: UnsafeRawBufferPointer) { digest.update(bytes) }

  /// The identity; ends it.
  mutating func finish() -> String { digest.finishHex() }
}

extension MappedModel {
  static let identityKey = "trident.model_id"

  /// Whether a text can be an identity: 64 lower-case hexadecimal digits.
  package static func isIdentity(_ text: String) -> Bool {
    text.utf8.count == 64 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }

  /// What the file says it is.
  ///
  /// - Errors: anything but 64 lower-case hexadecimal digits.
  package func claimedIdentity() throws(ContainerError) -> String {
    let text = try string(Self.identityKey)
    guard Self.isIdentity(text) else {
      throw fail(
        .valueOutOfRange(
          expected: "64 lower-case hexadecimal digits", found: "'\(printable(text, limit: 64))'"),
        Self.identityKey)
    }
    return text
  }

  /// Compares what the file says it is with what it holds. A checksum can be made to fit other contents;
  /// this cannot.
  ///
  /// - Parameter progress: called with bytes done and bytes in all, after every few MiB.
  /// - Memory: pages are dropped behind the reading position.
  /// - Errors: `otherIdentity`; `changedWhileOpen`.
  package func proveIdentity(progress: (_ done: Int, _ total: Int) -> Void) throws(ContainerError) {
    try compare(computedIdentity(progress: progress))
    try checkUnchanged()
  }

  /// The identity of the contents.
  package func computedIdentity(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) -> String {
    var identity = identityOfKeys()
    for record in tensors {
      identity.add(record)
      inSteps(record) { bytes, end in
        identity.add(bytes)
        progress(end, byteCount)
      }
    }
    return identity.finish()
  }

  func identityOfKeys() -> ModelIdentity {
    var identity = ModelIdentity()
    for entry in header.entries {
      identity.add(key: entry.key, entry: UnsafeRawBufferPointer(rebasing: mapping.bytes[entry.range]))
    }
    return identity
  }

  func compare(_ found: String) throws(ContainerError) {
    let claimed = try claimedIdentity()
    guard claimed == found else {
      throw fail(.otherIdentity(claimed: claimed, found: found), Self.identityKey)
    }
  }

  /// Bytes read before their pages are dropped.
  static let step = 4 << 20

  /// A tensor's bytes a step at a time; pages behind are dropped.
  func inSteps(_ record: TensorRecord, _ body: (_ bytes: UnsafeRawBufferPointer, _ end: Int) -> Void) {
    var offset = record.offset
    while offset < record.range.upperBound {
      let end = min(offset + Self.step, record.range.upperBound)
      body(UnsafeRawBufferPointer(rebasing: mapping.bytes[offset..<end]), end)
      advise(offset..<end, .dontNeed)
      offset = end
    }
  }
}
