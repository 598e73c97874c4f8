// OpenBLAS, loaded only when float32 precision is asked for: merely linking it would cost every run its
// threads and buffers.
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The one OpenBLAS function used, single threaded (our pool shares out the rows).
///
/// - Memory: OpenBLAS keeps a packing buffer for each calling thread (tens of MiB, partly touched).
package struct OpenBLAS: @unchecked Sendable {
  private typealias SGEMM =
    @convention(c) (
      Int32, Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<Float>, Int32, UnsafePointer<Float>,
      Int32, Float,
      UnsafeMutablePointer<Float>, Int32
    ) -> Void
  private let function: SGEMM

  package static func load() throws(ComputeError) -> OpenBLAS {
    for name in ["libopenblas.so.0", "libopenblas.so"] {
      guard let handle = dlopen(name, RTLD_NOW | RTLD_LOCAL) else { continue }
      guard let symbol = dlsym(handle, "cblas_sgemm") else { continue }
      if let setThreads = dlsym(handle, "openblas_set_num_threads") {
        unsafeBitCast(setThreads, to: (@convention(c) (Int32) -> Void).self)(1)
      }
      return OpenBLAS(function: unsafeBitCast(symbol, to: SGEMM.self))
    }
    throw ComputeError(.openBLASMissing(dlerror().map { String(cString: $0) } ?? "not found"))
  }

  /// out [rows, columns] = a [rows, depth] * b, b being [columns, depth] if `transposed`, else [depth,
  /// columns]; added to out if `accumulate`.
  package func multiply(
    _ a: UnsafePointer<Float>, _ aStride: Int, _ b: UnsafePointer<Float>, _ bStride: Int, transposed: Bool,
    rows: Int, columns: Int, depth: Int, accumulate: Bool, out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    let rowMajor: Int32 = 101
    function(
      rowMajor, 111, transposed ? 112 : 111, Int32(rows), Int32(columns), Int32(depth), 1, a, Int32(aStride),
      b,
      Int32(bStride), accumulate ? 1 : 0, out, Int32(outStride))
  }
}
