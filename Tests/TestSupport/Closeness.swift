// Comparing floats by the number of representable values between them. A wrong sign always fails.

import Testing

/// Distance in representable values; `Int.max` where signs differ (zeros excepted) or exactly one is not a
/// number.
package func ulpDistance(_ a: Float, _ b: Float) -> Int {
  if a == b || (a.isNaN && b.isNaN) { return 0 }
  if a.isNaN || b.isNaN { return .max }
  if a.sign != b.sign && a != 0 && b != 0 { return .max }
  return abs(Int(a.magnitude.bitPattern) - Int(b.magnitude.bitPattern))
}

/// Expects every element within `ulps` of its counterpart, or within `absolute`; reports the first that is
/// not.
package func expectClose(
  _ actual: [Float], _ expected: [Float], ulps: Int = 0, absolute: Float = 0, _ label: String = "",
  sourceLocation: SourceLocation = #_sourceLocation
) {
  guard actual.count == expected.count else {
    Issue.record(
      "\(label): \(actual.count) elements, expected \(expected.count)", sourceLocation: sourceLocation)
    return
  }
  for index in actual.indices {
    let (a, b) = (actual[index], expected[index])
    if ulpDistance(a, b) <= ulps || (a - b).magnitude <= absolute { continue }
    Issue.record(
      "\(label): element \(index) is \(a), expected \(b), \(ulpDistance(a, b)) ulp apart",
      sourceLocation: sourceLocation)
    return
  }
}
