// Files that are completed in a folder, by inotify.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Files that were closed after writing, or moved into a folder. Hidden ones are left alone: programs that
/// write in several steps call them so until they are whole.
///
/// - Memory: 4 KiB; with `keepsAll` the names that wait, at most 65,536.
/// - Errors: a folder that cannot be opened, or goes away.
package final class FolderArrivals: ArrivalSource {
  private static let limit = 65_536
  private let folder: String
  private let keepsAll: Bool
  package let descriptor: Int32
  private let buffer = ScratchBytes(count: 4096)
  private var held = [0, 0]
  /// Of the file that was taken last.
  private var last: State?
  /// Names that wait, the newest last.
  private var waiting: [String] = []
  package private(set) var droppedCount = 0
  package let brokenCount = 0
  /// The system lost track of files; how often.
  package private(set) var lostCount = 0

  /// `includesExisting`: what is there already arrived first, in the order of its last change.
  package init(_ folder: String, includesExisting: Bool = false, keepsAll: Bool = false) throws(SystemError) {
    (self.folder, self.keepsAll) = (folder.hasSuffix("/") ? folder : folder + "/", keepsAll)
    descriptor = cs_folder_watch(folder)
    guard descriptor >= 0 else {
      throw SystemError(.system(action: "watch the folder", code: -descriptor), path: folder)
    }
    if includesExisting { try addExisting() }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  package func take() throws(SystemError) -> Taken {
    try readNews()
    if !keepsAll, waiting.count > 1 {
      droppedCount += waiting.count - 1
      waiting.removeFirst(waiting.count - 1)
    }
    while !waiting.isEmpty {
      let path = folder + waiting.removeFirst()
      // Renamed or removed meanwhile; under its new name it arrived again.
      guard let state = State(path) else { continue }
      // Some programs rename a file before they close it: that is told twice.
      if state == last { continue }
      last = state
      return .arrival(Arrival(name: path, path: path))
    }
    return .nothing
  }

  private func readNews() throws(SystemError) {
    var name = [CChar](repeating: 0, count: 256)
    while true {
      let news = cs_folder_next(
        descriptor, buffer.base.assumingMemoryBound(to: CChar.self), &held, &name)
      switch news {
      case 0: return
      case Int32(CS_FOLDER_FILE): add(name.withUnsafeBufferPointer { String(cString: $0.baseAddress!) })
      case Int32(CS_FOLDER_LOST):
        lostCount += 1
        try addExisting()
      case Int32(CS_FOLDER_GONE):
        throw SystemError(.malformed("the folder was moved or removed"), path: folder)
      default: throw SystemError(.system(action: "watch the folder", code: -news), path: folder)
      }
    }
  }

  private func add(_ name: String) {
    if name.hasPrefix(".") { return }
    waiting.removeAll { $0 == name }
    waiting.append(name)
    if waiting.count > Self.limit {
      waiting.removeFirst()
      droppedCount += 1
    }
  }

  private func addExisting() throws(SystemError) {
    var found: [(time: Double, name: String)] = []
    for name in try Folder.names(in: folder) {
      if let state = State(folder + name) { found.append((state.time, name)) }
    }
    for entry in found.sorted(by: { $0.time < $1.time }) { add(entry.name) }
  }

  /// Which file, and whether it has changed.
  private struct State: Equatable {
    let inode: UInt64
    let byteCount: Int
    let time: Double

    /// Nil for what is no regular file.
    init?(_ path: String) {
      var status = stat()
      guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
      (inode, byteCount) = (UInt64(status.st_ino), Int(status.st_size))
      time = Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) * 1e-9
    }
  }
}
