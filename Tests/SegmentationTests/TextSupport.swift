// Files, seeded numbers and environment for the text tests.
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

enum TextSupport {
  static func environment(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }
  }

  static func read(_ path: String) -> [UInt8]? {
    guard let file = fopen(path, "rb") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = fread(&chunk, 1, chunk.count, file)
      if count == 0 { return bytes }
      bytes.append(contentsOf: chunk[..<count])
    }
  }

  static func write(_ path: String, _ bytes: [UInt8]) {
    guard let file = fopen(path, "wb") else { return }
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
  }

  /// A fresh folder under the system's temporary one.
  static func temporaryFolder() -> String {
    var template =
      Array((environment("TMPDIR") ?? "/tmp").utf8CString.dropLast()) + Array("/text-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil)
    return template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  static func remove(_ folder: String) {
    if let directory = opendir(folder) {
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard name != ".", name != ".." else { continue }
        if unlink(folder + "/" + name) != 0 { remove(folder + "/" + name) }
      }
      closedir(directory)
    }
    rmdir(folder)
  }

  /// Lines without their ends; the bytes must be UTF-8.
  static func lines(_ bytes: [UInt8]) -> [String] {
    bytes.split(separator: 10, omittingEmptySubsequences: true).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The repository's root.
  static var root: String {
    #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }
  }

  /// Undoes `\\`, `\t`, `\n`, `\r` and `\u{HEX}`.
  static func unescape(_ text: some StringProtocol) -> String {
    var out = String.UnicodeScalarView()
    var rest = text.unicodeScalars[...]
    while let scalar = rest.popFirst() {
      guard scalar == "\\", let kind = rest.popFirst() else {
        out.append(scalar)
        continue
      }
      switch kind {
      case "t": out.append("\t")
      case "n": out.append("\n")
      case "r": out.append("\r")
      case "u":
        let digits = String(String.UnicodeScalarView(rest.dropFirst().prefix { $0 != "}" }))
        out.append(UInt32(digits, radix: 16).flatMap(Unicode.Scalar.init)!)
        rest = rest.dropFirst(digits.unicodeScalars.count + 2)
      default: out.append(kind)
      }
    }
    return String(out)
  }
}

/// A small seeded generator, so that failures repeat.
struct TextRandom: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    var x = state
    x ^= x >> 33
    x = x &* 0xFF51_AFD7_ED55_8CCD
    return x ^ x >> 29
  }
}
