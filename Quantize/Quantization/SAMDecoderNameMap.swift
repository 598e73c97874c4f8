// SAM checkpoints, prompt encoder and mask decoder. Source: facebookresearch/segment-anything
// `modeling/prompt_encoder.py`, `modeling/mask_decoder.py`, `modeling/transformer.py`.

import Container

enum SAMDecoderNameMap {
  /// Heads leave no trace in the tensors; every published SAM has eight. Source: `build_sam.py`.
  static let heads = 8

  struct Sizes {
    let width: Int
    let depth: Int
    let mlpWidth: Int
    let attentionWidth: Int
    let maskTokens: Int
    let hyperDepth: Int
    let iouDepth: Int

    var values: [(key: String, value: GGUFValue)] {
      let network = "sam.decoder"
      return [
        count(network, "depth", depth), count(network, "heads", heads), count(network, "mlp_width", mlpWidth),
        count(network, "mask_tokens", maskTokens), count(network, "hyper_depth", hyperDepth),
        count(network, "iou_depth", iouDepth), count(network, "attention_width", attentionWidth),
      ]
    }
  }

  static func sizes(_ view: CheckpointView, width: Int) throws(QuantizationError) -> Sizes {
    let layers = "mask_decoder.transformer.layers."
    let attention = try view.shape(layers + "0.cross_attn_token_to_image.q_proj.weight", axes: 2)[0]
    guard width % heads == 0, attention % heads == 0, width % 8 == 0 else {
      throw view.refuse("mask decoder widths \(width) and \(attention) are not multiples of \(heads) heads")
    }
    return Sizes(
      width: width, depth: try view.depth(layers),
      mlpWidth: try view.shape(layers + "0.mlp.lin1.weight", axes: 2)[0], attentionWidth: attention,
      maskTokens: try view.shape("mask_decoder.mask_tokens.weight", axes: 2)[0],
      hyperDepth: try view.depth("mask_decoder.output_hypernetworks_mlps.0.layers."),
      iouDepth: try view.depth("mask_decoder.iou_prediction_head.layers."))
  }

  static func addPrompt(
    _ sizes: Sizes, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let width = sizes.width
    let from = "prompt_encoder."
    plan.items.append(
      try view.copy("sam.prompt.gaussian", from: SAMNameMap.gaussian, shape: [2, width / 2]))
    var points: [String] = []
    for index in 0..<4 {
      points.append(try view.require(from + "point_embeddings.\(index).weight", [1, width]))
    }
    plan.items.append(view.item("sam.prompt.points", .floats(points, dimensions: [width, 4])))
    for (to, name) in [("not_a_point", "not_a_point_embed"), ("no_mask", "no_mask_embed")] {
      let source = try view.require(from + name + ".weight", [1, width])
      plan.items.append(view.item("sam.prompt." + to, .floats([source], dimensions: [width])))
    }
    let stem = from + "mask_downscaling."
    let small = try view.shape(stem + "0.weight", axes: 4)[0]
    let middle = try view.shape(stem + "3.weight", axes: 4)[0]
    let shapes = [("0", [small, 1, 2, 2]), ("3", [middle, small, 2, 2]), ("6", [width, middle, 1, 1])]
    for (index, shape) in shapes {
      let to = "sam.prompt.mask.\(index)"
      plan.items.append(try view.copy(to + ".weight", from: stem + index + ".weight", shape: shape))
      plan.items.append(try view.copy(to + ".bias", from: stem + index + ".bias", shape: [shape[0]]))
      if index == "0" { plan.items += try view.norm("sam.prompt.mask.1", from: stem + "1", width: small) }
      if index == "3" { plan.items += try view.norm("sam.prompt.mask.4", from: stem + "4", width: middle) }
    }
  }

  static func addDecoder(
    _ sizes: Sizes, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let width = sizes.width
    let iou = try view.require("mask_decoder.iou_token.weight", [1, width])
    plan.items.append(view.item("sam.decoder.iou_token", .floats([iou], dimensions: [width, 1])))
    let tokens = [sizes.maskTokens, width]
    plan.items.append(
      try view.copy("sam.decoder.mask_tokens", from: "mask_decoder.mask_tokens.weight", shape: tokens))
    for index in 0..<sizes.depth {
      let from = "mask_decoder.transformer.layers.\(index)."
      let to = "sam.decoder.layers.\(index)."
      let parts: [(to: String, from: String, inner: Int, norm: String)] = [
        ("self_attn", "self_attn", width, "norm1"),
        ("cross_token", "cross_attn_token_to_image", sizes.attentionWidth, "norm2"),
        ("cross_image", "cross_attn_image_to_token", sizes.attentionWidth, "norm4"),
      ]
      for part in parts {
        if part.to == "cross_image" {
          let mlp = sizes.mlpWidth
          plan.items.append(
            try view.linear(to + "mlp_in", from: from + "mlp.lin1", rows: mlp, columns: width))
          plan.items.append(
            try view.linear(to + "mlp_out", from: from + "mlp.lin2", rows: width, columns: mlp))
          plan.items += try view.norm(to + "norm3", from: from + "norm3", width: width)
        }
        plan.items += try attention(to + part.to, from: from + part.from, width, part.inner, &view)
        plan.items += try view.norm(to + part.norm, from: from + part.norm, width: width)
      }
    }
    let last = "mask_decoder.transformer.final_attn_token_to_image"
    plan.items += try attention("sam.decoder.final", from: last, width, sizes.attentionWidth, &view)
    plan.items += try view.norm(
      "sam.decoder.final.norm", from: "mask_decoder.transformer.norm_final_attn", width: width)
    try addUpscale(width, &view, &plan)
    try addHeads(sizes, &view, &plan)
  }

  private static func attention(
    _ to: String, from: String, _ width: Int, _ inner: Int, _ view: inout CheckpointView
  ) throws(QuantizationError) -> [PlanItem] {
    var items: [PlanItem] = []
    for part in ["q", "k", "v"] {
      items.append(
        try view.linear("\(to).\(part)", from: "\(from).\(part)_proj", rows: inner, columns: width))
    }
    items.append(try view.linear("\(to).out", from: "\(from).out_proj", rows: width, columns: inner))
    return items
  }

  /// Two transposed convolutions of side 2, as matrices with four times as many outputs.
  private static func addUpscale(
    _ width: Int, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let stem = "mask_decoder.output_upscaling."
    let steps = [("0", width, width / 4), ("3", width / 4, width / 8)]
    for (index, inputs, outputs) in steps {
      let weight = try view.require(stem + index + ".weight", [inputs, outputs, 2, 2])
      let bias = try view.require(stem + index + ".bias", [outputs])
      let recipe = LinearRecipe(
        weight: .transposedConvolution(weight, outputs: outputs, side: 2),
        bias: BiasSource(names: [bias], repeats: 4), rows: 4 * outputs, columns: inputs)
      plan.items.append(view.item("sam.decoder.upscale." + index, .linear(recipe)))
      if index == "0" {
        plan.items += try view.norm("sam.decoder.upscale.1", from: stem + "1", width: outputs)
      }
    }
  }

  /// The hypernetwork of mask token 0 and the IoU head. The other tokens' networks are checked and left out.
  private static func addHeads(
    _ sizes: Sizes, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let hyper = "mask_decoder.output_hypernetworks_mlps."
    plan.items += try perceptron(
      "sam.decoder.hyper", from: hyper + "0.layers.", inputs: sizes.width, outputs: sizes.width / 8,
      depth: sizes.hyperDepth, &view)
    for index in 1..<max(sizes.maskTokens, 1) {
      _ = try perceptron(
        "", from: hyper + "\(index).layers.", inputs: sizes.width, outputs: sizes.width / 8,
        depth: sizes.hyperDepth, &view)
    }
    plan.items += try perceptron(
      "sam.decoder.iou", from: "mask_decoder.iou_prediction_head.layers.", inputs: sizes.width,
      outputs: sizes.maskTokens, depth: sizes.iouDepth, &view)
  }

  private static func perceptron(
    _ to: String, from: String, inputs: Int, outputs: Int, depth: Int, _ view: inout CheckpointView
  ) throws(QuantizationError) -> [PlanItem] {
    var items: [PlanItem] = []
    var width = inputs
    for index in 0..<depth {
      let next = index == depth - 1 ? outputs : try view.shape("\(from)\(index).weight", axes: 2)[0]
      let stem = "\(to).\(index)"
      items.append(try view.copy(stem + ".weight", from: "\(from)\(index).weight", shape: [next, width]))
      items.append(try view.copy(stem + ".bias", from: "\(from)\(index).bias", shape: [next]))
      width = next
    }
    return items
  }
}
