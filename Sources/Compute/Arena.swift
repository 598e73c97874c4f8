// One fixed-capacity block of scratch memory; marks are lifetimes. The same reservations that a run makes are
// made by a plan on a counting arena, so that the two cannot disagree.
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Scratch memory of fixed capacity, handed out in order and given back by returning to a mark.
///
/// A *counting* arena hands out addresses that must not be touched and only keeps the books. A *guarded* one,
/// for tests, gives every reservation a mapping of its own (`GuardedBlocks`), so that one element too far
/// stops the process instead of landing in a neighbour.
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
  private let blocks: GuardedBlocks?
  private var used = 0
  private var reservationCount = 0
  private let failingReservation: Int?

  /// Highest number of bytes in use since `resetHighWater`.
  package private(set) var highWater = 0

  /// An arena that only counts.
  package init(counting failingReservation: Int? = nil) {
    capacity = .max
    isCounting = true
    blocks = nil
    base = UnsafeMutableRawPointer(bitPattern: 1 << 20)!
    self.failingReservation = failingReservation
  }

  /// An arena over `capacity` bytes of fresh, zeroed memory. `failingReservation`: that reservation (from 0)
  /// throws, for tests, as is `isGuarded`.
  package init(capacity: Int, failingReservation: Int? = nil, isGuarded: Bool = false) throws(ComputeError) {
    self.capacity = capacity
    isCounting = false
    self.failingReservation = failingReservation
    if isGuarded {
      blocks = GuardedBlocks()
      base = UnsafeMutableRawPointer(bitPattern: 1 << 20)!
      return
    }
    blocks = nil
    let mapped = mmap(
      nil, max(capacity, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped, mapped != MAP_FAILED else { throw ComputeError(.arenaUnavailable(byteCount: capacity)) }
    base = mapped
  }

  deinit {
    if !isCounting && blocks == nil { munmap(base, max(capacity, 1)) }
  }

  package var usedByteCount: Int { used }

  package func mark() -> Mark {
    blocks?.forget()
    return Mark(used: used)
  }

  /// Gives back everything reserved since `mark`. Contents stay until reserved again.
  package func release(to mark: Mark) {
    precondition(mark.used <= used, "marks are released in reverse order")
    used = mark.used
    blocks?.release(from: used)
  }

  /// Returns the pages above the current mark to the system (they read as zero afterwards).
  package func trim() {
    blocks?.forget()
    guard !isCounting, blocks == nil else { return }
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let start = (used + page - 1) / page * page
    if start < capacity { _ = madvise(base + start, capacity - start, MADV_DONTNEED) }
  }

  package func resetHighWater() { highWater = used }

  /// Reserves `count` elements. Contents are unspecified.
  package func reserve<Element>(_ type: Element.Type, _ count: Int) throws(ComputeError)
    -> UnsafeMutablePointer<
      Element
    >
  {
    let byteCount = count * MemoryLayout<Element>.stride
    let rounded = (byteCount + Self.alignment - 1) / Self.alignment * Self.alignment
    defer { reservationCount += 1 }
    if reservationCount == failingReservation || rounded > capacity - used {
      throw ComputeError(.arenaExhausted(requested: rounded, available: capacity - used))
    }
    let start = blocks?.reserve(byteCount, at: used) ?? base + used
    let pointer = start.assumingMemoryBound(to: Element.self)
    used += rounded
    highWater = max(highWater, used)
    return pointer
  }

  /// Gives back everything from `spent` on but `made`, the last reservation, which moves down to where
  /// `spent` began.
  package func slide<Element>(_ made: Rows, over spent: UnsafeMutablePointer<Element>) throws(ComputeError)
    -> Rows
  {
    let start = blocks?.place(of: spent) ?? UnsafeMutableRawPointer(spent) - base
    precondition(start >= 0 && start <= used, "only what lies below moves")
    used = start
    blocks?.release(from: used)
    let low = try rows(made.count, made.width)
    if !isCounting && low.base != made.base { low.update(from: made) }
    return low
  }

  package func floats(_ count: Int) throws(ComputeError) -> UnsafeMutablePointer<Float> {
    try reserve(Float.self, count)
  }
}
