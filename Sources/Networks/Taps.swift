// Named intermediate results, recorded for parity tests under the names of the PyTorch reference.
import Compute
import Synchronization

/// Collects copies of intermediate matrices, row by row. Used by tests and the hidden `--taps`; nil in
/// ordinary runs.
package final class Taps: Sendable {
  /// Rows by their place in the whole matrix.
  package typealias Tap = [Int: [Float]]
  private let store = Mutex<[String: Tap]>([:])

  package init() {}

  /// Everything recorded so far.
  package var all: [String: Tap] { store.withLock { $0 } }

  /// Keeps rows; `first` is the place of the first of them.
  package func record(_ name: String, _ rows: Rows, at first: Int = 0) {
    let copies = (0..<rows.count).map { Array(UnsafeBufferPointer(start: rows.row($0), count: rows.width)) }
    store.withLock { taps in
      for (index, row) in copies.enumerated() { taps[name, default: [:]][first + index] = row }
    }
  }

  /// The `.taps` format of the reference generator: a text header, then little-endian floats.
  package func file() -> [UInt8] {
    var header = "taps 1\n"
    var data: [UInt8] = []
    for (name, tap) in all.sorted(by: { $0.key < $1.key }) {
      let rows = tap.sorted { $0.key < $1.key }.map(\.value)
      header += "\(name) f32 2 \(rows.count) \(rows.first?.count ?? 0) \(data.count) 1 0 0\n"
      for row in rows { row.withUnsafeBytes { data.append(contentsOf: $0) } }
    }
    return Array((header + "\n").utf8) + data
  }
}
