// A file mapped read-only, and the calls that steer which of its pages are in memory.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Owns a descriptor and a read-only mapping of the whole file.
///
/// - Memory: address space only; pages come and go with use. None of it counts as private memory.
/// - Errors: directories, devices, pipes and empty files are refused.
final class FileMapping: @unchecked Sendable {
  let bytes: UnsafeRawBufferPointer
  let pageByteCount: Int
  private let descriptor: Int32
  private let stamp: Stamp

  /// What must stay the same while the file is mapped.
  private struct Stamp: Equatable {
    let byteCount: Int
    let seconds: Int
    let nanoseconds: Int
  }

  init(path: String) throws(ContainerError) {
    // O_NONBLOCK: opening a pipe nobody writes to must not hang.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw ContainerError(.io(operation: "open", code: errno), path: path) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let code = errno
      close(descriptor)
      throw ContainerError(.io(operation: "read the size of", code: code), path: path)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw ContainerError(.notRegularFile, path: path)
    }
    let byteCount = Int(status.st_size)
    guard byteCount > 0 else {
      close(descriptor)
      throw ContainerError(.truncated(needed: 4, available: 0), path: path, offset: 0)
    }
    guard let base = mmap(nil, byteCount, PROT_READ, MAP_SHARED, descriptor, 0), base != MAP_FAILED else {
      let code = errno
      close(descriptor)
      throw ContainerError(.io(operation: "map", code: code), path: path)
    }
    self.descriptor = descriptor
    bytes = UnsafeRawBufferPointer(start: base, count: byteCount)
    stamp = Self.stamp(status)
    pageByteCount = max(1, sysconf(Int32(_SC_PAGESIZE)))
  }

  deinit {
    munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress!), bytes.count)
    close(descriptor)
  }

  /// Whether size and modification time are still those of the moment it was mapped.
  var isUnchanged: Bool {
    var status = stat()
    return fstat(descriptor, &status) == 0 && Self.stamp(status) == stamp
  }

  private static func stamp(_ status: stat) -> Stamp {
    Stamp(
      byteCount: Int(status.st_size), seconds: Int(status.st_mtim.tv_sec),
      nanoseconds: Int(status.st_mtim.tv_nsec))
  }

  /// Passes `advice` for whole pages: `outwards` covers the range, otherwise pages wholly inside it.
  func advise(_ range: Range<Int>, _ advice: Int32, outwards: Bool) {
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
  func residentByteCount() -> Int {
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
