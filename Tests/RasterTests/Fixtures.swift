// Fixture files, scratch directories and the source pattern of generate.py.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif
import Raster

/// Path of a fixture.
func fixture(_ name: String, at here: String = #filePath) -> String {
  var parts = here.split(separator: "/", omittingEmptySubsequences: false)
  parts.removeLast(2)
  return parts.joined(separator: "/") + "/Fixtures/raster/" + name
}

func readBytes(_ path: String) -> [UInt8] {
  guard let file = fopen(path, "rb") else { return [] }
  defer { fclose(file) }
  fseek(file, 0, SEEK_END)
  let count = ftell(file)
  rewind(file)
  return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
    filled = count > 0 ? fread(buffer.baseAddress, 1, count, file) : 0
  }
}

func writeBytes(_ bytes: some Collection<UInt8>, to path: String) {
  guard let file = fopen(path, "wb") else { fatalError("cannot write \(path)") }
  let bytes = Array(bytes)
  fwrite(bytes, 1, bytes.count, file)
  fclose(file)
}

/// Lines of a text fixture, split at commas.
func table(_ name: String) -> [[String]] {
  String(decoding: readBytes(fixture(name)), as: UTF8.self).split(separator: "\n").map { line in
    line.split(separator: ",").map(String.init)
  }
}

/// An empty directory that goes away with its owner.
final class Scratch {
  let path: String

  init() {
    var template = Array("/tmp/raster-tests-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil)
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  func file(_ name: String) -> String { path + "/" + name }

  /// Names in the directory, hidden ones included.
  var names: [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  deinit {
    for name in names {
      unlink(file(name))
      rmdir(file(name))
    }
    rmdir(path)
  }
}

/// The formula of `pattern` in generate.py.
func pattern(width: Int, height: Int, channels: Int = 3) -> [UInt8] {
  (0..<width * height * channels).map { i in
    var h = UInt32(truncatingIfNeeded: i) &* 2_654_435_761 &+ 12345
    h ^= h >> 15
    h &*= 2_246_822_519
    h ^= h >> 13
    return UInt8(h >> 24)
  }
}

/// Decodes a whole file.
func decode(_ path: String, ignoringChecksums: Bool = false) throws(RasterError) -> [UInt8] {
  let decoder = try PhotoDecoder(path: path, ignoringChecksums: ignoringChecksums)
  try decoder.beginDecoding(allowWholeImage: decoder.wholeImageByteCount < 1 << 26)
  var row = [UInt8](repeating: 0, count: 3 * decoder.storedWidth)
  var pixels: [UInt8] = []
  for _ in 0..<decoder.storedHeight {
    try decoder.readRow(into: &row)
    pixels += row
  }
  return pixels
}

func largestDifference<T: BinaryInteger>(_ a: [T], _ b: [T]) -> Int {
  guard a.count == b.count else { return .max }
  return zip(a, b).reduce(0) { max($0, abs(Int($1.0) - Int($1.1))) }
}
