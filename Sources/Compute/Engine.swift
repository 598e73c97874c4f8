// What every stage computes with: one kernel table, one pool of threads, one precision.
import CKernels

/// How activations are held while they meet the stored INT8 weights.
package enum Precision: String, Sendable {
  /// Activations are quantized per row at run time; products are integers.
  case int8
  /// The same stored weights, expanded; float products through OpenBLAS. The reference mode.
  case float32
}

package enum Activation: Sendable {
  case none, gelu, quickGELU, relu
  /// GELU as its authors approximate it, by a hyperbolic tangent.
  case tanhGELU

  var raw: ck_activation {
    switch self {
    case .none: CK_ACTIVATION_NONE
    case .gelu: CK_ACTIVATION_GELU
    case .quickGELU: CK_ACTIVATION_QUICKGELU
    case .relu: CK_ACTIVATION_RELU
    case .tanhGELU: CK_ACTIVATION_GELU_TANH
    }
  }
}

/// Kernels, threads and precision of one run. Nothing here is global.
package final class Engine: @unchecked Sendable {
  package let path: CPUPath
  package let pool: WorkerPool
  package let precision: Precision
  let table: UnsafePointer<ck_table>
  let blas: OpenBLAS?
  private let ownsPool: Bool
  /// Looks at what leaves the norms; set between runs only, nil but for calibration.
  package var observer: NormObserver?

  package init(path: CPUPath, threadCount: Int, precision: Precision) throws(ComputeError) {
    guard let table = ck_table_for(path.raw) else {
      throw ComputeError(.pathUnavailable("cpu path '\(path.name)' is not built"))
    }
    self.path = path
    self.table = table
    self.precision = precision
    blas = precision == .float32 ? try OpenBLAS.load() : nil
    pool = try WorkerPool(threadCount: threadCount)
    ownsPool = true
  }

  /// An engine for small, sensitive networks inside an INT8 run: same threads, float activations, our own
  /// float products.
  package init(floatCompanionOf engine: Engine) {
    path = engine.path
    pool = engine.pool
    table = engine.table
    precision = .float32
    blas = engine.blas
    ownsPool = false
  }

  deinit { if ownsPool { pool.stop() } }

  /// out = a b (b as [depth, columns]) or a b^T (b as [columns, depth]), in float.
  func productFloat(_ a: Rows, _ b: Rows, transposed: Bool, accumulate: Bool, into out: Rows) {
    if let blas {
      blas.multiply(
        a.base, a.stride, b.base, b.stride, transposed: transposed, rows: a.count, columns: out.width,
        depth: a.width,
        accumulate: accumulate, out: out.base, out.stride)
    } else if transposed {
      productNT(a, b, accumulate: accumulate, into: out)
    } else {
      productNN(a, b, accumulate: accumulate, into: out)
    }
  }

  package var isInteger: Bool { precision == .int8 }

  /// The path's product instructions on registers alone, on every thread: what no product can exceed in time.
  ///
  /// - Returns: multiply-accumulates done, at least `macs` a thread.
  package func multiplyInRegisters(_ macs: UInt64) -> UInt64 {
    pool.run(count: pool.threadCount, chunk: 1) { _, _ in _ = table.pointee.peak_s8(macs) }
    return macs * UInt64(pool.threadCount)
  }

  // MARK: Float kernels, checked

  /// out[r][c] = a[r] . b[c] (+ bias[c]); fixed summation order.
  ///
  /// - Shapes: a [rows, depth], b [columns, depth], out [rows, columns].
  @inline(__always)
  package func productNT(
    _ a: Rows, _ b: Rows, bias: UnsafePointer<Float>? = nil, accumulate: Bool = false, into out: Rows
  ) {
    precondition(a.width == b.width && out.count == a.count && out.width == b.count, "shapes of a product")
    table.pointee.gemm_f32_nt(
      a.base, a.stride, a.count, b.base, b.stride, b.count, a.width, bias, accumulate ? 1 : 0, out.base,
      out.stride)
  }

  /// out[r][c] = |a[r] - b[c]|^2, of differences; summed as `productNT` sums.
  ///
  /// - Shapes: a [rows, depth], b [columns, depth], out [rows, columns].
  package func squaredDistances(_ a: Rows, _ b: Rows, into out: Rows) {
    precondition(a.width == b.width && out.count == a.count && out.width == b.count, "shapes of distances")
    table.pointee.squared_distances(
      a.base, a.stride, a.count, b.base, b.stride, b.count, a.width, out.base, out.stride)
  }

  /// out[i] = x[i] + sum over d of (x[i - d step] + x[i + d step]) taps[d], for d from 1 to `radius`.
  ///
  /// - Shapes: `x`, `out` [count], apart; radius * step floats lie in front of x and behind it.
  package func blurLine(
    _ x: UnsafePointer<Float>, step: Int, count: Int, taps: UnsafePointer<Float>, radius: Int,
    into out: UnsafeMutablePointer<Float>
  ) {
    table.pointee.blur_line(x, step, count, taps, radius, out)
  }

  /// out[r][c] = sum over k of a[r][k] * b[k][c]; fixed summation order.
  ///
  /// - Shapes: a [rows, depth], b [depth, columns], out [rows, columns].
  @inline(__always)
  package func productNN(_ a: Rows, _ b: Rows, accumulate: Bool = false, into out: Rows) {
    precondition(a.width == b.count && out.count == a.count && out.width == b.width, "shapes of a product")
    table.pointee.gemm_f32_nn(
      a.base, a.stride, a.count, b.base, b.stride, b.width, a.width, accumulate ? 1 : 0, out.base, out.stride)
  }

  /// LayerNorm of rows, in place.
  package func normalize(_ x: Rows, _ norm: NormWeights) { normalize(x, norm, into: x) }

  /// LayerNorm of rows.
  package func normalize(_ x: Rows, _ norm: NormWeights, into out: Rows) {
    precondition(x.width == norm.width && out.width == norm.width && out.count == x.count, "shapes of a norm")
    table.pointee.norm_rows(
      x.base, x.stride, x.count, norm.width, norm.weight, norm.bias, norm.epsilon, out.base, out.stride)
  }

  package func activate(_ x: UnsafeMutablePointer<Float>, _ count: Int, _ activation: Activation) {
    table.pointee.activate(x, count, activation.raw)
  }

  package func toHalf(_ x: UnsafePointer<Float>, _ count: Int, _ out: UnsafeMutablePointer<UInt16>) {
    table.pointee.to_half(x, count, out)
  }

  package func fromHalf(_ x: UnsafePointer<UInt16>, _ count: Int, _ out: UnsafeMutablePointer<Float>) {
    table.pointee.from_half(x, count, out)
  }

  /// Softmax numerators of logits, in place; row sums out.
  ///
  /// - Shapes: `logits` [rows, keys]; `rowSum` [rows], overwritten.
  package func expRows(
    _ logits: Rows, factor: Float, bias: RelativeBias? = nil, rowSum: UnsafeMutablePointer<Float>
  ) {
    table.pointee.exp_rows(
      logits.base, logits.stride, logits.count, logits.width, factor, bias?.vertical, bias?.horizontal,
      bias?.gridWidth ?? 1, rowSum)
  }

  /// sum += p * factor where the cosine is above the row's threshold.
  ///
  /// - Shapes: `p`, `cosine`, `sum` [rows, keys]; `factor`, `threshold` [rows].
  package func maskedAdd(
    _ p: Rows, cosine: Rows, factor: UnsafePointer<Float>, threshold: UnsafePointer<Float>, into sum: Rows
  ) {
    precondition(cosine.width == p.width && sum.width == p.width, "keys of another number")
    precondition(cosine.count == p.count && sum.count == p.count, "rows of another number")
    table.pointee.masked_add(
      p.base, p.stride, cosine.base, cosine.stride, p.count, p.width, factor, threshold, sum.base, sum.stride)
  }

  // MARK: Workers

  /// A room for every thread.
  package func perWorker<Room>(_ make: () throws(ComputeError) -> Room) throws(ComputeError) -> [Room] {
    var rooms: [Room] = []
    for _ in 0..<pool.threadCount { rooms.append(try make()) }
    return rooms
  }

  /// Shares `count` rows out among the threads, at most `limit` at a time.
  ///
  /// `multiple`: of 4, shares come out nearly even; what kernels lose at a share's end is less than what a
  /// thread loses that waits.
  package func share(_ count: Int, limit: Int, multiple: Int = 4, _ body: (Range<Int>, Int) -> Void) {
    pool.run(count: count, chunk: pool.chunk(count: count, limit: limit, multiple: multiple), body)
  }
}

/// Weights of one LayerNorm.
package struct NormWeights {
  package let weight: UnsafePointer<Float>
  package let bias: UnsafePointer<Float>
  package let width: Int
  package let epsilon: Float

  package init(weight: UnsafePointer<Float>, bias: UnsafePointer<Float>, width: Int, epsilon: Float) {
    self.weight = weight
    self.bias = bias
    self.width = width
    self.epsilon = epsilon
  }
}

/// Decomposed relative positions of a strip of queries: vertical [rows, gridHeight], horizontal [rows,
/// gridWidth].
package struct RelativeBias {
  package let vertical: UnsafePointer<Float>
  package let horizontal: UnsafePointer<Float>
  package let gridWidth: Int

  package init(vertical: UnsafePointer<Float>, horizontal: UnsafePointer<Float>, gridWidth: Int) {
    self.vertical = vertical
    self.horizontal = horizontal
    self.gridWidth = gridWidth
  }
}

@inline(__always)
package func roundUp(_ value: Int, to multiple: Int) -> Int { (value + multiple - 1) / multiple * multiple }

@inline(__always)
package func ceilDivide(_ value: Int, by divisor: Int) -> Int { (value + divisor - 1) / divisor }
