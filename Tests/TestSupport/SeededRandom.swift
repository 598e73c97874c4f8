// Repeatable random numbers: the same seed gives the same test on every machine.
import System

package typealias SeededRandom = SplitMix64

extension SplitMix64 {
  /// A float in `low ..< high`, from 24 random bits.
  package mutating func float(_ low: Float, _ high: Float) -> Float {
    low + (high - low) * (Float(next() >> 40) * 0x1p-24)
  }

  /// A weight or activation: -127 ... 127.
  package mutating func int8() -> Int8 { Int8(Int(next() % 255) - 127) }
}
