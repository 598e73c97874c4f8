// SAM's prompt encoder and mask decoder, found in the model file by name.
import Compute

extension DecoderShape {
  package init(_ config: SAMConfig, prompts: PromptKinds = .all) {
    self.init(
      grid: config.grid, imageSide: config.imageSide, width: config.neckWidth, depth: config.decoderDepth,
      heads: config.decoderHeads, mlpWidth: config.decoderMLPWidth, maskTokens: config.maskTokens,
      attentionWidth: config.attentionWidth, prompts: prompts)
  }

  /// Refuses sizes that do not divide.
  func check(_ path: String) throws(SegmentationError) {
    guard width % 8 == 0, width % heads == 0, attentionWidth % heads == 0 else {
      throw SegmentationError(
        .model(
          "\(path): SAM's decoder: widths \(width) and \(attentionWidth) do not divide by trident.sam.decoder.heads, \(heads)"
        ))
    }
  }
}

extension PromptWeights {
  init(_ reader: ModelReader, width: Int) throws(SegmentationError) {
    let first = Self.firstChannels
    let second = Self.secondChannels
    func dense(_ layer: Int, _ dimensions: [Int]) throws(SegmentationError) -> DenseWeights {
      let name = "sam.prompt.mask.\(layer)"
      let inputs = dimensions[0] * dimensions[1] * dimensions[2]
      return DenseWeights(
        weight: try reader.floats(name + ".weight", dimensions),
        bias: try reader.floats(name + ".bias", [dimensions[3]]), inputs: inputs, outputs: dimensions[3])
    }
    self.init(
      gaussian: try reader.floats("sam.prompt.gaussian", [width / 2, 2]),
      points: try reader.floats("sam.prompt.points", [width, 4]),
      notAPoint: try reader.floats("sam.prompt.not_a_point", [width]),
      noMask: try reader.floats("sam.prompt.no_mask", [width]), conv0: try dense(0, [2, 2, 1, first]),
      norm1: try reader.norm("sam.prompt.mask.1", width: first, epsilon: 1e-6),
      conv3: try dense(3, [2, 2, first, second]),
      norm4: try reader.norm("sam.prompt.mask.4", width: second, epsilon: 1e-6),
      conv6: try dense(6, [1, 1, second, width]))
  }
}

extension AttentionWeights {
  init(_ reader: ModelReader, _ name: String, width: Int, inner: Int) throws(SegmentationError) {
    self.init(
      q: try reader.packed(name + ".q", inputs: width, outputs: inner, bias: true),
      k: try reader.packed(name + ".k", inputs: width, outputs: inner, bias: true),
      v: try reader.packed(name + ".v", inputs: width, outputs: inner, bias: true),
      out: try reader.packed(name + ".out", inputs: inner, outputs: width, bias: true))
  }
}

extension DecoderWeights {
  /// - Errors: a missing tensor or another shape throws, naming the tensor.
  package init(_ reader: ModelReader, _ config: SAMConfig) throws(SegmentationError) {
    let shape = DecoderShape(config)
    try shape.check(reader.model.path)
    let width = shape.width
    var layers: [DecoderLayerWeights] = []
    for index in 0..<shape.depth {
      let name = "sam.decoder.layers.\(index)"
      var norms: [NormWeights] = []
      for norm in 1...4 { norms.append(try reader.norm(name + ".norm\(norm)", width: width, epsilon: 1e-5)) }
      layers.append(
        DecoderLayerWeights(
          selfAttention: try AttentionWeights(reader, name + ".self_attn", width: width, inner: width),
          crossToken: try AttentionWeights(
            reader, name + ".cross_token", width: width, inner: shape.attentionWidth),
          crossImage: try AttentionWeights(
            reader, name + ".cross_image", width: width, inner: shape.attentionWidth),
          mlpIn: try reader.packed(name + ".mlp_in", inputs: width, outputs: shape.mlpWidth, bias: true),
          mlpOut: try reader.packed(name + ".mlp_out", inputs: shape.mlpWidth, outputs: width, bias: true),
          norms: norms))
    }
    // Hidden layers are as wide as their tensors say; the ends are fixed by what they join.
    func network(_ name: String, depth: Int, outputs: Int) throws(SegmentationError) -> [DenseWeights] {
      var network: [DenseWeights] = []
      var inputs = width
      for index in 0..<depth {
        let out = index == depth - 1 ? outputs : try reader.lastDimension("\(name).\(index).weight")
        network.append(
          DenseWeights(
            weight: try reader.floats("\(name).\(index).weight", [inputs, out]),
            bias: try reader.floats("\(name).\(index).bias", [out]), inputs: inputs, outputs: out))
        inputs = out
      }
      return network
    }
    self.init(
      prompt: try PromptWeights(reader, width: width), layers: layers,
      final: try AttentionWeights(reader, "sam.decoder.final", width: width, inner: shape.attentionWidth),
      finalNorm: try reader.norm("sam.decoder.final.norm", width: width, epsilon: 1e-5),
      iouToken: try reader.floats("sam.decoder.iou_token", [width, 1]),
      maskTokens: try reader.floats("sam.decoder.mask_tokens", [width, shape.maskTokens]),
      upscale0: try reader.packed("sam.decoder.upscale.0", inputs: width, outputs: width, bias: true),
      upscaleNorm: try reader.norm("sam.decoder.upscale.1", width: width / 4, epsilon: 1e-6),
      upscale3: try reader.packed("sam.decoder.upscale.3", inputs: width / 4, outputs: width / 2, bias: true),
      hyper: try network("sam.decoder.hyper", depth: config.hyperDepth, outputs: width / 8),
      iou: try network("sam.decoder.iou", depth: config.iouDepth, outputs: shape.maskTokens))
  }
}
