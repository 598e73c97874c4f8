// Remembers which kernel paths a test process exercised and prints them as its last words, so that a log
// shows when an expected path was missing.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

package enum PathCoverage {
  // Guarded by `lock`; the pointer itself never changes.
  nonisolated(unsafe) private static var names: Set<String> = []
  nonisolated(unsafe) private static let lock: UnsafeMutablePointer<pthread_mutex_t> = {
    let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    atexit { print("kernel paths exercised: \(PathCoverage.exercised.joined(separator: " "))") }
    return mutex
  }()

  package static func record(_ name: String) {
    pthread_mutex_lock(lock)
    names.insert(name)
    pthread_mutex_unlock(lock)
  }

  package static var exercised: [String] {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    return names.sorted()
  }
}
