// An output file that appears complete or not at all.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file written beside its target and renamed over it at the end.
///
/// The temporary name is `.trident-<random>.part` in the target's folder: two containers that share the
/// folder may share process numbers too. A target that is a link is followed, so the link stays, unless it is
/// another user's. The mode of a replaced file is kept. Temporary files that a killed process left in the
/// folder are removed. The target `-` is standard output, which gets everything at the end.
///
/// - Memory: the object and one copy of the temporary path; for standard output the whole file.
/// - Errors: everything the system refuses, as `.system`; short writes are continued. After an error, or if
///   the object goes away before `finish()`, the temporary file is removed and the old target stands.
package final class AtomicFile {
  /// The target as the caller named it.
  package let path: String
  private let target: String
  /// Where the bytes are until `finish()`.
  package let temporary: String
  private var descriptor: Int32 = -1
  private var ticket: Int32 = -1
  private var isSynced = false

  /// Files are written whole, nothing is renamed or deleted. To be set before the first file, or never.
  nonisolated(unsafe) package static var writesWhole = false
  /// Gets finished files whose path begins with `prefix`, named without it, in the place of the file system.
  /// To be set by one thread, while no such file is open.
  nonisolated(unsafe) package static var receiver: (prefix: String, taker: any FileReceiver)?

  /// Where bytes go until `finish()`; -1 afterwards. Lent to libraries that write by descriptor.
  package var openDescriptor: Int32 { descriptor }

  /// Creates the temporary file.
  ///
  /// - Errors: the directory is missing or read-only; the target is a directory, a pipe or a device; 512
  ///   outputs are open already.
  package init(path: String) throws(SystemError) {
    self.path = path
    if path == "-" {
      (target, temporary) = (path, "")
      descriptor = try Self.inMemory("standard output")
      return
    }
    if let receiver = Self.receiver, path.hasPrefix(receiver.prefix) {
      (target, temporary) = (path, "")
      descriptor = try Self.inMemory(path)
      return
    }
    target = try Self.followingLinks(path)
    var mode: UInt32 = 0
    let code = cs_status(target, &mode)
    guard code == 0 || code == ENOENT else {
      throw SystemError(.system(action: "write", code: code), path: path)
    }
    let exists = code == 0
    if exists, let kind = kindOfFile(mode: mode) { throw SystemError(.notAFile(kind: kind), path: path) }
    if Self.writesWhole {
      guard isFolder(Self.folder(of: target)) else {
        throw SystemError(.system(action: "create", code: ENOENT), path: path)
      }
      temporary = ""
      descriptor = try Self.inMemory(path)
      return
    }
    _ = cs_sweep(Self.folder(of: target))
    temporary =
      Self.folder(of: target) + ".trident-\(String(UInt64.random(in: 0...UInt64.max), radix: 16)).part"
    // Remembered before it exists, so that a signal in between finds it.
    ticket = cs_temporary_add(temporary)
    guard ticket >= 0 else { throw SystemError(.tooManyOutputs, path: path) }
    descriptor = cs_create_new(temporary)
    guard descriptor >= 0 else {
      cs_temporary_remove(ticket)
      ticket = -1
      throw SystemError(.system(action: "create a file beside it", code: -descriptor), path: path)
    }
    if exists { _ = cs_set_permissions(descriptor, mode) }
  }

  /// A file that only exists in memory, until `bytes` are taken.
  package init(inMemory name: String) throws(SystemError) {
    (path, target, temporary) = (name, "", "")
    descriptor = try Self.inMemory(name)
  }

  private static func inMemory(_ name: String) throws(SystemError) -> Int32 {
    let descriptor = cs_create_in_memory()
    guard descriptor >= 0 else {
      throw SystemError(.system(action: "make a file in memory", code: -descriptor), path: name)
    }
    return descriptor
  }

  deinit { abort() }

  /// All bytes so far of a file in memory; one on disk is only open for writing.
  package func bytes() throws(SystemError) -> [UInt8] {
    let byteCount = Int(lseek(descriptor, 0, SEEK_END))
    return try InputFile<SystemError>(descriptor: dup(descriptor), byteCount: byteCount, path: path).bytes(
      at: 0, count: byteCount)
  }

  /// Appends bytes.
  ///
  /// - Errors: a full disk, a quota, a size limit; the temporary file is then already gone.
  package func write(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
    precondition(descriptor >= 0, "the file is finished")
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    try check(cs_write_all(descriptor, start, bytes.count), "write")
  }

  /// Appends bytes. Memory: none beyond the array. Errors: as above.
  package func write(_ bytes: [UInt8]) throws(SystemError) {
    precondition(descriptor >= 0, "the file is finished")
    // Not a closure around the other method: a typed throw through `withUnsafeBytes` crashes Swift 6.3.1.
    try check(cs_write_all(descriptor, bytes, bytes.count), "write")
  }

  /// Appends the UTF-8 of a text. Memory: a copy of it. Errors: as above.
  package func write(_ text: String) throws(SystemError) { try write(Array(text.utf8)) }

  /// Overwrites the first bytes; writing goes on at the end.
  ///
  /// - Errors: as `write`.
  package func writeStart(_ bytes: [UInt8]) throws(SystemError) {
    try check(lseek(descriptor, 0, SEEK_SET) == 0 ? 0 : errno, "rewind")
    try write(bytes)
    try check(lseek(descriptor, 0, SEEK_END) >= 0 ? 0 : errno, "wind")
  }

  /// Makes the bytes durable; none may be written afterwards.
  ///
  /// - Errors: as `write`.
  package func sync() throws(SystemError) {
    precondition(descriptor >= 0, "the file is finished")
    if !isSynced { try check(fsync(descriptor) == 0 ? 0 : errno, "sync") }
    isSynced = true
  }

  /// Removes the old target, for good: a file that says that others are whole must not outlive them.
  package func removeTarget() {
    if temporary.isEmpty { return }
    // Where this is not allowed, `finish()` will not be either, and says so.
    if unlink(target) == 0 { cs_sync_directory(Self.folder(of: target)) }
  }

  /// Makes the bytes durable and gives the file its name.
  ///
  /// - Errors: as `write`; nothing is left behind then, and the old target stands.
  package func finish() throws(SystemError) {
    if target == "-" { return try sendAll(to: STDOUT_FILENO, called: "standard output") }
    if let receiver = Self.receiver, path.hasPrefix(receiver.prefix) {
      defer { abort() }
      let count = Int(lseek(descriptor, 0, SEEK_END))
      let name = String(path.dropFirst(receiver.prefix.count))
      return try receiver.taker.take(name, descriptor: descriptor, byteCount: count)
    }
    if temporary.isEmpty { return try writeWhole() }
    try sync()
    // Named before it is closed: an open file is locked against other processes' sweeps.
    try check(rename(temporary, target) == 0 ? 0 : errno, "rename")
    close(descriptor)
    descriptor = -1
    cs_temporary_remove(ticket)
    ticket = -1
    cs_sync_directory(Self.folder(of: target))
  }

  /// Writes the finished file under its name, from the first byte to the last.
  private func writeWhole() throws(SystemError) {
    var file = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o666)
    if file < 0, errno == EEXIST {
      // Storage may refuse to replace what an earlier run left of the same work.
      if isWrittenAlready() { return abort() }
      file = open(target, O_WRONLY | O_TRUNC | O_CLOEXEC)
    }
    guard file >= 0 else { throw .errno("write", path) }
    do throws(SystemError) { try sendAll(to: file, called: path) } catch {
      close(file)
      throw error
    }
    // Storage without this call keeps what was written when the file is closed, and says so then.
    let code = fsync(file) == 0 || errno == EINVAL || errno == ENOSYS || errno == ENOTSUP ? 0 : errno
    let closed = close(file) == 0 ? 0 : errno
    guard code == 0, closed == 0 else {
      throw SystemError(.system(action: "write", code: code == 0 ? closed : code), path: path)
    }
  }

  /// The target holds these bytes.
  private func isWrittenAlready() -> Bool {
    guard let there = try? InputFile<SystemError>.open(path: target),
      there.byteCount == Int(lseek(descriptor, 0, SEEK_END))
    else { return false }
    var own = [UInt8](repeating: 0, count: 1 << 16)
    var offset = 0
    while offset < there.byteCount {
      let count = Int(cs_read_at(descriptor, &own, own.count, Int64(offset)))
      guard count > 0, let other = try? there.bytes(at: offset, upTo: count), other == Array(own[..<count])
      else { return false }
      offset += count
    }
    return true
  }

  /// Sends the finished file on.
  private func sendAll(to receiver: Int32, called name: String) throws(SystemError) {
    defer { abort() }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    var offset: Int64 = 0
    while true {
      let count = cs_read_at(descriptor, &bytes, bytes.count, offset)
      if count == 0 { return }
      let code = count < 0 ? Int32(-count) : cs_write_all(receiver, bytes, Int(count))
      guard code == 0 else { throw SystemError(.system(action: "write", code: code), path: name) }
      offset += count
    }
  }

  /// Drops the bytes written so far; harmless after `finish()` and when repeated.
  package func abort() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
    guard ticket >= 0 else { return }
    unlink(temporary)
    cs_temporary_remove(ticket)
    ticket = -1
  }

  /// Removes every temporary file of this process. Async-signal-safe: for signal handlers that end the
  /// process.
  package static func unlinkAllTemporaries() { _ = cs_temporary_unlink_all() }

  private func check(_ code: Int32, _ action: String) throws(SystemError) {
    guard code != 0 else { return }
    abort()
    throw SystemError(.system(action: action, code: code), path: path)
  }

  /// What a chain of links ends in, whether it exists or not. Anyone may have put a link into a folder that
  /// all may write to, so those of others, but for the system's own, are not followed.
  private static func followingLinks(_ path: String) throws(SystemError) -> String {
    var target = path
    for _ in 0..<40 {
      var status = stat()
      guard lstat(target, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else {
        // A link to nothing: what is not there was not named by the caller.
        if target != path, lstat(target, &status) != 0 { throw .errno("follow the link", path) }
        return target
      }
      guard status.st_uid == geteuid() || status.st_uid == 0 else {
        throw SystemError(.malformed("is another user's link; name the file that it stands for"), path: path)
      }
      // `CChar` itself: handed bytes of the other sign, Swift 6.0 for ARM writes over the array, not into it.
      var name = [CChar](repeating: 0, count: Int(PATH_MAX))
      let count = readlink(target, &name, name.count)
      guard count > 0, count < name.count else { throw .errno("follow the link", path) }
      let text = name.withUnsafeBytes { String(decoding: $0[..<count], as: UTF8.self) }
      target = text.hasPrefix("/") ? text : folder(of: target) + text
    }
    throw SystemError(.system(action: "follow the link", code: ELOOP), path: path)
  }

  private static func folder(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: 0x2F) else { return "./" }
    return String(path[...slash])
  }
}
