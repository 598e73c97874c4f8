// A guarded arena keeps the same books as a plain one, and what moves down arrives.
import Compute
import TestSupport
import Testing

@Suite struct ArenaTests {
  private func use(_ arena: Arena) throws -> (values: [Float], highWater: Int, used: Int) {
    let kept = try arena.rows(3, 5)
    let mark = arena.mark()
    let spent = try arena.rows(7, 11)
    let made = try arena.rows(2, 4)
    if !arena.isCounting {
      kept.fill(1)
      spent.fill(2)
      for index in 0..<8 { made.base[index] = Float(index) }
    }
    let low = try arena.slide(made, over: spent.base)
    let values = arena.isCounting ? [] : (0..<8).map { low.base[$0] }
    arena.release(to: mark)
    _ = try arena.reserve(UInt8.self, 0)
    _ = try arena.reserve(UInt8.self, 65)
    arena.trim()
    return (values, arena.highWater, arena.usedByteCount)
  }

  @Test func guardedAndPlainKeepTheSameBooks() throws {
    let plain = try use(Arena(capacity: 1 << 16))
    let guarded = try use(Arena(capacity: 1 << 16, isGuarded: true))
    let counted = try use(Arena())
    #expect(plain.values == guarded.values && plain.values == (0..<8).map { Float($0) })
    #expect(plain.highWater == guarded.highWater && plain.highWater == counted.highWater)
    #expect(plain.used == guarded.used && plain.used == counted.used)
  }

  @Test func aGuardedArenaIsAsSmallAsItSays() throws {
    let arena = try Arena(capacity: 128, isGuarded: true)
    _ = try arena.floats(17)
    #expect(throws: ComputeError.self) { try arena.floats(1) }
  }
}
