// Shares outlier channels between a norm and the matrix behind it: factors for plain weights.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What calibration multiplies the tensors of a model by.
///
/// Channel `j` of a norm is divided by `s[j]` and column `j` of the matrix behind it multiplied by it. All
/// `s[j]` are powers of two: both products are exact, and small differences of arithmetic between machines
/// seldom reach the file.
/// - Memory: one float per channel of a norm and of a matrix; reads matrices 16 rows at a time.
/// - Source: SmoothQuant (Xiao et al. 2022, arXiv 2211.10438), equation 4 with alpha = 0.5.
package struct ChannelBalance {
  /// Largest power of two in a factor, either way.
  static let exponentLimit = 4.0
  /// What stands behind a norm.
  private static let behind = ["norm1": "qkv", "norm2": "mlp_in"]

  /// Factors by item name: of the elements of a norm's weight and bias, of the columns of a layer.
  private(set) var factors: [String: [Float]] = [:]

  /// Changes nothing.
  init() {}

  /// - Parameter maxima: largest magnitudes behind each norm, by its name in the model file.
  init(_ maxima: [String: [Float]], _ items: [PlanItem]) throws(QuantizationFailure) {
    let layers = Dictionary(items.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    for (norm, activations) in maxima.sorted(by: { $0.key < $1.key }) {
      guard let dot = norm.lastIndex(of: "."),
        let part = Self.behind[String(norm[norm.index(after: dot)...])],
        let item = layers[norm[...dot] + part], case .linear(let layer) = item.recipe,
        layer.columns == activations.count
      else { continue }
      let weights: [Float]
      do throws(QuantizationError) { weights = try Self.columnMaxima(item.directory, layer) } catch {
        throw .source(error)
      }
      let shares = Self.shares(activations: activations, weights: weights)
      factors[item.name] = shares
      for tensor in ["weight", "bias"] { factors["\(norm).\(tensor)"] = shares.map { 1 / $0 } }
    }
  }

  /// `s[j] = sqrt(max|x[j]| / max|W[j]|)`, geometric mean 1, rounded to a power of two and limited; 1 for
  /// channels without activations or weights.
  package static func shares(activations: [Float], weights: [Float]) -> [Float] {
    var logs = [Double?](repeating: nil, count: activations.count)
    var sum = 0.0
    var count = 0.0
    for (index, (x, w)) in zip(activations, weights).enumerated() {
      guard x > 0, w > 0, x.isFinite, w.isFinite else { continue }
      let value = 0.5 * (log2(Double(x)) - log2(Double(w)))
      logs[index] = value
      sum += value
      count += 1
    }
    return logs.map { value in
      guard let value else { return 1 }
      let exponent = (value - sum / count).rounded(.toNearestOrEven)
      return Float(exp2(min(max(exponent, -exponentLimit), exponentLimit)))
    }
  }

  /// Largest magnitude of every column.
  private static func columnMaxima(
    _ directory: TensorDirectory, _ layer: LinearRecipe
  ) throws(QuantizationError) -> [Float] {
    let reader = try MatrixReader(directory, layer)
    let columns = layer.columns
    var maxima = [Float](repeating: 0, count: columns)
    let rows = UnsafeMutablePointer<Float>.allocate(capacity: 16 * columns)
    defer { rows.deallocate() }
    for first in stride(from: 0, to: layer.rows, by: 16) {
      let count = min(16, layer.rows - first)
      try reader.read(first..<(first + count), into: rows)
      maxima.withUnsafeMutableBufferPointer { target in
        for index in 0..<count {
          let line = rows + index * columns
          for column in 0..<columns { target[column] = max(target[column], abs(line[column])) }
        }
      }
    }
    directory.releasePages()
    return maxima
  }
}
