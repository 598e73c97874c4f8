// Checkpoints of every kind: opened, and every tensor read.
import Quantization
import System

func fuzzZip(_ bytes: UnsafeBufferPointer<UInt8>) {
  var repaired = Array(bytes)
  repairChecksums(&repaired)
  readCheckpoint(repaired)
}

/// The input is the pickle of an archive with one storage of sixteen floats.
func fuzzPickle(_ bytes: UnsafeBufferPointer<UInt8>) {
  readCheckpoint(storedZip([("m/data.pkl", Array(bytes)), ("m/data/0", storage)]))
}

/// The same in a TorchScript archive, where modules are allowed.
func fuzzScript(_ bytes: UnsafeBufferPointer<UInt8>) {
  readCheckpoint(storedZip([("m/data.pkl", Array(bytes)), ("m/constants.pkl", []), ("m/data/0", storage)]))
}

/// Any file: what its first bytes say decides who reads it, above all the readers of legacy and safetensors
/// files.
func fuzzCheckpoint(_ bytes: UnsafeBufferPointer<UInt8>) { readCheckpoint(Array(bytes)) }

/// Vocabularies of byte pairs: lines, `tokenizer.json`, either gzipped.
func fuzzMerges(_ bytes: UnsafeBufferPointer<UInt8>) {
  withFile(Array(bytes)) { path in
    for size in [514, 516, 49_408] { _ = try? BytePairSource.read(path: path, vocabularySize: size) }
  }
}

private let storage = [UInt8](repeating: 0x3F, count: 64)

private func readCheckpoint(_ bytes: [UInt8]) {
  withFile(bytes) { path in
    guard let directory = try? TensorDirectory.open(path: path) else { return }
    // A view of a few bytes may have many elements (stride 0); reading those is the caller's choice.
    for name in directory.names where directory.record(name).map({ $0.elementCount <= 1 << 16 }) ?? false {
      _ = try? directory.readFloat(name)
    }
    try? directory.verifyChecksums()
  }
}
