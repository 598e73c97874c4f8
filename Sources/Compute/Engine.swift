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

  var raw: ck_activation {
    switch self {
    case .none: CK_ACTIVATION_NONE
    case .gelu: CK_ACTIVATION_GELU
    case .quickGELU: CK_ACTIVATION_QUICKGELU
    case .relu: CK_ACTIVATION_RELU
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

  /// An engine for small, sensitive networks inside an INT8 run: same threads, float activations, our own float products.
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
  func productFloat(
    _ a: UnsafePointer<Float>, _ aStride: Int, _ b: UnsafePointer<Float>, _ bStride: Int, transposed: Bool,
    rows: Int, columns: Int, depth: Int, accumulate: Bool, out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    if let blas {
      blas.multiply(
        a, aStride, b, bStride, transposed: transposed, rows: rows, columns: columns, depth: depth,
        accumulate: accumulate, out: out, outStride)
    } else if transposed {
      productNT(
        a, aStride, rows: rows, b, bStride, columns: columns, depth: depth, accumulate: accumulate, out: out, outStride)
    } else {
      productNN(
        a, aStride, rows: rows, b, bStride, columns: columns, depth: depth, accumulate: accumulate, out: out, outStride)
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
  @inline(__always)
  package func productNT(
    _ a: UnsafePointer<Float>, _ aStride: Int, rows: Int, _ b: UnsafePointer<Float>, _ bStride: Int, columns: Int,
    depth: Int, bias: UnsafePointer<Float>? = nil, accumulate: Bool = false, out: UnsafeMutablePointer<Float>,
    _ outStride: Int
  ) {
    table.pointee.gemm_f32_nt(
      a, aStride, rows, b, bStride, columns, depth, bias, accumulate ? 1 : 0, out, outStride)
  }

  /// out[r][c] = sum over k of a[r][k] * b[k][c]; fixed summation order.
  @inline(__always)
  package func productNN(
    _ a: UnsafePointer<Float>, _ aStride: Int, rows: Int, _ b: UnsafePointer<Float>, _ bStride: Int, columns: Int,
    depth: Int, accumulate: Bool = false, out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    table.pointee.gemm_f32_nn(a, aStride, rows, b, bStride, columns, depth, accumulate ? 1 : 0, out, outStride)
  }

  /// LayerNorm of rows; `out` may be `x`.
  package func normalize(
    _ x: UnsafePointer<Float>, _ stride: Int, rows: Int, _ norm: NormWeights, out: UnsafeMutablePointer<Float>,
    _ outStride: Int
  ) {
    table.pointee.norm_rows(
      x, stride, rows, norm.width, norm.weight, norm.bias, norm.epsilon, out, outStride)
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
  package func expRows(
    _ logits: UnsafeMutablePointer<Float>, _ stride: Int, rows: Int, keys: Int, factor: Float,
    bias: RelativeBias? = nil, rowSum: UnsafeMutablePointer<Float>
  ) {
    table.pointee.exp_rows(
      logits, stride, rows, keys, factor, bias?.vertical, bias?.horizontal, bias?.gridWidth ?? 1, rowSum)
  }

  package func maskedAdd(
    _ p: UnsafePointer<Float>, _ pStride: Int, cosine: UnsafePointer<Float>, _ cosineStride: Int, rows: Int,
    keys: Int, factor: UnsafePointer<Float>, threshold: UnsafePointer<Float>, sum: UnsafeMutablePointer<Float>,
    _ sumStride: Int
  ) {
    table.pointee.masked_add(
      p, pStride, cosine, cosineStride, rows, keys, factor, threshold, sum, sumStride)
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

/// Decomposed relative positions of a strip of queries: vertical [rows, gridHeight], horizontal [rows, gridWidth].
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
