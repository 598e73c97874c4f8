// What the kernel says this process holds and has done.
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One reading of the kernel's books.
///
/// - Units: bytes, counts, seconds.
/// - Source: `/proc/self/status`, `/proc/self/io`, `getrusage`.
package struct ProcessMemory: Equatable, Sendable {
  /// Private memory: the heap, the arena, stacks. Cannot be given back without swap.
  package var anonymous = 0
  /// Pages of mapped files (weights, program): clean, and the system may drop them at any time.
  package var file = 0
  /// Highest resident size so far, anonymous and file together.
  package var peakResident = 0
  package var minorFaults = 0
  package var majorFaults = 0
  package var readByteCount = 0

  package static func now() -> ProcessMemory {
    var result = ProcessMemory()
    let status = fields(of: "/proc/self/status")
    result.anonymous = (status["RssAnon"] ?? 0) * 1024
    result.file = ((status["RssFile"] ?? 0) + (status["RssShmem"] ?? 0)) * 1024
    result.peakResident = (status["VmHWM"] ?? 0) * 1024
    result.readByteCount = fields(of: "/proc/self/io")["read_bytes"] ?? 0
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    result.minorFaults = usage.ru_minflt
    result.majorFaults = usage.ru_majflt
    return result
  }

  /// Makes the kernel forget the peak so far (best effort).
  package static func resetPeak() {
    let file = open("/proc/self/clear_refs", O_WRONLY)
    if file >= 0 {
      _ = write(file, "5", 1)
      close(file)
    }
  }

  /// `Name: number` lines of a small proc file.
  private static func fields(of path: String) -> [String: Int] {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return [:] }
    defer { close(file) }
    return withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 1) { buffer in
      let count = read(file, buffer.baseAddress!, buffer.count)
      guard count > 0 else { return [:] }
      var result: [String: Int] = [:]
      for line in buffer.prefix(count).split(separator: UInt8(ascii: "\n")) {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
        var value = 0
        var digits = 0
        for byte in line[(colon + 1)...] where (48...57).contains(byte) {
          value = value &* 10 &+ Int(byte - 48)
          digits += 1
        }
        if digits > 0 && digits < 19 { result[String(decoding: line[..<colon], as: UTF8.self)] = value }
      }
      return result
    }
  }
}

/// The C library's heap: keeps no more than it has to.
///
/// - Source: glibc `malloc_trim` and `mallopt`; other C libraries lack them and need neither.
package enum Heap {
  /// Large blocks are always mappings of their own (glibc raises the bound by itself otherwise), threads share one heap.
  package static func settle() {
    guard let symbol = dlsym(nil, "mallopt") else { return }
    typealias Function = @convention(c) (Int32, Int32) -> Int32
    let set = unsafeBitCast(symbol, to: Function.self)
    // M_MMAP_THRESHOLD and M_ARENA_MAX.
    _ = set(-3, 128 << 10)
    _ = set(-8, 1)
  }

  /// Gives freed pages back to the system.
  package static func trim() {
    guard let symbol = dlsym(nil, "malloc_trim") else { return }
    typealias Function = @convention(c) (Int) -> Int32
    _ = unsafeBitCast(symbol, to: Function.self)(0)
  }
}

/// Seconds on a clock that only goes forward.
package func monotonicSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

extension Session {
  /// Drops the model's pages, in this process and in the system's cache of files, so that the next run reads storage.
  ///
  /// - Source: `madvise` and `posix_fadvise` with DONTNEED; pages that other processes map stay.
  package func dropWeights() {
    reader.model.advise(0..<reader.model.byteCount, .dontNeed)
    let file = open(modelPath, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    posix_fadvise(file, 0, 0, Int32(POSIX_FADV_DONTNEED))
    close(file)
  }
}
