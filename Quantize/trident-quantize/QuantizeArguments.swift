// What flags of `trident-quantize` take beside words and numbers.

import ArgumentParser
import Quantization
import Segmentation

extension CLIPActivation: ExpressibleByArgument {}

extension PositionRule: ExpressibleByArgument {
  public init?(argument: String) { self.init(name: argument) }
}

/// Three numbers with commas between.
struct ThreeNumbers: ExpressibleByArgument {
  let value: SIMD3<Float>

  init?(argument: String) {
    let numbers = argument.split(separator: ",", omittingEmptySubsequences: false).compactMap { Float($0) }
    guard numbers.count == 3 else { return nil }
    value = SIMD3(numbers[0], numbers[1], numbers[2])
  }
}

/// Blocks counted from one, the lower one first.
struct NamedBlocks: ExpressibleByArgument {
  let value: ClosedRange<Int>

  init?(argument: String) {
    guard let range = BlockRange(argument), 1 <= range.first, range.first <= range.last else { return nil }
    value = range.first...range.last
  }
}
