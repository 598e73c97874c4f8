// What a folder holds.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The entries directly inside a folder.
package enum Folder {
  /// Names that end so in any case of letters, hidden ones left out, sorted by bytes: the same order in every locale.
  ///
  /// - Memory: the names.
  /// - Errors: a folder that cannot be opened.
  package static func names(in folder: String, endings: [String]) throws(FileProblem) -> [String] {
    guard let entries = opendir(folder) else { throw .system("cannot read the folder") }
    defer { closedir(entries) }
    var names: [String] = []
    while let entry = readdir(entries) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      let lower = name.lowercased()
      if !name.hasPrefix("."), endings.contains(where: { lower.hasSuffix($0.lowercased()) }) { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }
}
