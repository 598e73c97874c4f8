// Largest magnitudes behind norms, channel by channel: what calibration needs to know of a run.
import Synchronization

/// Collects the largest magnitude of every channel that leaves a norm. Nil in ordinary runs.
///
/// Maxima do not depend on the order of rows, so results are the same for any number of threads.
/// - Memory: one float per channel of every norm seen; two rows of floats per worker while it looks.
package final class NormObserver: Sendable {
  private let store = Mutex<[UInt: [Float]]>([:])

  package init() {}

  /// Largest magnitudes behind the norm whose weights lie at `weight`, or nil if it was never used.
  package func maxima(_ weight: UnsafePointer<Float>) -> [Float]? {
    store.withLock { $0[UInt(bitPattern: weight)] }
  }

  /// Looks at rows that are about to be normalized.
  ///
  /// - Shapes: `x` [rows, norm.width].
  func observe(_ engine: Engine, _ x: Rows, _ norm: NormWeights) {
    let width = norm.width
    let depth = roundUp(width, to: 64)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * depth) { room in
      room.initialize(repeating: 0)
      let (line, top) = (room.baseAddress!, room.baseAddress! + depth)
      for row in 0..<x.count {
        engine.normalize(x[row..<row + 1], norm, into: Rows(line, count: 1, width: width))
        for channel in 0..<width { top[channel] = max(top[channel], abs(line[channel])) }
      }
      merge(UnsafeBufferPointer(start: top, count: width), key: UInt(bitPattern: norm.weight))
    }
  }

  private func merge(_ maxima: UnsafeBufferPointer<Float>, key: UInt) {
    // A value of the buffer's own: the lock's closure must not carry a pointer.
    let fresh = Array(maxima)
    store.withLock { all in
      guard let old = all[key] else {
        all[key] = fresh
        return
      }
      all[key] = zip(old, fresh).map { max($0, $1) }
    }
  }
}
