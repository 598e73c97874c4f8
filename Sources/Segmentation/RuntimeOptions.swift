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

  public init() { threads = Self.availableCores }

  /// Cores that the scheduler lets this process use.
  public static var availableCores: Int {
    var set = cpu_set_t()
    guard sched_getaffinity(0, MemoryLayout<cpu_set_t>.size, &set) == 0 else {
      return max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    }
    let bits = withUnsafeBytes(of: set) { $0.reduce(0) { $0 + $1.nonzeroBitCount } }
    return max(1, min(bits, 256))
  }
}

/// A variable of the environment.
package func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
