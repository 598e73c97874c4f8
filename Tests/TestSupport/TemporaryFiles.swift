// The table of temporary files belongs to the whole process, in which suites run side by side.
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Who writes outputs for long shares the table; who empties it wants it alone.
package final class TemporaryFiles: Sendable {
  private static let holders = Mutex<(count: Int, isAlone: Bool)>((0, false))

  /// Shares the table until this object goes away.
  package init() {
    Self.wait {
      if $0.isAlone { return false }
      $0.count += 1
      return true
    }
  }

  deinit { Self.holders.withLock { $0.count -= 1 } }

  /// Runs with the table to oneself.
  package static func alone(_ body: () throws -> Void) rethrows {
    wait {
      if $0.isAlone { return false }
      $0.isAlone = true
      return true
    }
    wait { $0.count == 0 }
    defer { holders.withLock { $0.isAlone = false } }
    try body()
  }

  private static func wait(_ isGranted: (inout (count: Int, isAlone: Bool)) -> Bool) {
    while !holders.withLock({ isGranted(&$0) }) { usleep(2000) }
  }
}
