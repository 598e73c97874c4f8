// Typed access to the tensors of a mapped model: every shape is checked on the way, nothing is copied.
import Compute
import Container

/// Lends weights that stay in the mapped file.
///
/// - Memory: none of its own; pages become resident as kernels read them.
/// - Errors: a missing tensor or another shape throws, naming the tensor.
package struct ModelReader {
  package let model: MappedModel
  package let config: ModelConfig
  /// What was checked of the weights so far.
  let checks = StreamChecks()

  package init(_ model: MappedModel) throws(SegmentationError) {
    self.model = model
    config = try ModelConfig(model)
  }

  package func packed(_ name: String, inputs: Int, outputs: Int, bias: Bool = true) throws(SegmentationError)
    -> PackedLinear
  {
    let depth = roundUp(inputs, to: 64)
    let channels = roundUp(outputs, to: 16)
    return PackedLinear(
      inputs: inputs, outputs: outputs, weight: try pointer(name + ".weight", .i8, [depth, channels]),
      scale: try pointer(name + ".scale", .f32, [channels]), sum: try pointer(name + ".sum", .i32, [channels]),
      bias: bias ? try pointer(name + ".bias", .f32, [channels]) : nil)
  }

  /// Dimensions in GGUF order, fastest first.
  package func floats(_ name: String, _ dimensions: [Int]) throws(SegmentationError) -> UnsafePointer<Float> {
    try pointer(name, .f32, dimensions)
  }

  package func halves(_ name: String, _ dimensions: [Int]) throws(SegmentationError) -> UnsafePointer<UInt16> {
    try pointer(name, .f16, dimensions)
  }

  package func bytes(_ name: String, _ dimensions: [Int]) throws(SegmentationError) -> UnsafePointer<Int8> {
    try pointer(name, .i8, dimensions)
  }

  package func norm(_ name: String, width: Int, epsilon: Float) throws(SegmentationError) -> NormWeights {
    NormWeights(
      weight: try floats(name + ".weight", [width]), bias: try floats(name + ".bias", [width]), width: width,
      epsilon: epsilon)
  }

  /// The slowest dimension of a tensor whose size no key tells.
  package func lastDimension(_ name: String) throws(SegmentationError) -> Int {
    let count: Int
    do throws(ContainerError) {
      count = try model.tensor(name).dimensions.last ?? 0
    } catch {
      throw SegmentationError(.model(error.description))
    }
    guard (1...65_536).contains(count) else {
      throw SegmentationError(.model("\(model.path): \(name) has \(count) rows, outside 1...65536"))
    }
    return count
  }

  /// File offsets spanned by all tensors whose name begins with `prefix`.
  package func range(of prefix: String) -> Range<Int> {
    var lower = Int.max
    var upper = 0
    for tensor in model.tensors where tensor.name.hasPrefix(prefix) {
      lower = min(lower, tensor.offset)
      upper = max(upper, tensor.offset + tensor.byteCount)
    }
    return lower < upper ? lower..<upper : 0..<0
  }

  private func pointer<Element>(_ name: String, _ type: GGUFType, _ dimensions: [Int]) throws(SegmentationError)
    -> UnsafePointer<Element>
  {
    do throws(ContainerError) {
      return try model.bytes(name, type: type, dimensions: dimensions).assumingMemoryBound(to: Element.self)
    } catch {
      throw SegmentationError(.model(error.description))
    }
  }
}

extension ModelConfig {
  /// Reads and checks the configuration keys.
  package init(_ model: MappedModel) throws(SegmentationError) {
    do {
      let architecture = try model.string("general.architecture")
      guard architecture == "trident" else {
        throw SegmentationError(
          .model("\(model.path): general.architecture is '\(architecture)', not 'trident'; make the file with trident-quantize"))
      }
      let version = try model.uint("trident.format_version")
      guard version == 1 else {
        throw SegmentationError(
          .model("\(model.path): trident.format_version is \(version), this program reads 1; quantize the checkpoints again"))
      }
      let packing = try model.string("trident.packing")
      guard packing == "panel16x4" else {
        throw SegmentationError(.model("\(model.path): trident.packing '\(packing)' is not panel16x4"))
      }
      self = try ModelConfig(keys: model)
    } catch let error as SegmentationError {
      throw error
    } catch let error as ContainerError {
      throw SegmentationError(.model(error.description))
    } catch {
      throw SegmentationError(.model("\(error)"))
    }
    try check(path: model.path)
  }

  private init(keys model: MappedModel) throws {
    let activationName = try model.string("trident.clip.activation")
    guard let activation = ["gelu": Activation.gelu, "quickgelu": .quickGELU][activationName] else {
      throw SegmentationError(
        .model("\(model.path): trident.clip.activation is '\(activationName)', not gelu or quickgelu"))
    }
    func encoder(_ name: String, gridKey: String = "grid", activation: Activation, epsilon: String) throws
      -> EncoderConfig
    {
      func number(_ key: String) throws -> Int {
        let value = try model.uint("trident.\(name).\(key)")
        guard (1...65_536).contains(value) else {
          throw SegmentationError(.model("\(model.path): trident.\(name).\(key) is \(value), outside 1...65536"))
        }
        return value
      }
      return EncoderConfig(
        name: name, width: try number("width"), depth: try number("depth"), heads: try number("heads"),
        headWidth: try number("head_width"), mlpWidth: try number("mlp_width"),
        patch: name == "text" ? 0 : try number("patch"), grid: try number(gridKey),
        normEpsilon: try model.float(epsilon), activation: activation)
    }
    clip = try encoder("clip", activation: activation, epsilon: "trident.clip.norm_epsilon")
    text = try encoder("text", gridKey: "context", activation: activation, epsilon: "trident.clip.norm_epsilon")
    dino = try encoder("dino", activation: .gelu, epsilon: "trident.dino.norm_epsilon")
    embedWidth = try model.uint("trident.clip.embed_dim")
    vocabularySize = try model.uint("trident.text.vocab")
    sam = SAMConfig(
      encoder: try encoder("sam", activation: .gelu, epsilon: "trident.sam.norm_epsilon"),
      window: try model.uint("trident.sam.window"), globalBlocks: try model.uints("trident.sam.global_blocks"),
      imageSide: try model.uint("trident.sam.image_side"), neckWidth: try model.uint("trident.sam.neck_width"),
      decoderDepth: try model.uint("trident.sam.decoder.depth"),
      decoderHeads: try model.uint("trident.sam.decoder.heads"),
      decoderMLPWidth: try model.uint("trident.sam.decoder.mlp_width"),
      maskTokens: try model.uint("trident.sam.decoder.mask_tokens"),
      hyperDepth: try model.uint("trident.sam.decoder.hyper_depth"),
      iouDepth: try model.uint("trident.sam.decoder.iou_depth"),
      attentionWidth: try model.uint("trident.sam.decoder.attention_width"))
  }

  /// Refuses sizes that no real or toy model has, before anything is allocated from them.
  private func check(path: String) throws(SegmentationError) {
    func refuse(_ text: String) throws(SegmentationError) { throw SegmentationError(.model("\(path): \(text)")) }
    for encoder in [clip, text, dino, sam.encoder] {
      let limits: [(String, Int, Int)] = [
        ("width", encoder.width, 8192), ("depth", encoder.depth, 256), ("heads", encoder.heads, 256),
        ("head_width", encoder.headWidth, 512), ("mlp_width", encoder.mlpWidth, 32_768),
        (encoder.name == "text" ? "context" : "grid", encoder.grid, AttentionScratch.widestGrid), ("patch", encoder.patch, 64),
      ]
      for (key, value, limit) in limits where value > limit {
        try refuse("trident.\(encoder.name).\(key) is \(value), more than \(limit)")
      }
      if !(encoder.normEpsilon > 0 && encoder.normEpsilon < 1) {
        try refuse("trident.\(encoder.name).norm_epsilon is \(encoder.normEpsilon)")
      }
    }
    let sizes: [(String, Int, Int)] = [
      ("trident.clip.embed_dim", embedWidth, 8192), ("trident.text.vocab", vocabularySize, 1_000_000),
      ("trident.sam.window", sam.window, 256), ("trident.sam.neck_width", sam.neckWidth, 4096),
      ("trident.sam.decoder.depth", sam.decoderDepth, 64), ("trident.sam.decoder.heads", sam.decoderHeads, 256),
      ("trident.sam.decoder.mlp_width", sam.decoderMLPWidth, 32_768),
      ("trident.sam.decoder.mask_tokens", sam.maskTokens, 64), ("trident.sam.decoder.hyper_depth", sam.hyperDepth, 16),
      ("trident.sam.decoder.iou_depth", sam.iouDepth, 16),
      ("trident.sam.decoder.attention_width", sam.attentionWidth, 4096),
    ]
    for (key, value, limit) in sizes where !(1...limit).contains(value) {
      try refuse("\(key) is \(value), outside 1...\(limit)")
    }
    if sam.imageSide != sam.encoder.grid * sam.encoder.patch {
      try refuse("trident.sam.image_side \(sam.imageSide) is not grid \(sam.encoder.grid) times patch \(sam.encoder.patch)")
    }
    if sam.globalBlocks.contains(where: { $0 >= sam.encoder.depth }) || !sam.globalBlocks.contains(sam.encoder.depth - 1) {
      try refuse("trident.sam.global_blocks must name blocks of 0..<\(sam.encoder.depth) and the last one")
    }
    if text.grid < 2 { try refuse("trident.text.context is \(text.grid), too short for the two marks") }
    if vocabularySize < 514 { try refuse("trident.text.vocab is \(vocabularySize), less than 514") }
  }
}
