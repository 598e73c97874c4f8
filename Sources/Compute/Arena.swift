// One fixed-capacity block of scratch memory; marks are lifetimes. The same reservations that a run makes are
// made by a plan on a counting arena, so that the two cannot disagree.
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Scratch memory of fixed capacity, handed out in order and given back by returning to a mark.
///
/// A *counting* arena hands out addresses that must not be touched and only keeps the books.
///
/// - Memory: one anonymous mapping of `capacity` bytes; pages become resident when touched.
/// - Errors: a reservation past the capacity throws `arenaExhausted`.
package final class Arena {
  package struct Mark { fileprivate let used: Int }

  /// Every reservation starts on a cache line (and so on any vector boundary).
  private static let alignment = 64

  package let capacity: Int
  package let isCounting: Bool
  private let base: UnsafeMutableRawPointer
  private var used = 0
  private var reservationCount = 0
  private let failingReservation: Int?

  /// Highest number of bytes in use since `resetHighWater`.
  package private(set) var highWater = 0

  /// An arena that only counts.
  package init(counting failingReservation: Int? = nil) {
    capacity = .max
    isCounting = true
    base = UnsafeMutableRawPointer(bitPattern: 1 << 20)!
    self.failingReservation = failingReservation
  }

  /// An arena over `capacity` bytes of fresh, zeroed memory. `failingReservation`: that reservation (from 0) throws, for tests.
  package init(capacity: Int, failingReservation: Int? = nil) throws(ComputeError) {
    self.capacity = capacity
    isCounting = false
    self.failingReservation = failingReservation
    let mapped = mmap(
      nil, max(capacity, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped, mapped != MAP_FAILED else { throw ComputeError(.arenaUnavailable(byteCount: capacity)) }
    base = mapped
  }

  deinit {
    if !isCounting { munmap(base, max(capacity, 1)) }
  }

  package var usedByteCount: Int { used }

  package func mark() -> Mark { Mark(used: used) }

  /// Gives back everything reserved since `mark`. Contents stay until reserved again.
  package func release(to mark: Mark) {
    precondition(mark.used <= used, "marks are released in reverse order")
    used = mark.used
  }

  /// Returns the pages above the current mark to the system (they read as zero afterwards).
  package func trim() {
    guard !isCounting else { return }
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let start = (used + page - 1) / page * page
    if start < capacity { _ = madvise(base + start, capacity - start, MADV_DONTNEED) }
  }

  package func resetHighWater() { highWater = used }

  /// Reserves `count` elements. Contents are unspecified.
  package func reserve<Element>(_ type: Element.Type, _ count: Int) throws(ComputeError) -> UnsafeMutablePointer<
    Element
  > {
    let byteCount = count * MemoryLayout<Element>.stride
    let rounded = (byteCount + Self.alignment - 1) / Self.alignment * Self.alignment
    defer { reservationCount += 1 }
    if reservationCount == failingReservation || rounded > capacity - used {
      throw ComputeError(.arenaExhausted(requested: rounded, available: capacity - used))
    }
    let pointer = (base + used).assumingMemoryBound(to: Element.self)
    used += rounded
    highWater = max(highWater, used)
    return pointer
  }

  package func floats(_ count: Int) throws(ComputeError) -> UnsafeMutablePointer<Float> {
    try reserve(Float.self, count)
  }
}
