// Named intermediate results, recorded for parity tests.
import Compute

/// Collects copies of intermediate tensors. Used by tests and `--taps`; nil in ordinary runs.
package final class Taps {
  package struct Tap {
    package var shape: [Int]
    package var values: [Float]
  }
  package private(set) var all: [String: Tap] = [:]
  private let wants: (String) -> Bool

  package init(wants: @escaping (String) -> Bool = { _ in true }) { self.wants = wants }

  package func record(_ name: @autoclosure () -> String, _ values: UnsafePointer<Float>, _ shape: [Int]) {
    let name = name()
    guard wants(name) else { return }
    all[name] = Tap(
      shape: shape, values: Array(UnsafeBufferPointer(start: values, count: shape.reduce(1, *))))
  }
}
