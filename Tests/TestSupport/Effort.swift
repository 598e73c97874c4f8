// How much of what could be repeated for ever is repeated. Where a processor is emulated an instruction costs
// ten, and what parsers do with damaged files does not depend on the processor.

import Compute
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

package enum Effort {
  /// Scripts/arm/test.sh says so.
  package static let isEmulated = getenv("TRIDENT_TESTS_EMULATED") != nil

  /// Scripts/sanitize.sh says so: every access is checked, and whole photos take ten times as long.
  package static let isSanitized = getenv("TRIDENT_TESTS_SANITIZED") != nil

  /// What float32 needs.
  package static let hasOpenBLAS = (try? OpenBLAS.load()) != nil

  /// All of a range; where the processor is emulated every `step`-th: odd, so it meets every remainder of 2,
  /// 4, 8.
  package static func sample(_ range: Range<Int>, step: Int = 23) -> StrideTo<Int> {
    stride(from: range.lowerBound, to: range.upperBound, by: isEmulated ? step : 1)
  }
}

extension Trait where Self == ConditionTrait {
  /// For tests in float32.
  package static var needsOpenBLAS: Self {
    .enabled(if: Effort.hasOpenBLAS, "OpenBLAS is missing (libopenblas0-pthread); float32 is not tested")
  }
}
