// Folders and files for tests.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

package func readBytes(_ path: String) -> [UInt8] {
  guard let file = fopen(path, "rb") else { return [] }
  defer { fclose(file) }
  fseek(file, 0, SEEK_END)
  let count = ftell(file)
  rewind(file)
  return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
    filled = count > 0 ? fread(buffer.baseAddress, 1, count, file) : 0
  }
}

package func writeBytes(_ bytes: some Collection<UInt8>, to path: String) {
  guard let file = fopen(path, "wb") else { fatalError("cannot write \(path)") }
  let bytes = Array(bytes)
  fwrite(bytes, 1, bytes.count, file)
  fclose(file)
}

/// An empty directory that goes away with its owner.
package final class Scratch {
  package let path: String

  package init() {
    var template = Array("/tmp/trident-tests-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil)
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  package func file(_ name: String) -> String { path + "/" + name }

  /// Names in the directory, hidden ones included.
  package var names: [String] {
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
