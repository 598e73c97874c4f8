// A folder in a checkpoint's place, as Hugging Face's hub gives it.

import System

package enum CheckpointFolder {
  /// In this order; the last two are open_clip's.
  static let fileNames = [
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
    "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
  ]

  /// The checkpoint's file: `path` itself, or the one that a folder holds.
  ///
  /// - Errors: `unsupportedModel` for a folder without one.
  package static func file(_ path: String) throws(QuantizationError) -> String {
    guard isFolder(path) else { return path }
    let base = path.hasSuffix("/") ? path : path + "/"
    guard let name = fileNames.first(where: { fileExists(base + $0) }) else {
      throw QuantizationError(
        .unsupportedModel("no \(fileNames[0]) and no \(fileNames[2]) in this folder"), path: path)
    }
    return base + name
  }
}
