// SigLIP's text tower at toy size, and checkpoints in several parts.
import Container
import Quantization
import Segmentation
import System
import Toys

#if canImport(Glibc)
  import Glibc
#endif

/// Edits of the toy tower's model file, and a phrase that goes through it.
func fuzzTower(_ bytes: UnsafeBufferPointer<UInt8>) {
  var input = Input(bytes)
  var model = toyTower.model
  input.edit(&model, focus: 16_384, places: toyTower.places)
  let phrase = String(decoding: input.bytes(24), as: UTF8.self)
  withFile(model) { encode(phrase, model: $0) }
}

/// Encodes within 64 MiB more than the process has.
private func encode(_ phrase: String, model: String) {
  var decoding = MappedModel.DecodeOptions()
  decoding.ignoreChecksums = true
  guard let mapped = try? MappedModel(path: model, options: decoding) else { return }
  var runtime = RuntimeOptions()
  runtime.threads = 1
  runtime.memoryLimit = ProcessMemory.now().anonymous + (64 << 20)
  do {
    let session = try Session(model: mapped, runtime: runtime)
    let source = PromptSource(phrases: [phrase], tokenizer: try session.makeTokenizer())
    let plan = try session.planText(source, .int8)
    let report = try session.encodeText(source, .int8, plan: plan, measures: false)
    precondition(report.vectors.count == session.embedWidth, "a vector of another width")
  } catch {
    precondition(!"\(error)".isEmpty)
  }
}

/// An index up to the first zero byte, then one part that it may name.
func fuzzShards(_ bytes: UnsafeBufferPointer<UInt8>) {
  let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
  let index = scratch + "/index.json"
  try! FileBytes.replace(index, with: Array(parts[0]))
  try! FileBytes.replace(scratch + "/part.safetensors", with: parts.count > 1 ? Array(parts[1]) : [0])
  guard let directory = try? TensorDirectory.open(path: index) else { return }
  for name in directory.names where directory.record(name).map({ $0.elementCount <= 1 << 16 }) ?? false {
    _ = try? directory.readFloat(name)
  }
  _ = try? directory.sha256Hex()
}

/// The toy tower, quantized, and where the values of the configuration and of the tokenizer are.
private let toyTower: (model: [UInt8], places: [Int]) = {
  let pieces: [(String, Float)] = [
    ("a", 0), ("o", 0), ("\u{2581}", 0), ("\u{2581}a", -1), ("of", -2), ("f", 0),
  ]
  let table = pieceModel(pieces.map { ($0.0, $0.1, 1) })
  let output = scratch + "/tower.gguf"
  let checkpoint = Array(ToyCheckpoint.siglip(pieces: 259 + pieces.count).safetensors())
  withFiles([checkpoint, table]) { paths in
    let request = QuantizationRequest(siglipText: paths[0], tokenizer: paths[1], output: output)
    _ = try! ModelQuantizer(request) { _ in }.run()
  }
  let model = try! MappedModel(path: output)
  let values = model.header.entries.filter {
    ($0.key.hasPrefix("trident.") && $0.type != .string) || $0.key.hasPrefix("tokenizer.")
  }
  return withExtendedLifetime(model) { (Array(model.fileBytes), values.map(\.offset)) }
}()
