// Names, folders and what stands at a path.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

package func isFolder(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// Whether a device that is read by characters stands at `path`: a camera, a terminal.
package func isDevice(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFCHR
}

package func fileExists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Bytes of a regular file; nil for anything else.
package func fileSize(_ path: String) -> Int? {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) : nil
}

/// A file by device and inode, however its path is spelled.
package struct FileIdentity: Hashable, Sendable {
  private let device: UInt64
  private let inode: UInt64

  /// What stands at `path`, links followed; nil for nothing.
  package init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    (device, inode) = (UInt64(status.st_dev), UInt64(status.st_ino))
  }
}

/// The last component of a path.
package func fileName(of path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

/// The last component without its extension.
package func baseName(_ path: String) -> String {
  let name = fileName(of: path)
  guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return name }
  return String(name[..<dot])
}

/// The folder part of a path with its slash; empty for the current folder.
package func folder(of path: String) -> String {
  guard let slash = path.utf8.lastIndex(of: 0x2F) else { return "" }
  return String(path[...slash])
}

/// The folder that relative paths begin in; `/` where it is gone.
package func currentFolder() -> String {
  guard let path = getcwd(nil, 0) else { return "/" }
  defer { free(path) }
  return String(cString: path)
}

/// `path` as seen from a folder, which must be there; the whole path where either cannot be resolved.
package func relativePath(_ path: String, from folder: String) -> String {
  func components(_ path: String) -> [Substring]? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved).split(separator: "/").map { Substring($0) }
  }
  guard let file = components(path), let from = components(folder.isEmpty ? "." : folder) else { return path }
  let shared = zip(file, from).prefix { $0 == $1 }.count
  return ([Substring](repeating: "..", count: from.count - shared) + file[shared...]).joined(separator: "/")
}

/// Folders: what is inside them, and making them.
package enum Folder {
  /// Everything inside, sorted by bytes: the same order in every locale.
  ///
  /// - Memory: the names.
  /// - Errors: a folder that cannot be opened.
  package static func names(in folder: String) throws(SystemError) -> [String] {
    guard let entries = opendir(folder) else { throw .errno("read the folder", folder) }
    defer { closedir(entries) }
    var names: [String] = []
    while let entry = readdir(entries) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// Names that end so in any case of letters, hidden ones left out, sorted by bytes.
  ///
  /// - Errors: a folder that cannot be opened.
  package static func names(in folder: String, endings: [String]) throws(SystemError) -> [String] {
    let wanted = endings.map { $0.lowercased() }
    return try names(in: folder).filter { name in
      let lower = name.lowercased()
      return !name.hasPrefix(".") && wanted.contains { lower.hasSuffix($0) }
    }
  }

  /// Makes a folder unless it is there. Errors: the system's.
  package static func make(_ path: String) throws(SystemError) {
    if isFolder(path) { return }
    guard mkdir(path, 0o777) == 0 else { throw .errno("make the folder", path) }
  }

  /// Makes a folder and those above it; another process may make them meanwhile. Errors: the system's.
  package static func makeAll(_ path: String) throws(SystemError) {
    if path.isEmpty || isFolder(path) { return }
    var made = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      made += part + "/"
      do throws(SystemError) { try make(made) } catch {
        if !isFolder(made) { throw error }
      }
    }
  }

  /// Makes a folder that only this user may enter, and those above it; one that is there must be this user's,
  /// and writable for nobody else: what is kept in it is believed.
  package static func makePrivate(_ path: String) throws(SystemError) {
    var end = path.startIndex
    while end < path.endIndex {
      end = path[path.index(after: end)...].firstIndex(of: "/") ?? path.endIndex
      if mkdir(String(path[..<end]), 0o700) != 0, errno != EEXIST, end == path.endIndex {
        throw .errno("make the folder", path)
      }
    }
    var status = stat()
    guard access(path, W_OK | X_OK) == 0, stat(path, &status) == 0 else {
      throw .errno("use the folder", path)
    }
    guard status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
      throw SystemError(.malformed("others may write to this folder"), path: path)
    }
  }
}

/// A file without a name in `TMPDIR`, or `/tmp`: gone with its owner. Where `/tmp` is memory, in `/var/tmp`.
///
/// - Errors: the system's, with the folder.
package final class UnnamedFile {
  package let descriptor: Int32
  package let folder: String
  /// The folder is a tmpfs: what is written takes memory.
  package let isInMemory: Bool

  /// `named`: a folder in place of those.
  package init(in named: String? = nil) throws(SystemError) {
    let usual = cs_is_memory("/tmp") == 1 && access("/var/tmp", W_OK | X_OK) == 0 ? "/var/tmp" : "/tmp"
    folder = named ?? environment("TMPDIR").flatMap { $0.isEmpty ? nil : $0 } ?? usual
    isInMemory = cs_is_memory(folder) == 1
    let nameless = cs_open_nameless(folder)
    if nameless >= 0 {
      descriptor = nameless
      return
    }
    // Not every file system can. Once more where the name cannot be taken away: it would stay.
    var template = Array((folder + "/trident-XXXXXX").utf8CString)
    descriptor = mkstemp(&template)
    guard descriptor >= 0 else { throw .errno("make a file", folder) }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    if unlink(template) != 0 && unlink(template) != 0 {
      let error = SystemError.errno("remove a temporary file", folder)
      close(descriptor)
      throw error
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Makes the file so long, of zeros that have their place on the disk.
  package func reserve(_ byteCount: Int) throws(SystemError) {
    let code = posix_fallocate(descriptor, 0, off_t(byteCount))
    if code != 0 {
      throw SystemError(.system(action: "reserve \(byteCount) bytes", code: code), path: folder)
    }
  }

  package func read(_ bytes: UnsafeMutableRawPointer, count: Int, at offset: Int) throws(SystemError) {
    let got = cs_read_at(descriptor, bytes, count, Int64(offset))
    if got < Int64(count) {
      throw SystemError(.system(action: "read", code: got < 0 ? Int32(-got) : EIO), path: folder)
    }
  }

  package func write(_ bytes: UnsafeRawPointer, count: Int, at offset: Int) throws(SystemError) {
    let code = cs_write_at(descriptor, bytes, count, Int64(offset))
    if code != 0 { throw SystemError(.system(action: "write", code: code), path: folder) }
  }
}
