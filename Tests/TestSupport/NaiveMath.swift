// The obvious version of each computation, in double precision. Used only to judge; never fast.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

package enum NaiveMath {
  /// a [rows, depth] times the transpose of b [columns, depth], exact.
  package static func product(_ a: [Int8], _ b: [Int8], rows: Int, columns: Int, depth: Int) -> [Int] {
    var out = [Int](repeating: 0, count: rows * columns)
    for r in 0..<rows {
      for c in 0..<columns {
        for k in 0..<depth { out[r * columns + c] += Int(a[r * depth + k]) * Int(b[c * depth + k]) }
      }
    }
    return out
  }

  /// One row to INT8 and its scale; ties to even; what is not finite counts as 0.
  package static func quantize(_ row: [Float]) -> (values: [Int8], scale: Float) {
    let finite = row.map { $0.isFinite ? $0 : 0 }
    let largest = finite.map(\.magnitude).max() ?? 0
    if largest < 0x1p-100 { return ([Int8](repeating: 0, count: row.count), 1) }
    let factor = 127 / largest
    return (finite.map { Int8(($0 * factor).rounded(.toNearestOrEven)) }, largest / 127)
  }

  package static func norm(_ row: [Float], gamma: [Float], beta: [Float], epsilon: Double) -> [Float] {
    let mean = row.reduce(0.0) { $0 + Double($1) } / Double(row.count)
    let variance = row.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(row.count)
    return row.indices.map {
      Float(
        (Double(row[$0]) - mean) / (variance + epsilon).squareRoot() * Double(gamma[$0]) + Double(beta[$0]))
    }
  }

  package static func softmaxNumerators(_ row: [Double]) -> [Float] {
    let most = row.max() ?? 0
    return row.map { Float(exp($0 - most)) }
  }

  package static func gelu(_ x: Float) -> Float {
    Float(Double(x) * 0.5 * erfc(-Double(x) / 2.0.squareRoot()))
  }

  package static func quickGELU(_ x: Float) -> Float { Float(Double(x) / (1 + exp(-1.702 * Double(x)))) }

  package static func tanhGELU(_ x: Float) -> Float {
    let wide = Double(x)
    return Float(
      0.5 * wide * (1 + tanh((2 / Double.pi).squareRoot() * (wide + 0.044715 * wide * wide * wide))))
  }
}
