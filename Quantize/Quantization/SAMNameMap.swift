// SAM checkpoints, the image encoder. Source: facebookresearch/segment-anything `build_sam.py`,
// `modeling/image_encoder.py`.

import Container

/// Plans the SAM part of a model.
enum SAMNameMap {
  static let anchor = "image_encoder.pos_embed"
  static let huggingFaceAnchor = "vision_encoder.pos_embed"
  static let gaussian = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"

  private static let expected = "a SAM checkpoint is expected, for example sam_vit_b_01ec64.pth"

  /// - Errors: other kinds of SAM by name; anything else that is not SAM.
  private static func view(_ directory: TensorDirectory) throws(QuantizationError) -> CheckpointView {
    func prefix(before anchor: String) -> String? {
      directory.names.first { $0 == anchor || $0.hasSuffix("." + anchor) }.map {
        String($0.dropLast(anchor.count))
      }
    }
    if let prefix = prefix(before: anchor) { return try CheckpointView(directory, prefix: prefix) }
    if let prefix = prefix(before: huggingFaceAnchor) {
      return try CheckpointView(directory, prefix: prefix, spelling: .huggingFaceSAM)
    }
    let kinds = [
      ("image_encoder.trunk.", "this is SAM 2"), ("vision_encoder.backbone.", "this is SAM 2"),
      ("image_encoder.patch_embed.seq.", "this is MobileSAM"),
    ]
    let kind = kinds.first { sign in directory.names.contains { $0.holds(sign.0) } }
    let what = kind.map { $0.1 + ", which is not supported" } ?? "no tensor is named \(anchor)"
    throw QuantizationError(
      .unsupportedModel(what + "; " + expected + directory.shardHint), path: directory.path)
  }

  static func plan(_ directory: TensorDirectory) throws(QuantizationError) -> NetworkPlan {
    var view = try view(directory)
    if let extra = view.names.first(where: { $0.holds("mask_decoder.hf_") }) {
      throw view.refuse("this is HQ-SAM, whose mask decoder is not supported; " + expected, extra)
    }
    var plan = NetworkPlan()
    let encoder = try EncoderSizes(view)
    try addEncoder(encoder, &view, &plan)
    // Behind the shapes, which bound what is multiplied here.
    plan.values = encoder.values
    let decoder = try SAMDecoderNameMap.sizes(view, width: encoder.neckWidth)
    plan.values += decoder.values
    try SAMDecoderNameMap.addPrompt(decoder, &view, &plan)
    try SAMDecoderNameMap.addDecoder(decoder, &view, &plan)
    // Hugging Face's files hold the Gaussian matrix once or twice.
    view.ignore { $0 == "prompt_encoder.shared_embedding.positional_embedding" }
    try view.finish("SAM")
    return plan
  }

  /// Every size of the encoder, from tensor shapes.
  struct EncoderSizes {
    let shape: TowerShape
    let patch: Int
    let grid: Int
    let neckWidth: Int
    let window: Int
    let globalBlocks: [Int]
    /// Side of the square each block attends within.
    let sides: [Int]

    init(_ view: CheckpointView) throws(QuantizationError) {
      let patchShape = try view.shape("image_encoder.patch_embed.proj.weight", axes: 4)
      let positions = try view.shape(anchor, axes: 4)
      patch = patchShape[3]
      grid = positions[1]
      neckWidth = try view.shape("image_encoder.neck.0.weight", axes: 4)[0]
      let headWidth = try view.shape("image_encoder.blocks.0.attn.rel_pos_h", axes: 2)[1]
      let mlpWidth = try view.shape("image_encoder.blocks.0.mlp.lin1.weight", axes: 2)[0]
      let depth = try view.depth("image_encoder.blocks.")
      shape = try TowerShape(
        width: patchShape[0], depth: depth, headWidth: headWidth, mlpWidth: mlpWidth, in: view)
      var sides: [Int] = []
      for index in 0..<depth {
        let table = "image_encoder.blocks.\(index).attn.rel_pos_h"
        let length = try view.shape(table, axes: 2)[0]
        guard length % 2 == 1 else { throw view.refuse("length \(length) is not 2 * side - 1", table) }
        sides.append((length + 1) / 2)
      }
      let grid = grid
      self.sides = sides
      globalBlocks = sides.indices.filter { sides[$0] == grid }
      let windows = Set(sides.filter { $0 != grid })
      guard windows.count <= 1, windows.allSatisfy({ $0 < grid }) else {
        throw view.refuse("blocks attend within squares of \(sides) on a grid of \(grid)")
      }
      guard globalBlocks.last == depth - 1 else {
        throw view.refuse("the last block must attend to the whole grid; squares are \(sides)")
      }
      window = windows.first ?? grid
    }

    var values: [(key: String, value: GGUFValue)] {
      shape.values("sam") + [
        count("sam", "patch", patch), count("sam", "grid", grid), count("sam", "window", window),
        count("sam", "image_side", grid * patch), count("sam", "neck_width", neckWidth),
        ("trident.sam.global_blocks", .uint32s(globalBlocks.map { UInt32($0) })),
        ("trident.sam.norm_epsilon", .float32(1e-6)),
      ]
    }
  }

  private static func addEncoder(
    _ sizes: EncoderSizes, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let (width, patch, grid) = (sizes.shape.width, sizes.patch, sizes.grid)
    let weight = try view.require("image_encoder.patch_embed.proj.weight", [width, 3, patch, patch])
    let bias = try view.require("image_encoder.patch_embed.proj.bias", [width])
    let embedding = LinearRecipe(
      weight: .rows([weight]), bias: BiasSource(names: [bias]), rows: width, columns: 3 * patch * patch)
    plan.items.append(view.item("sam.patch", .linear(embedding)))
    let table = try view.require(anchor, [1, grid, grid, width])
    plan.items.append(view.item("sam.position", .halves(table, dimensions: [width, grid * grid])))
    for index in 0..<sizes.shape.depth {
      let from = "image_encoder.blocks.\(index)."
      let names = BlockNames(
        norm1: from + "norm1", norm2: from + "norm2", qkvWeights: [from + "attn.qkv.weight"],
        qkvBiases: [from + "attn.qkv.bias"], out: from + "attn.proj", mlpIn: from + "mlp.lin1",
        mlpOut: from + "mlp.lin2")
      var block = try view.block("sam.blocks.\(index)", names: names, shape: sizes.shape)
      let lengths = [2 * sizes.sides[index] - 1, sizes.shape.headWidth]
      // In order of use: behind norm1 (2 items) and qkv.
      let tables = [
        try view.copy("sam.blocks.\(index).rel_h", from: from + "attn.rel_pos_h", shape: lengths),
        try view.copy("sam.blocks.\(index).rel_w", from: from + "attn.rel_pos_w", shape: lengths),
      ]
      block.insert(contentsOf: tables, at: 3)
      plan.items += block
    }
    try addNeck(sizes, &view, &plan)
  }

  private static func addNeck(
    _ sizes: EncoderSizes, _ view: inout CheckpointView, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let (width, neck) = (sizes.shape.width, sizes.neckWidth)
    let first = LinearRecipe(
      weight: .rows([try view.require("image_encoder.neck.0.weight", [neck, width, 1, 1])]), bias: .none,
      rows: neck, columns: width)
    plan.items.append(view.item("sam.neck.conv1", .linear(first)))
    plan.items += try view.norm("sam.neck.norm1", from: "image_encoder.neck.1", width: neck)
    let name = try view.require("image_encoder.neck.2.weight", [neck, neck, 3, 3])
    let second = LinearRecipe(
      weight: .convolution(name, channels: neck, side: 3), bias: .none, rows: neck, columns: 9 * neck)
    plan.items.append(view.item("sam.neck.conv2", .linear(second)))
    plan.items += try view.norm("sam.neck.norm2", from: "image_encoder.neck.3", width: neck)
  }
}
