// Where a model file's weights came from, and what was done to them on the way.

import Container
import Segmentation
import System

extension ModelQuantizer {
  /// Base names, sizes and digests of the sources: the same wherever the files lie.
  func provenance() throws(QuantizationError) -> KeyValues {
    var values: KeyValues = []
    let total = sources.reduce(0) { $0 + $1.directory.byteCount }
    var before = 0
    for (key, directory) in sources {
      let name = fileName(of: directory.path)
      let digest = try directory.sha256Hex { done in
        progress(QuantizationProgress(stage: .hashing, name: name, done: before + done, total: total))
      }
      before += directory.byteCount
      values += entry(key, file: name, digest: digest, byteCount: directory.byteCount)
      if let prefix = directory.networkPrefix, !prefix.isEmpty {
        values.append(("trident.source.\(key).prefix", .string(prefix)))
      }
      if !directory.assumptions.isEmpty {
        let text = directory.assumptions.joined(separator: "; ")
        values.append(("trident.source.\(key).assumed", .string(text)))
      }
      let suppressed = suppressed(in: directory)
      if !suppressed.isEmpty {
        values.append(("trident.source.\(key).suppressed", .strings(suppressed)))
      }
    }
    guard let vocabulary else { return values }
    switch vocabulary {
    case .bytePairs(let source):
      let name = fileName(of: source.path)
      values += entry("vocab", file: name, digest: source.sha256Hex, byteCount: source.byteCount)
    case .pieces(let source):
      let name = fileName(of: source.path)
      values += entry("tokenizer", file: name, digest: source.sha256Hex, byteCount: source.byteCount)
    case .wordPieces(let source):
      let name = fileName(of: source.path)
      values += entry("tokenizer", file: name, digest: source.sha256Hex, byteCount: source.byteCount)
    }
    return values
  }

  private func entry(
    _ key: String, file: String, digest: String, byteCount: Int
  ) -> KeyValues {
    [
      ("trident.source.\(key).file", .string(file)), ("trident.source.\(key).sha256", .string(digest)),
      ("trident.source.\(key).bytes", .uint64(UInt64(byteCount))),
    ]
  }

  /// A line for each channel that was suppressed.
  private func suppressed(in directory: TensorDirectory) -> [String] {
    items.filter { $0.directory === directory }.compactMap { item in
      item.suppressed.map { "\(item.name), \($0.description)" }
    }
  }
}
