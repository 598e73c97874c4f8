// SAM checkpoints, prompt encoder and mask decoder. Source: facebookresearch/segment-anything
// `modeling/prompt_encoder.py`, `modeling/mask_decoder.py`, `modeling/transformer.py`.

import Segmentation
import System

enum SAMDecoderNameMap {
  /// Heads leave no trace in the tensors; every published SAM has eight. Source: `build_sam.py`.
  static let heads = 8
  private static let layers = "mask_decoder.transformer.layers."
  private static let hyper = "mask_decoder.output_hypernetworks_mlps."
  private static let iou = "mask_decoder.iou_prediction_head.layers."

  static func config(_ view: CheckpointView, width: Int) throws(QuantizationError) -> DecoderConfig {
    let attention = try view.shape(layers + "0.cross_attn_token_to_image.q_proj.weight", axes: 2)[0]
    guard width % heads == 0, attention % heads == 0, width % 8 == 0 else {
      throw view.refuse("mask decoder widths \(width) and \(attention) are not multiples of \(heads) heads")
    }
    let iouDepth = try view.depth(iou)
    return DecoderConfig(
      depth: try view.depth(layers), heads: heads,
      mlpWidth: try view.shape(layers + "0.mlp.lin1.weight", axes: 2)[0],
      maskTokens: try view.shape("mask_decoder.mask_tokens.weight", axes: 2)[0],
      hyperDepth: try view.depth(hyper + "0.layers."), iouDepth: iouDepth, attentionWidth: attention,
      iouWidth: iouDepth > 1 ? try view.shape(iou + "0.weight", axes: 2)[0] : width)
  }

  static func fillPrompt(
    _ part: PromptSchema, width: Int, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let from = "prompt_encoder."
    try view.floats(part.gaussian, from: [SAMNameMap.gaussian], shape: [2, width / 2], &plan)
    let points = (0..<4).map { from + "point_embeddings.\($0).weight" }
    try view.floats(part.points, from: points, shape: [1, width], &plan)
    try view.floats(part.notAPoint, from: [from + "not_a_point_embed.weight"], shape: [1, width], &plan)
    try view.floats(part.noMask, from: [from + "no_mask_embed.weight"], shape: [1, width], &plan)
    let stem = from + "mask_downscaling."
    try view.dense(part.conv0, from: stem + "0", &plan)
    try view.norm(part.norm1, from: stem + "1", &plan)
    try view.dense(part.conv3, from: stem + "3", &plan)
    try view.norm(part.norm4, from: stem + "4", &plan)
    try view.dense(part.conv6, from: stem + "6", &plan)
  }

  static func fillDecoder(
    _ part: DecoderSchema, _ config: SAMConfig, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let width = config.neckWidth
    try view.floats(part.iouToken, from: ["mask_decoder.iou_token.weight"], shape: [1, width], &plan)
    try view.floats(
      part.maskTokens, from: ["mask_decoder.mask_tokens.weight"], shape: [config.decoder.maskTokens, width],
      &plan)
    for (index, layer) in part.layers.enumerated() {
      let from = layers + "\(index)."
      try attention(layer.selfAttention, from: from + "self_attn", &view, &plan)
      try attention(layer.crossToken, from: from + "cross_attn_token_to_image", &view, &plan)
      try attention(layer.crossImage, from: from + "cross_attn_image_to_token", &view, &plan)
      try view.linear(layer.mlpIn, from: from + "mlp.lin1", &plan)
      try view.linear(layer.mlpOut, from: from + "mlp.lin2", &plan)
      for (number, norm) in layer.norms.enumerated() {
        try view.norm(norm, from: from + "norm\(number + 1)", &plan)
      }
    }
    try attention(part.final, from: "mask_decoder.transformer.final_attn_token_to_image", &view, &plan)
    try view.norm(part.finalNorm, from: "mask_decoder.transformer.norm_final_attn", &plan)
    let stem = "mask_decoder.output_upscaling."
    try upscale(part.upscale0, from: stem + "0", &view, &plan)
    try view.norm(part.upscaleNorm, from: stem + "1", &plan)
    try upscale(part.upscale3, from: stem + "3", &view, &plan)
    // The hypernetwork of mask token 0; the other tokens' networks are checked and left out.
    for token in 0..<config.decoder.maskTokens {
      for (layer, dense) in part.hyper.enumerated() {
        let from = hyper + "\(token).layers.\(layer)"
        if token == 0 {
          try view.dense(dense, from: from, &plan)
        } else {
          _ = try view.require(from + ".weight", dense.dimensions.reversed())
          _ = try view.require(from + ".bias", [dense.outputs])
        }
      }
    }
    for (layer, dense) in part.iou.enumerated() { try view.dense(dense, from: iou + "\(layer)", &plan) }
  }

  private static func attention(
    _ part: AttentionSchema, from: String, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    try view.linear(part.q, from: from + ".q_proj", &plan)
    try view.linear(part.k, from: from + ".k_proj", &plan)
    try view.linear(part.v, from: from + ".v_proj", &plan)
    try view.linear(part.out, from: from + ".out_proj", &plan)
  }

  /// A transposed convolution of side 2, as a matrix with four times as many outputs.
  private static func upscale(
    _ part: LinearSpec, from: String, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let outputs = part.outputs / 4
    let weight = try view.require(from + ".weight", [part.inputs, outputs, 2, 2])
    let bias = try view.require(from + ".bias", [outputs])
    let recipe = LinearRecipe(
      weight: .transposedConvolution(weight, outputs: outputs, side: 2),
      bias: BiasSource(names: [bias], repeats: 4), rows: part.outputs, columns: part.inputs)
    plan.fill(part, .linear(recipe), from: view)
  }
}
