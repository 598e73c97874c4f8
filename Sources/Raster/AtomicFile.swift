// An output file that appears complete or not at all.

import CRaster

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file written beside its target and renamed over it at the end.
///
/// The temporary name is `.trident-<process>-<number>.part` in the target's directory. A target that is a
/// link is followed, so the link stays. The mode of a replaced file is kept. Temporary files that a killed
/// process left in the directory are removed. The target `-` is standard output, which gets everything at the end.
///
/// - Memory: the object and one copy of the temporary path; for standard output the whole file.
/// - Errors: everything the system refuses, as `RasterError.system`; short writes are continued. After an
///   error, or if the object goes away before `finish()`, the temporary file is removed and the old target
///   stands.
package final class AtomicFile {
  /// The target as the caller named it.
  package let path: String
  private let target: String
  private let temporary: String
  private var descriptor: Int32 = -1
  private var ticket: Int32 = -1

  /// Where bytes go until `finish()`; -1 afterwards. Lent to writers of this target.
  var openDescriptor: Int32 { descriptor }

  /// Creates the temporary file.
  ///
  /// - Errors: the directory is missing or read-only; the target is a directory, a pipe or a device; 64
  ///   outputs are open already.
  package init(path: String) throws(RasterError) {
    self.path = path
    if path == "-" {
      (target, temporary) = (path, "")
      descriptor = cr_create_in_memory()
      guard descriptor >= 0 else {
        throw RasterError(.system(action: "make a file in memory", code: -descriptor), path: "standard output")
      }
      return
    }
    var mode: UInt32 = 0
    var isLink: Int32 = 0
    let code = cr_status(path, &mode, &isLink)
    guard code == 0 || (code == ENOENT && isLink == 0) else {
      throw RasterError(.system(action: "write", code: code), path: path)
    }
    let exists = code == 0
    if exists, let kind = kindOfFile(mode: mode) { throw RasterError(.notAFile(kind: kind), path: path) }
    target = isLink == 0 ? path : try Self.resolve(path)
    _ = cr_sweep(Self.directory(of: target))
    let temporary = Self.directory(of: target) + Self.temporaryName()
    self.temporary = temporary
    // Remembered before it exists, so that a signal in between finds it.
    ticket = cr_temporary_add(temporary)
    guard ticket >= 0 else { throw RasterError(.tooManyOutputs, path: path) }
    descriptor = cr_create_new(temporary)
    guard descriptor >= 0 else {
      cr_temporary_remove(ticket)
      ticket = -1
      throw RasterError(.system(action: "create a file beside it", code: -descriptor), path: path)
    }
    if exists { _ = cr_set_permissions(descriptor, mode) }
  }

  deinit { abort() }

  /// Appends bytes.
  ///
  /// - Errors: a full disk, a quota, a size limit; the temporary file is then already gone.
  package func write(_ bytes: UnsafeRawBufferPointer) throws(RasterError) {
    precondition(descriptor >= 0, "the file is finished")
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    try check(cr_write_all(descriptor, start, bytes.count), "write")
  }

  /// Appends bytes. Memory: none beyond the array. Errors: as above.
  package func write(_ bytes: [UInt8]) throws(RasterError) {
    precondition(descriptor >= 0, "the file is finished")
    // Not a closure around the other method: a typed throw through `withUnsafeBytes` crashes Swift 6.3.1.
    try check(cr_write_all(descriptor, bytes, bytes.count), "write")
  }

  /// Appends the UTF-8 of a text. Memory: a copy of it. Errors: as above.
  package func write(_ text: String) throws(RasterError) { try write(Array(text.utf8)) }

  /// Makes the bytes durable.
  ///
  /// - Errors: as `write`.
  package func sync() throws(RasterError) {
    precondition(descriptor >= 0, "the file is finished")
    try check(fsync(descriptor) == 0 ? 0 : errno, "sync")
  }

  /// Removes the old target, for good: a file that says that others are whole must not outlive them.
  package func removeTarget() {
    if target == "-" { return }
    // Where this is not allowed, `finish()` will not be either, and says so.
    if unlink(target) == 0 { cr_sync_directory(Self.directory(of: target)) }
  }

  /// Makes the bytes durable and gives the file its name.
  ///
  /// - Parameter ready: called when only the new name is missing.
  /// - Errors: as `write`; nothing is left behind then, and the old target stands.
  package func finish(_ ready: () -> Void = {}) throws(RasterError) {
    if target == "-" {
      ready()
      return try printAll()
    }
    try sync()
    ready()
    // Named before it is closed: an open file is locked against other processes' sweeps.
    try check(rename(temporary, target) == 0 ? 0 : errno, "rename")
    close(descriptor)
    descriptor = -1
    cr_temporary_remove(ticket)
    ticket = -1
    cr_sync_directory(Self.directory(of: target))
  }

  /// Sends the finished file to standard output.
  private func printAll() throws(RasterError) {
    defer { abort() }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    var offset: Int64 = 0
    while true {
      let count = cr_read_at(descriptor, &bytes, bytes.count, offset)
      if count == 0 { return }
      let code = count < 0 ? Int32(-count) : cr_write_all(STDOUT_FILENO, bytes, Int(count))
      guard code == 0 else { throw RasterError(.system(action: "write", code: code), path: "standard output") }
      offset += count
    }
  }

  /// Drops the bytes written so far; harmless after `finish()` and when repeated.
  package func abort() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
    guard ticket >= 0 else { return }
    unlink(temporary)
    cr_temporary_remove(ticket)
    ticket = -1
  }

  /// Removes every temporary file of this process. Async-signal-safe: for signal handlers that end the
  /// process.
  package static func unlinkAllTemporaries() { _ = cr_temporary_unlink_all() }

  private func check(_ code: Int32, _ action: String) throws(RasterError) {
    guard code != 0 else { return }
    abort()
    throw RasterError(.system(action: action, code: code), path: path)
  }

  private static func resolve(_ path: String) throws(RasterError) -> String {
    guard let resolved = realpath(path, nil) else {
      throw RasterError(.system(action: "follow the link", code: errno), path: path)
    }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private static func directory(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: 0x2F) else { return "./" }
    return String(path[...slash])
  }

  private static func temporaryName() -> String {
    ".trident-\(getpid())-\(cr_next_number()).part"
  }
}
