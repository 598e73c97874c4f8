// Model files: any GGUF. Edits of a toy model are run by `segment`.
import Container
import Segmentation

/// Everything that can be asked of a GGUF file.
func fuzzGGUF(_ bytes: UnsafeBufferPointer<UInt8>) {
  withFile(Array(bytes)) { path in
    for anyArchitecture in [false, true] {
      var options = MappedModel.DecodeOptions()
      options.ignoreChecksums = true
      options.anyArchitecture = anyArchitecture
      guard let model = try? MappedModel(path: path, options: options) else { continue }
      for key in model.keys {
        _ = try? model.value(key)
        _ = try? model.uint(key)
        _ = try? model.uints(key)
        _ = try? model.float(key)
        try? model.strings(key) { _, text in precondition(text.count <= bytes.count) }
      }
      var end = 0
      for tensor in model.tensors {
        precondition(
          tensor.offset >= end && tensor.range.upperBound <= bytes.count, "a tensor outside the file")
        end = tensor.range.upperBound
        model.advise(tensor.range, .willNeed)
      }
      try? model.verify { _, _ in }
      _ = try? Model(model)
    }
  }
}
