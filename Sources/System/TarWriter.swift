// A tar archive, written forward.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Takes finished files in the place of the file system.
package protocol FileReceiver: AnyObject {
  /// `descriptor`: a file in memory of `byteCount` bytes, lent.
  func take(_ name: String, descriptor: Int32, byteCount: Int) throws(SystemError)
}

/// Writes members one after another: the same names and bytes give the same archive, whoever writes it when.
///
/// The archive gets its name in the end. Standard output gets every member at once, and so does a file where
/// files are written whole.
///
/// - Memory: 64 KiB, whatever is written.
/// - Errors: what the system refuses.
/// - Source: POSIX.1-2017, pax, "ustar interchange format".
package final class TarWriter: FileReceiver {
  private let file: AtomicFile?
  private let descriptor: Int32
  private let path: String
  private var digest = SHA256Digest()
  package private(set) var byteCount = 0

  package init(path: String) throws(SystemError) {
    self.path = path == "-" ? "standard output" : path
    if path == "-" {
      (file, descriptor) = (nil, dup(STDOUT_FILENO))
    } else if AtomicFile.writesWhole {
      (file, descriptor) = (nil, open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666))
    } else {
      let file = try AtomicFile(path: path)
      (self.file, descriptor) = (file, file.openDescriptor)
    }
    if descriptor < 0 { throw .errno("write", self.path) }
  }

  deinit { if file == nil && descriptor >= 0 { close(descriptor) } }

  /// SHA-256 of what was written.
  package var sha256Hex: String {
    var copy = digest
    return copy.finishHex()
  }

  package func add(_ name: String, _ bytes: [UInt8]) throws(SystemError) {
    try head(name, bytes.count)
    try write(bytes, bytes.count)
    try pad(bytes.count)
  }

  package func take(_ name: String, descriptor: Int32, byteCount: Int) throws(SystemError) {
    try head(name, byteCount)
    let window = ScratchBytes(count: 1 << 16)
    var done = 0
    while done < byteCount {
      let count = Int(cs_read_at(descriptor, window.base, min(window.count, byteCount - done), Int64(done)))
      guard count > 0 else {
        throw SystemError(.system(action: "read", code: count < 0 ? Int32(-count) : EIO))
      }
      try write(window.base, count)
      done += count
    }
    try pad(byteCount)
  }

  /// Ends the archive and gives it its name.
  package func finish() throws(SystemError) {
    try write([UInt8](repeating: 0, count: 1024), 1024)
    if let file { return try file.finish() }
    guard path != "standard output" else { return }
    let code = fsync(descriptor) == 0 || errno == EINVAL || errno == ENOSYS || errno == ENOTSUP ? 0 : errno
    if code != 0 { throw SystemError(.system(action: "write", code: code), path: path) }
  }

  /// A header; names above 100 bytes get an extended one in front of it.
  private func head(_ name: String, _ count: Int) throws(SystemError) {
    let bytes = Array(name.utf8)
    if bytes.count > 100 {
      // The length counts its own digits.
      let rest = " path=".utf8.count + bytes.count + 1
      var length = rest
      while length != rest + String(length).utf8.count { length = rest + String(length).utf8.count }
      let record = Array("\(length) path=".utf8) + bytes + [0x0A]
      let head = Self.header(Array("extended".utf8), record.count, kind: 0x78)
      try write(head, head.count)
      try write(record, record.count)
      try pad(record.count)
    }
    let head = Self.header(Array(bytes.prefix(100)), count, kind: 0x30)
    try write(head, head.count)
  }

  private static func header(_ name: [UInt8], _ count: Int, kind: UInt8) -> [UInt8] {
    func octal(_ value: Int, _ width: Int) -> [UInt8] {
      let digits = String(value, radix: 8)
      return Array((String(repeating: "0", count: max(0, width - digits.count)) + digits).utf8)
    }
    var block = name + [UInt8](repeating: 0, count: 100 - name.count)
    for field in [octal(0o644, 7), octal(0, 7), octal(0, 7)] { block += field + [0] }
    if count < 1 << 33 {
      block += octal(count, 11) + [0]
    } else {
      let large = (0..<8).reversed().map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
      block += [0x80, 0, 0, 0] + large
    }
    block += octal(0, 11) + [0]
    block += [UInt8](repeating: 0x20, count: 8)
    block.append(kind)
    block += [UInt8](repeating: 0, count: 100)
    block += [0x75, 0x73, 0x74, 0x61, 0x72, 0, 0x30, 0x30]
    block += [UInt8](repeating: 0, count: 512 - block.count)
    let sum = octal(block.reduce(0) { $0 + Int($1) }, 6)
    block.replaceSubrange(148..<156, with: sum + [0, 0x20])
    return block
  }

  private func pad(_ count: Int) throws(SystemError) {
    let rest = (512 - count % 512) % 512
    try write([UInt8](repeating: 0, count: rest), rest)
  }

  private func write(_ bytes: UnsafeRawPointer, _ count: Int) throws(SystemError) {
    digest.update(UnsafeRawBufferPointer(start: bytes, count: count))
    byteCount += count
    let code = cs_write_all(descriptor, bytes, count)
    if code != 0 { throw SystemError(.system(action: "write", code: code), path: path) }
  }
}
