// Memory of a resizer: handed in by a planner, or its own.

/// A run of bytes that is carved up once, at the start, and freed only if it was allocated here.
final class Workspace {
  private let base: UnsafeMutableRawPointer
  private let owned: Bool
  private let byteCount: Int
  private var used = 0

  /// Bytes that `count` elements take, rounded up to whole cache lines.
  static func bytes<Element>(_ count: Int, of type: Element.Type) -> Int {
    (count * MemoryLayout<Element>.stride + 63) / 64 * 64
  }

  /// Uses `given` (64-byte aligned, at least `byteCount`) or allocates.
  init(_ given: UnsafeMutableRawPointer?, byteCount: Int) {
    owned = given == nil
    base = given ?? .allocate(byteCount: byteCount, alignment: 64)
    self.byteCount = byteCount
  }

  /// The next `count` elements, zeroed.
  func take<Element: FixedWidthInteger>(_ count: Int, of type: Element.Type) -> UnsafeMutablePointer<Element> {
    let size = Self.bytes(count, of: type)
    precondition(used + size <= byteCount, "workspace of \(byteCount) bytes is too small")
    let start = (base + used).bindMemory(to: type, capacity: count)
    start.initialize(repeating: 0, count: count)
    used += size
    return start
  }

  deinit { if owned { base.deallocate() } }
}
