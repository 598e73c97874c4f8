// Folders, files and numbers of the tests.
import Application
import Raster
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The folder above Tests.
let repository = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(
  separator: "/")

/// Numbers from SplitMix64 at counters seed * 2^32 + i; make_areas.py draws the same.
func draw(_ seed: Int, _ count: Int, below limit: Int) -> [UInt16] {
  (0..<count).map { index in
    var z = ((UInt64(seed) << 32) &+ UInt64(index) &+ 1) &* 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    z ^= z >> 31
    return UInt16((z >> 33) % UInt64(limit))
  }
}

func readText(_ path: String) throws -> String {
  String(decoding: try FileBytes.read(path, limit: 1 << 24), as: UTF8.self)
}

/// A folder that goes away with its owner.
final class Folder {
  let path: String

  init() {
    var template = Array("/tmp/evaluation-tests-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil)
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  /// Writes a file; folders on its way are made.
  @discardableResult
  func write(_ name: String, _ text: String = "x") throws -> String {
    var made = path
    for part in name.split(separator: "/").dropLast() {
      made += "/\(part)"
      mkdir(made, 0o777)
    }
    try FileBytes.replace("\(path)/\(name)", with: Array(text.utf8))
    return "\(path)/\(name)"
  }

  /// Copies a file.
  @discardableResult
  func copy(_ source: String, _ name: String) throws -> String {
    let target = try write(name)
    try FileBytes.replace(target, with: FileBytes.read(source, limit: 1 << 24))
    return target
  }

  deinit { Self.remove(path) }

  private static func remove(_ path: String) {
    if isFolder(path) {
      for name in names(path) { remove("\(path)/\(name)") }
      rmdir(path)
    } else {
      unlink(path)
    }
  }
}

/// Names inside a folder, sorted; temporary files too. None of a folder that is not there.
func names(_ path: String) -> [String] { (try? System.Folder.names(in: path)) ?? [] }
