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

/// Two numbers counted from one, the smaller one first.
struct BlockRange: ExpressibleByArgument {
  let value: ClosedRange<Int>

  init?(argument: String) {
    let ends = argument.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard ends.count == 2, let first = ends[0], let last = ends[1], 1 <= first, first <= last else {
      return nil
    }
    value = first...last
  }
}
