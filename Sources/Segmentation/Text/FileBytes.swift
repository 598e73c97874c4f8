// Reading small files whole and replacing files at once, on the C library alone.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Why a file could not be read or written, in words.
package struct FileProblem: Error, Equatable, Sendable {
  package let message: String

  static func system(_ action: String) -> FileProblem {
    FileProblem(message: action + ": " + String(cString: strerror(errno)))
  }
}

/// Whole files as bytes.
package enum FileBytes {
  /// Reads a regular file of at most `limit` bytes.
  ///
  /// - Memory: the file's size.
  package static func read(_ path: String, limit: Int) throws(FileProblem) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .system("cannot open") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .system("cannot read") }
    guard status.st_mode & S_IFMT == S_IFREG else { throw FileProblem(message: "not a regular file") }
    let size = Int(status.st_size)
    guard size <= limit else { throw FileProblem(message: "\(size) bytes, at most \(limit) are possible") }
    var failure = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      while count < size {
        let got = readSome(descriptor, buffer.baseAddress! + count, size - count)
        if got < 0, errno == EINTR { continue }
        if got < 0 { failure = 1 }
        if got <= 0 { break }
        count += got
      }
    }
    if failure != 0 { throw .system("cannot read") }
    return bytes
  }

  /// Replaces a file: writes beside it and renames.
  package static func replace(_ path: String, with bytes: [UInt8]) throws(FileProblem) {
    var file = try AtomicFile(path: path)
    try file.write(bytes)
    try file.commit()
  }

  /// The string of valid UTF-8, else nil.
  static func string(utf8 bytes: some Sequence<UInt8>) -> String? {
    var decoder = UTF8()
    var iterator = bytes.makeIterator()
    var scalars = String.UnicodeScalarView()
    while true {
      switch decoder.decode(&iterator) {
      case .scalarValue(let scalar): scalars.append(scalar)
      case .emptyInput: return String(scalars)
      case .error: return nil
      }
    }
  }

  fileprivate static func readSome(_ file: Int32, _ buffer: UnsafeMutablePointer<UInt8>, _ count: Int) -> Int
  {
    #if canImport(Glibc)
      Glibc.read(file, buffer, count)
    #else
      Musl.read(file, buffer, count)
    #endif
  }
}

/// A file that appears under its name only when complete.
///
/// - Memory: no buffer of its own.
/// - Errors: `FileProblem`; without `commit` the unfinished file is removed.
package struct AtomicFile: ~Copyable {
  private let path: String
  private let partialPath: String
  private var descriptor: Int32

  /// Creates the unfinished file beside `path`, under a name no other process uses.
  package init(path: String) throws(FileProblem) {
    // Nothing is stored before the last throw: Swift 6.0 miscompiles a noncopyable value left half-made.
    let made = try Self.create(beside: path)
    self.path = path
    partialPath = made.path
    descriptor = made.descriptor
  }

  private static func create(beside path: String) throws(FileProblem) -> (path: String, descriptor: Int32) {
    var attempt = 0
    while true {
      let partial = "\(path).\(getpid()).\(attempt).part"
      let file = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      if file >= 0 { return (partial, file) }
      attempt += 1
      if errno != EEXIST || attempt > 100 { throw .system("cannot create") }
    }
  }

  deinit {
    if descriptor >= 0 {
      close(descriptor)
      unlink(partialPath)
    }
  }

  package mutating func write(_ bytes: [UInt8]) throws(FileProblem) {
    if let problem = bytes.withUnsafeBytes({ writeAll($0) }) { throw problem }
  }

  package mutating func write(_ bytes: UnsafeRawBufferPointer) throws(FileProblem) {
    if let problem = writeAll(bytes) { throw problem }
  }

  private func writeAll(_ bytes: UnsafeRawBufferPointer) -> FileProblem? {
    var rest = bytes[...]
    while !rest.isEmpty {
      let buffer = UnsafeRawBufferPointer(rebasing: rest)
      #if canImport(Glibc)
        let count = Glibc.write(descriptor, buffer.baseAddress, buffer.count)
      #else
        let count = Musl.write(descriptor, buffer.baseAddress, buffer.count)
      #endif
      if count < 0, errno == EINTR { continue }
      if count <= 0 { return .system("cannot write") }
      rest = rest.dropFirst(count)
    }
    return nil
  }

  /// Gives the file its name, replacing an older one.
  package mutating func commit() throws(FileProblem) {
    let file = descriptor
    descriptor = -1
    guard close(file) == 0, rename(partialPath, path) == 0 else {
      let problem = FileProblem.system("cannot write")
      unlink(partialPath)
      throw problem
    }
  }
}
