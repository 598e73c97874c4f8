// Memory that ends at a page nobody may touch: reading or writing one element too far stops the test process.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Elements whose last byte lies right before an unmapped page, or, if `guardsFront`, whose first lies right
/// behind one.
///
/// `guardsFront` is `TRIDENT_GUARD=front` in the environment unless said otherwise, so that one suite can be
/// run both ways.
///
/// - Memory: whole pages plus two guard pages; unmapped with the last reference.
/// - Errors: traps if the system refuses the mapping.
package final class GuardedBuffer<Element> {
  package let pointer: UnsafeMutablePointer<Element>
  package let count: Int
  private let base: UnsafeMutableRawPointer
  private let mappedByteCount: Int

  package init(count: Int, guardsFront: Bool = frontIsGuarded) {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let byteCount = count * MemoryLayout<Element>.stride
    let body = (byteCount + page - 1) / page * page
    mappedByteCount = body + 2 * page
    #if os(Linux)
      let flags = MAP_PRIVATE | MAP_ANONYMOUS
    #else
      let flags = MAP_PRIVATE | MAP_ANON
    #endif
    guard let mapped = mmap(nil, mappedByteCount, PROT_READ | PROT_WRITE, flags, -1, 0), mapped != MAP_FAILED
    else {
      preconditionFailure("no memory for a guarded buffer of \(byteCount) bytes")
    }
    base = mapped
    precondition(mprotect(base, page, PROT_NONE) == 0)
    precondition(mprotect(base + page + body, page, PROT_NONE) == 0)
    let start = guardsFront ? base + page : base + page + body - byteCount
    pointer = start.bindMemory(to: Element.self, capacity: count)
    self.count = count
  }

  package convenience init(_ elements: [Element], guardsFront: Bool = frontIsGuarded) {
    self.init(count: elements.count, guardsFront: guardsFront)
    for (index, element) in elements.enumerated() { pointer[index] = element }
  }

  deinit { munmap(base, mappedByteCount) }

  package var elements: [Element] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
}

package let frontIsGuarded = getenv("TRIDENT_GUARD").map { String(cString: $0) } == "front"
