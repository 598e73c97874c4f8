// How much of what could be repeated for ever is repeated. Where a processor is emulated an instruction costs
// ten, and what parsers do with damaged files does not depend on the processor.

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

  /// All of a range; where the processor is emulated every `step`-th: odd, so it meets every remainder of 2,
  /// 4, 8.
  package static func sample(_ range: Range<Int>, step: Int = 23) -> StrideTo<Int> {
    stride(from: range.lowerBound, to: range.upperBound, by: isEmulated ? step : 1)
  }
}
