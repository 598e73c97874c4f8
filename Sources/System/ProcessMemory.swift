// What the system says about this process: memory, cores, environment, time.
import CSystem

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

  package init() {}

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

  /// Lets go of pages of code that only start and options needed: 7 MiB of 18.
  package static func releaseCode() { cs_release_code() }

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
    var result: [String: Int] = [:]
    for line in processText(path).split(separator: UInt8(ascii: "\n")) {
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

/// A small file of /proc; empty where there is none.
private func processText(_ path: String) -> [UInt8] {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return [] }
  defer { close(file) }
  return [UInt8](unsafeUninitializedCapacity: 8192) { buffer, count in
    count = max(0, read(file, buffer.baseAddress!, 8192))
  }
}

/// Memory that this process can have at most: the machine's, or its control group's, bytes.
///
/// - Source: `sysconf`, `/sys/fs/cgroup/memory.max`.
package func machineMemory() -> Int {
  let machine = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))
  let text = String(decoding: processText("/sys/fs/cgroup/memory.max"), as: UTF8.self)
  let group = text.split(separator: "\n").first.flatMap { Int($0) } ?? .max
  return machine > 0 ? min(machine, group) : group
}

/// Cores that the scheduler lets this process use, at most 256.
///
/// - Source: the `Cpus_allowed` mask of `/proc/self/status`.
package func availableCores() -> Int {
  let online = min(max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))), 256)
  let text = String(decoding: processText("/proc/self/status"), as: UTF8.self)
  let line = text.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") } ?? ""
  let allowed = line.dropFirst(13).reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) }
  return allowed > 0 ? min(allowed, online) : online
}

/// What the program was started with, its name left out; also where there is no /proc, from which Swift reads
/// it.
package let programArguments: [String] = {
  var count: Int32 = 0
  guard let list = cs_arguments(&count), count > 0 else { return Array(CommandLine.arguments.dropFirst()) }
  return (1..<max(1, Int(count))).compactMap { list[$0].map { String(cString: $0) } }
}()

/// The first argument that is no UTF-8, by its number and as far as it can be shown; the parser would put
/// other characters in place of such bytes, and go on.
package func brokenArgument() -> (number: Int, text: String)? {
  var count: Int32 = 0
  guard let list = cs_arguments(&count), count > 0 else { return nil }
  for index in 1..<max(1, Int(count)) {
    guard let bytes = list[index], String(validatingCString: bytes) == nil else { continue }
    return (index, String(cString: bytes))
  }
  return nil
}

/// A variable of the environment.
package func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

/// The folder of a user's files that `variable` names, or `fallback` below the home folder:
/// `userFolder("XDG_CACHE_HOME", "/.cache")`. Nil where neither is an absolute path.
package func userFolder(_ variable: String, _ fallback: String) -> String? {
  func absolute(_ name: String) -> String? { environment(name).flatMap { $0.hasPrefix("/") ? $0 : nil } }
  return absolute(variable) ?? absolute("HOME").map { $0 + fallback }
}

/// The C library's heap: keeps no more than it has to.
///
/// - Source: glibc `malloc_trim` and `mallopt`; other C libraries lack them and need neither.
package enum Heap {
  /// Large blocks are always mappings of their own (glibc raises the bound by itself otherwise), threads
  /// share one heap.
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

/// Lets this process have so many files open at once, where the system allows it (best effort).
package func allowOpenFiles(_ count: Int) {
  var limit = rlimit()
  let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  guard getrlimit(kind, &limit) == 0, limit.rlim_cur < rlim_t(count) else { return }
  limit.rlim_cur = min(rlim_t(count), limit.rlim_max)
  setrlimit(kind, &limit)
}

/// Seconds on a clock that only goes forward.
package func monotonicSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// Drops a file's pages from the system's cache; those that a process maps stay.
package func dropCachedPages(of path: String) {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return }
  posix_fadvise(file, 0, 0, Int32(POSIX_FADV_DONTNEED))
  close(file)
}
