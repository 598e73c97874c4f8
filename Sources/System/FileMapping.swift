// A file mapped read-only, and the calls that steer which of its pages are in memory.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Which file it is and when it was last written to or renamed, by the system's books.
///
/// The time of a change (ctime) cannot be set back by who owns the file, as that of a modification can.
package struct FileStamp: Equatable, Sendable {
  package let device: UInt64
  package let inode: UInt64
  package let byteCount: Int
  private let modified: [Int]
  private let changed: [Int]

  init?(_ descriptor: Int32) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return nil }
    (device, inode) = (UInt64(status.st_dev), UInt64(status.st_ino))
    byteCount = Int(status.st_size)
    modified = [Int(status.st_mtim.tv_sec), Int(status.st_mtim.tv_nsec)]
    changed = [Int(status.st_ctim.tv_sec), Int(status.st_ctim.tv_nsec)]
  }

  /// Size and time of modification agree.
  func hasContents(of other: FileStamp) -> Bool { byteCount == other.byteCount && modified == other.modified }

  /// One line that two stamps share only if they are equal.
  package var text: String {
    ([Int(bitPattern: UInt(device)), Int(bitPattern: UInt(inode)), byteCount] + modified + changed)
      .map { String($0) }.joined(separator: " ")
  }

  /// Whether a second has passed since the last change: another one now would have another time.
  package var isSettled: Bool {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int(now.tv_sec) > changed[0] + 1
  }
}

/// Owns a descriptor and a read-only mapping of the whole file.
///
/// - Memory: address space only; pages come and go with use. None of it counts as private memory. A copy is
///   private memory of the file's size.
/// - Errors: directories, devices, pipes and empty files are refused.
package final class FileMapping: @unchecked Sendable {
  package let bytes: UnsafeRawBufferPointer
  package let pageByteCount: Int
  /// As it was when it was mapped.
  package let stamp: FileStamp?
  private let descriptor: Int32
  private let isCopy: Bool

  /// `copies`: the bytes are read into memory, so that a file that is cut is an error and never a signal.
  package init(path: String, copies: Bool = false) throws(SystemError) {
    let byteCount: Int
    (descriptor, byteCount) = try openRegularFile(path)
    guard byteCount > 0 else {
      close(descriptor)
      throw SystemError(.empty, path: path)
    }
    isCopy = copies
    stamp = FileStamp(descriptor)
    let base =
      copies
      ? mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      : mmap(nil, byteCount, PROT_READ, MAP_SHARED, descriptor, 0)
    guard let base, base != MAP_FAILED else {
      let error = SystemError.errno("map", path)
      close(descriptor)
      throw error
    }
    let got = copies ? Int(cs_read_at(descriptor, base, byteCount, 0)) : byteCount
    guard got == byteCount else {
      munmap(base, byteCount)
      close(descriptor)
      throw SystemError(
        got < 0
          ? .system(action: "read", code: Int32(-got)) : .truncated(needed: byteCount, available: got),
        path: path)
    }
    bytes = UnsafeRawBufferPointer(start: base, count: byteCount)
    pageByteCount = max(1, sysconf(Int32(_SC_PAGESIZE)))
  }

  deinit {
    munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress!), bytes.count)
    close(descriptor)
  }

  /// Whether size and time of modification are still those of the moment it was mapped; a copy stays what it
  /// was. Another name or none, which ctime would tell, changes nothing.
  package var isUnchanged: Bool {
    if isCopy { return true }
    guard let now = FileStamp(descriptor), let stamp else { return false }
    return now.hasContents(of: stamp)
  }

  /// Passes `advice` for whole pages: `outwards` covers the range, otherwise pages wholly inside it.
  package func advise(_ range: Range<Int>, _ advice: Int32, outwards: Bool) {
    // Pages of a copy that were given back would be zeros.
    if isCopy { return }
    let low = max(0, range.lowerBound)
    let high = min(bytes.count, range.upperBound)
    guard low < high else { return }
    let mask = pageByteCount - 1
    let start = outwards ? low & ~mask : (low + mask) & ~mask
    // The last page of the file is wholly inside when the range reaches the file's end.
    let stop = outwards || high == bytes.count ? (high + mask) & ~mask : high & ~mask
    guard start < stop else { return }
    // Advice is a hint: a kernel that cannot follow it changes speed, never results.
    madvise(UnsafeMutableRawPointer(mutating: bytes.baseAddress! + start), stop - start, advice)
  }

  /// Bytes of the file that are in the page cache, in whole pages. (Linux reports every page of a file the
  /// caller neither owns nor may write as present.)
  package func residentByteCount() -> Int {
    let window = 4096
    var resident = 0
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: window) { states in
      var offset = 0
      while offset < bytes.count {
        let byteCount = min(bytes.count - offset, window * pageByteCount)
        let pages = (byteCount + pageByteCount - 1) / pageByteCount
        let address = UnsafeMutableRawPointer(mutating: bytes.baseAddress! + offset)
        guard mincore(address, byteCount, states.baseAddress!) == 0 else { return }
        for index in 0..<pages where states[index] & 1 == 1 { resident += pageByteCount }
        offset += byteCount
      }
    }
    return resident
  }
}
