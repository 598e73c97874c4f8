// Where a model is and how it runs: what was asked for, then what the environment says.
import Segmentation
import System

/// The model that was named, or that of TRIDENT_MODEL, or the usual one of `trident pull`. A name that is no
/// file's may be that of a model that was pulled.
///
/// - Errors: `.usage` where no model is named, with where to get one.
package func modelPath(_ named: String?) throws(SegmentationError) -> String {
  if let path = named ?? environment("TRIDENT_MODEL"), !path.isEmpty { return ModelFolder.resolved(path) }
  if named == nil, let path = ModelFolder()?.usual { return path }
  throw SegmentationError(
    .usage(
      "no model: 'trident pull trident-b16' fetches one for photos, from then on the usual one; or give "
        + "--model FILE, or set TRIDENT_MODEL. For a first try on drawings take models/demo/demo.gguf (in "
        + "packages /usr/share/trident/demo.gguf)"))
}

extension RuntimeOptions {
  /// What was asked for, with TRIDENT_MEMORY_LIMIT and TRIDENT_CPU where it says nothing.
  ///
  /// - Errors: `.usage` for a number of threads out of range, and for a variable that is no size.
  package init(threads: Int?, memoryLimit: ByteCount? = nil) throws(SegmentationError) {
    self.init()
    if let threads {
      guard (1...256).contains(threads) else {
        throw SegmentationError(.usage("--threads \(threads) is outside 1...256"))
      }
      self.threads = threads
    }
    if let memoryLimit { try Self.check(memoryLimit, "--memory-limit") }
    self.memoryLimit = memoryLimit?.value
    if memoryLimit == nil, let text = environment("TRIDENT_MEMORY_LIMIT"), !text.isEmpty {
      guard let count = ByteCount(text) else {
        throw SegmentationError(.usage("TRIDENT_MEMORY_LIMIT is '\(text)', not a size such as 48M"))
      }
      try Self.check(count, "TRIDENT_MEMORY_LIMIT")
      self.memoryLimit = count.value
    }
    cpuPath = environment("TRIDENT_CPU")
  }

  /// - Errors: `.usage` for so few bytes that another unit was meant.
  private static func check(_ limit: ByteCount, _ name: String) throws(SegmentationError) {
    guard limit.value < 1 << 20 else { return }
    let meant = limit.value < 1 << 10 ? limit.value : limit.value >> 10
    throw SegmentationError(
      .usage("\(name): \(limit.value) bytes are too few for any photo; did you mean \(meant)M?"))
  }
}
