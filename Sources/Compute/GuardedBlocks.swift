// What a guarded arena is made of: a mapping a reservation, between pages that nobody may touch.
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Reservations that end, but for less than a cache line, where an unmapped page begins.
///
/// A write past the end of a reservation, or ahead of it, stops the process. The bytes between its end and
/// the page hold a pattern that is compared when it is given back. Blocks that were given back stay readable
/// until the next mark: what a scope returns is moved down from them; after that touching them stops the
/// process, too.
///
/// - Memory: whole pages and two more a reservation. For tests and fuzzing.
/// - Errors: traps where the pattern was written over, or the system has no more mappings.
final class GuardedBlocks {
  private struct Block {
    /// Of the arena's books.
    let place: Int
    let mapping: UnsafeMutableRawPointer
    let mappedByteCount: Int
    let start: UnsafeMutableRawPointer
    let byteCount: Int
  }

  private static let alignment = 64
  private static let pattern: UInt8 = 0xA5
  private let page = Int(sysconf(Int32(_SC_PAGESIZE)))
  private var blocks: [Block] = []
  private var spent: [Block] = []

  deinit {
    release(from: 0)
    forget()
  }

  /// `place`: where the arena's books have it.
  func reserve(_ byteCount: Int, at place: Int) -> UnsafeMutableRawPointer {
    let rounded = (byteCount + Self.alignment - 1) / Self.alignment * Self.alignment
    let body = (rounded + page - 1) / page * page
    let mapped = mmap(nil, body + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped, mapped != MAP_FAILED else {
      preconditionFailure("no memory for a guarded reservation of \(byteCount) bytes")
    }
    let end = mapped + page + body
    precondition(mprotect(mapped, page, PROT_NONE) == 0 && mprotect(end, page, PROT_NONE) == 0)
    let start = end - rounded
    memset(start + byteCount, Int32(Self.pattern), rounded - byteCount)
    // What a reservation holds is unspecified: anything but zeros, which hide what was never written.
    memset(start, Int32(Self.pattern), min(byteCount, 1 << 16))
    blocks.append(
      Block(
        place: place, mapping: mapped, mappedByteCount: body + 2 * page, start: start, byteCount: byteCount))
    return start
  }

  /// Where the arena's books have what starts at `pointer`.
  func place(of pointer: UnsafeRawPointer) -> Int {
    guard let block = blocks.last(where: { $0.start == pointer }) else {
      preconditionFailure("only whole reservations slide")
    }
    return block.place
  }

  /// Gives back what lies at or behind a place.
  func release(from place: Int) {
    while let last = blocks.last, last.place >= place {
      blocks.removeLast()
      var offset = last.byteCount
      while (offset % Self.alignment) != 0 {
        let byte = last.start.load(fromByteOffset: offset, as: UInt8.self)
        precondition(
          byte == Self.pattern, "a reservation of \(last.byteCount) bytes was written past its end")
        offset += 1
      }
      spent.append(last)
    }
  }

  /// From here on nobody may touch what was given back.
  func forget() {
    for block in spent { munmap(block.mapping, block.mappedByteCount) }
    spent = []
  }
}
