// SAM's prompt encoder and mask decoder, taken from the model file.
import Compute

extension DecoderShape {
  package init(_ config: SAMConfig, prompts: PromptKinds = .all) {
    self.init(
      grid: config.grid, imageSide: config.imageSide, width: config.neckWidth, decoder: config.decoder,
      prompts: prompts)
  }
}

extension PromptWeights {
  init(_ model: Model, _ schema: PromptSchema) {
    self.init(
      gaussian: model[schema.gaussian], points: model[schema.points], notAPoint: model[schema.notAPoint],
      noMask: model[schema.noMask],
      convolutions: [model[schema.conv0], model[schema.conv3], model[schema.conv6]],
      norms: [model[schema.norm1], model[schema.norm4]])
  }
}

extension AttentionWeights {
  init(_ model: Model, _ schema: AttentionSchema) {
    self.init(q: model[schema.q], k: model[schema.k], v: model[schema.v], out: model[schema.out])
  }
}

extension DecoderLayerWeights {
  init(_ model: Model, _ schema: DecoderLayerSchema) {
    self.init(
      selfAttention: AttentionWeights(model, schema.selfAttention),
      crossToken: AttentionWeights(model, schema.crossToken),
      crossImage: AttentionWeights(model, schema.crossImage),
      mlpIn: model[schema.mlpIn], mlpOut: model[schema.mlpOut], norms: schema.norms.map { model[$0] })
  }
}

extension DecoderWeights {
  package init(_ model: Model, _ schema: SAMSchema) {
    let decoder = schema.decoder
    self.init(
      prompt: PromptWeights(model, schema.prompt),
      tokens: OutputTokens(iou: model[decoder.iouToken], masks: model[decoder.maskTokens]),
      layers: decoder.layers.map { DecoderLayerWeights(model, $0) },
      final: AttentionWeights(model, decoder.final), finalNorm: model[decoder.finalNorm],
      upscale: UpscaleWeights(
        first: model[decoder.upscale0], norm: model[decoder.upscaleNorm], second: model[decoder.upscale3]),
      hyper: decoder.hyper.map { model[$0] }, iou: decoder.iou.map { model[$0] })
  }
}
