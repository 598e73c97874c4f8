// Reading small files whole and replacing files at once.
import Raster

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Why a file could not be read or written, in words.
package struct FileProblem: Error, Equatable, Sendable {
  package let message: String

  static func system(_ action: String) -> FileProblem {
    FileProblem(message: action + ": " + String(cString: strerror(errno)).lowercased())
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

  /// Bytes of a regular file; nil for anything else.
  package static func size(_ path: String) -> Int? {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    return Int(status.st_size)
  }

  /// Replaces a file: writes beside it and renames.
  package static func replace(_ path: String, with bytes: [UInt8]) throws(RasterError) {
    let file = try AtomicFile(path: path)
    try file.write(bytes)
    try file.finish()
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
