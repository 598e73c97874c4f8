// Named intermediate results, recorded for parity tests.
import Compute
import Synchronization

/// Collects copies of intermediate tensors. Used by tests and the hidden `--taps`; nil in ordinary runs.
package final class Taps: Sendable {
  package struct Tap: Sendable {
    package var shape: [Int]
    package var values: [Float]
  }
  private let store = Mutex<[String: Tap]>([:])

  package init() {}

  /// Everything recorded so far.
  package var all: [String: Tap] { store.withLock { $0 } }

  package func record(_ name: String, _ values: UnsafePointer<Float>, _ shape: [Int]) {
    let tap = Tap(
      shape: shape, values: Array(UnsafeBufferPointer(start: values, count: shape.reduce(1, *))))
    store.withLock { $0[name] = tap }
  }

  /// The `.taps` format of the reference generator: a text header, then little-endian floats.
  package func file() -> [UInt8] {
    var header = "taps 1\n"
    var data: [UInt8] = []
    for (name, tap) in all.sorted(by: { $0.key < $1.key }) {
      let shape = tap.shape.map(String.init).joined(separator: " ")
      header += "\(name) f32 \(tap.shape.count) \(shape) \(data.count) 1 0 0\n"
      tap.values.withUnsafeBytes { data.append(contentsOf: $0) }
    }
    return Array((header + "\n").utf8) + data
  }
}
