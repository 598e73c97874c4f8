// SAM checkpoints, the image encoder. Source: facebookresearch/segment-anything `build_sam.py`,
// `modeling/image_encoder.py`.

import Segmentation

/// Plans the SAM part of a model.
enum SAMNameMap {
  static let anchor = "image_encoder.pos_embed"
  static let huggingFaceAnchor = "vision_encoder.pos_embed"
  static let gaussian = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"

  private static let expected = "a SAM checkpoint is expected, for example sam_vit_b_01ec64.pth"

  /// - Errors: other kinds of SAM by name; anything else that is not SAM.
  private static func view(_ directory: TensorDirectory, prefix: String?) throws(QuantizationError)
    -> CheckpointView
  {
    try ForeignCheckpoint.refuse(directory, expected)
    let original = directory.prefixes(before: anchor)
    let found = original.isEmpty ? directory.prefixes(before: huggingFaceAnchor) : original
    guard let copies = try NetworkCopies(found, of: directory, option: "--sam-prefix", asked: prefix) else {
      throw QuantizationError(
        .unsupportedModel("no tensor is named \(anchor); " + expected + directory.gapHint),
        path: directory.path)
    }
    var view = try CheckpointView(
      directory, prefix: copies.chosen, spelling: original.isEmpty ? .huggingFaceSAM : NameSpelling())
    view.modules = ["image_encoder", "prompt_encoder", "mask_decoder"]
    directory.networkPrefix = copies.chosen
    if let note = copies.note { directory.notes.append(note) }
    return view
  }

  /// - Parameter decoderOnly: neck, prompt encoder and decoder, where another network stands for the encoder.
  static func plan(
    _ directory: TensorDirectory, decoderOnly: Bool = false, prefix: String? = nil
  ) throws(QuantizationError) -> (SAMConfig, NetworkPlan) {
    var view = try view(directory, prefix: prefix)
    var config = try config(view)
    try SidecarFiles.checkSAM(directory, width: config.blocks.width)
    if decoderOnly {
      config.vision.blocks = .absent(
        .sam, width: config.blocks.width, normEpsilon: config.blocks.normEpsilon)
      (config.window, config.globalBlocks) = (1, [])
      view.ignore { $0.hasPrefix("image_encoder.") && !$0.hasPrefix("image_encoder.neck.") }
    }
    let schema = SAMSchema(config)
    var plan = NetworkPlan(schema)
    if !decoderOnly { try fillEncoder(schema, config, &view, &plan) }
    try fillNeck(schema.neck, config, &view, &plan)
    try SAMDecoderNameMap.fillPrompt(schema.prompt, width: config.neckWidth, &view, &plan)
    try SAMDecoderNameMap.fillDecoder(schema.decoder, config, &view, &plan)
    // Hugging Face's files hold the Gaussian matrix once or twice.
    view.ignore { $0 == "prompt_encoder.shared_embedding.positional_embedding" }
    try view.finish("SAM")
    return (config, plan)
  }

  /// Every size, from tensor shapes.
  private static func config(_ view: CheckpointView) throws(QuantizationError) -> SAMConfig {
    let patchShape = try view.patchShape("image_encoder.patch_embed.proj.weight")
    let grid = try view.shape(anchor, axes: 4)[1]
    let depth = try view.depth("image_encoder.blocks.")
    let blocks = try view.tower(
      .sam, width: patchShape[0], depth: depth,
      headWidth: try view.shape("image_encoder.blocks.0.attn.rel_pos_h", axes: 2)[1],
      mlpWidth: try view.shape("image_encoder.blocks.0.mlp.lin1.weight", axes: 2)[0])
    // Side of the square each block attends within.
    var sides: [Int] = []
    for index in 0..<depth {
      let table = "image_encoder.blocks.\(index).attn.rel_pos_h"
      let length = try view.shape(table, axes: 2)[0]
      guard length % 2 == 1 else { throw view.refuse("length \(length) is not 2 * side - 1", table) }
      sides.append((length + 1) / 2)
    }
    let windows = Set(sides.filter { $0 != grid })
    guard windows.count <= 1, windows.allSatisfy({ $0 < grid }) else {
      throw view.refuse("blocks attend within squares of \(sides) on a grid of \(grid)")
    }
    guard sides.last == grid else {
      throw view.refuse("the last block must attend to the whole grid; squares are \(sides)")
    }
    let neck = try view.shape("image_encoder.neck.0.weight", axes: 4)[0]
    return SAMConfig(
      vision: .sam(blocks, patch: patchShape[3], grid: grid), window: windows.first ?? grid,
      globalBlocks: sides.indices.filter { sides[$0] == grid }, neckWidth: neck,
      decoder: try SAMDecoderNameMap.config(view, width: neck))
  }

  private static func fillEncoder(
    _ schema: SAMSchema, _ config: SAMConfig, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let (width, grid) = (config.blocks.width, config.grid)
    let patch = "image_encoder.patch_embed.proj."
    try view.patch(schema.vision.patch, weight: patch + "weight", bias: patch + "bias", config.vision, &plan)
    try view.positions(schema.vision.position, from: anchor, shape: [1, grid, grid, width], &plan)
    for (index, block) in schema.blocks.enumerated() {
      let from = "image_encoder.blocks.\(index)."
      let names = BlockNames(
        norm1: from + "norm1", norm2: from + "norm2", qkvWeights: [from + "attn.qkv.weight"],
        qkvBiases: [from + "attn.qkv.bias"], out: from + "attn.proj", mlpIn: from + "mlp.lin1",
        mlpOut: from + "mlp.lin2")
      try view.block(block, names, config.blocks, &plan)
      for (part, name) in [(block.relativeHeight, "rel_pos_h"), (block.relativeWidth, "rel_pos_w")] {
        guard let part else { continue }
        try view.floats(part, from: [from + "attn." + name], shape: part.dimensions.reversed(), &plan)
      }
    }
  }

  private static func fillNeck(
    _ part: NeckSchema, _ config: SAMConfig, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let (width, neck) = (config.blocks.width, config.neckWidth)
    let first = LinearRecipe(
      weight: .rows([try view.require("image_encoder.neck.0.weight", [neck, width, 1, 1])]), bias: .none,
      rows: neck, columns: width)
    plan.fill(part.conv1, .linear(first), from: view)
    try view.norm(part.norm1, from: "image_encoder.neck.1", &plan)
    let name = try view.require("image_encoder.neck.2.weight", [neck, neck, 3, 3])
    let second = LinearRecipe(
      weight: .convolution(name, channels: neck, side: 3), bias: .none, rows: neck, columns: 9 * neck)
    plan.fill(part.conv2, .linear(second), from: view)
    try view.norm(part.norm2, from: "image_encoder.neck.3", &plan)
  }
}
