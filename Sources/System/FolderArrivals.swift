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
/// - Memory: 4 KiB, and the names that wait, at most 65,536.
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
  /// Names that wait, the newest last, and where in that order each stands: a name that came again counts
  /// once, at its newest place.
  private var waiting: [(name: String, number: Int)] = []
  private var numbers: [String: Int] = [:]
  private var nextNumber = 0
  /// Of `waiting`: what is in front was taken.
  private var first = 0
  package private(set) var droppedCount = 0
  package let brokenCount = 0

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
    if !keepsAll { drop(to: 1) }
    while let name = removeOldest() {
      let path = folder + name
      // Renamed or removed meanwhile; under its new name it arrived again.
      guard let state = State(path) else { continue }
      // Some programs rename a file before they close it: that is told twice.
      if state == last { continue }
      last = state
      return .arrival(Arrival(name: path, path: path, time: state.time))
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
        try addExisting()
      case Int32(CS_FOLDER_GONE):
        throw SystemError(.malformed("the folder was moved or removed"), path: folder)
      default: throw SystemError(.system(action: "watch the folder", code: -news), path: folder)
      }
    }
  }

  private func add(_ name: String) {
    if name.hasPrefix(".") { return }
    waiting.append((name, nextNumber))
    numbers[name] = nextNumber
    nextNumber += 1
    // Places of names that came again.
    if waiting.count - first > 2 * numbers.count + 64 {
      waiting = waiting[first...].filter { numbers[$0.name] == $0.number }
      first = 0
    }
    drop(to: Self.limit)
  }

  /// Gives up the oldest names until so many wait.
  private func drop(to count: Int) {
    while numbers.count > count, removeOldest() != nil { droppedCount += 1 }
  }

  private func removeOldest() -> String? {
    while first < waiting.count {
      let (name, number) = waiting[first]
      first += 1
      // Otherwise it came again, and stands further back.
      if numbers[name] == number {
        numbers[name] = nil
        if 2 * first > waiting.count {
          waiting.removeFirst(first)
          first = 0
        }
        return name
      }
    }
    waiting.removeAll()
    first = 0
    return nil
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
