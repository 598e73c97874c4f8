// How a run uses the machine. None of it changes results.
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Threads, memory and weights of a run.
public struct RuntimeOptions: Equatable, Sendable {
  /// Worker threads; default: the cores this process may use.
  public var threads: Int
  /// Largest private memory, bytes; nil: no limit.
  public var memoryLimit: Int?
  /// Weights stay resident between blocks.
  public var keepsWeights = false
  /// Every checksum is checked before use.
  public var verifiesWeights = false
  /// A CPU path by name; nil: the fastest supported.
  public var cpuPath: String?

  /// All cores that this process may use, no limit.
  public init() { threads = Self.availableCores }

  /// Cores that the scheduler lets this process use.
  ///
  /// - Source: the `Cpus_allowed` mask of `/proc/self/status`.
  public static var availableCores: Int {
    let online = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    let file = open("/proc/self/status", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return online }
    defer { close(file) }
    let allowed = withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 1) { buffer in
      let count = read(file, buffer.baseAddress!, buffer.count)
      let text = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
      guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Cpus_allowed:") }) else { return 0 }
      return line.dropFirst(13).reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) }
    }
    return allowed > 0 ? min(allowed, online, 256) : min(online, 256)
  }
}

/// A variable of the environment.
package func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
