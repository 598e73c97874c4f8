// A folder of toy checkpoints, ready to be quantized.
import Foundation
import TestSupport
import Testing

import Quantization

/// A folder with the three toys, a vocabulary, and a request to quantize them.
final class ToyFolder {
  let path: String
  var request: QuantizationRequest

  init(
    clip: ToyCheckpoint = .clip(), dino: ToyCheckpoint = .dino(), sam: ToyCheckpoint = .sam()
  ) throws {
    path = NSTemporaryDirectory() + "trident-quantizer-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    request = QuantizationRequest(
      clip: path + "/clip.safetensors", dino: path + "/dino.safetensors", sam: path + "/sam.safetensors",
      output: path + "/model.gguf")
    request.activation = .quickgelu
    request.clipHeadWidth = 24
    try clip.safetensors().write(to: URL(fileURLWithPath: request.clip))
    try dino.safetensors().write(to: URL(fileURLWithPath: request.dino))
    try sam.safetensors().write(to: URL(fileURLWithPath: request.sam))
    try write("merges.txt", "#version: 0.2\ni n\nt h\na n\n")
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ text: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
  }

  var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path))?.sorted() ?? [] }

  func quantize() throws(QuantizationFailure) -> QuantizationReport {
    try ModelQuantizer(request) { _ in }.run()
  }
}
