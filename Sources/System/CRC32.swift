// CRC-32 as zlib computes it.
import CZlib

/// A running CRC-32 (reflected polynomial 0xEDB88320, initial and final value inverted), as zlib and PNG use
/// it.
package struct CRC32: Sendable {
  /// The checksum of all bytes so far.
  package private(set) var value: UInt32 = 0

  package init() {}

  /// The checksum of one buffer.
  package static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    var crc = CRC32()
    crc.update(bytes)
    return crc.value
  }

  /// The checksum of an array, or of a part of one.
  package static func of(_ bytes: ArraySlice<UInt8>) -> UInt32 { bytes.withUnsafeBytes { of($0) } }

  /// Appends `bytes`; pieces may have any size.
  package mutating func update(_ bytes: UnsafeRawBufferPointer) {
    // Without an address zlib would start anew.
    guard let base = bytes.baseAddress else { return }
    value = UInt32(crc32_z(uLong(value), base.assumingMemoryBound(to: Bytef.self), bytes.count))
  }
}
