// How text vectors were made: what a vocabulary says of itself, and what the cache tells apart.

/// Precision of the activations while words were encoded. The weights are bytes in every case.
package enum TextEncoding: String, Sendable, CaseIterable {
  /// Not said: older programs did not, and had one byte a value. Such vectors are coarser.
  case unstated
  /// Two bytes a value.
  case fine = "int8x2"
  case float32
  /// By the published tower, outside this program.
  case published

  /// What this program makes.
  package init(_ precision: PrecisionChoice) {
    self =
      switch precision {
      case .int8: .fine
      case .float32: .float32
      }
  }
}
