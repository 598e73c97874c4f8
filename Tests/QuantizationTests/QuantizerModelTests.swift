// Whole toy models: every packed layer against a naive restatement, forms of names, determinism.
import Container
import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct QuantizerModelTests {
  /// A packed layer read back: integers by channel and depth, scales, sums, bias.
  private struct Layer {
    let depth: Int
    let channels: Int
    let weight: [Int8]
    let scale: [Float]
    let sum: [Int32]
    let bias: [Float]?

    init(_ model: MappedModel, _ name: String) throws {
      let record = try model.tensor(name + ".weight")
      (depth, channels) = (record.dimensions[0], record.dimensions[1])
      #expect(record.type == .i8 && depth % 64 == 0 && channels % 16 == 0)
      weight = try values(model, name + ".weight")
      scale = try values(model, name + ".scale")
      sum = try values(model, name + ".sum")
      bias = model.hasTensor(name + ".bias") ? try values(model, name + ".bias") : nil
      #expect(scale.count == channels && sum.count == channels)
    }

    func at(_ channel: Int, _ column: Int) -> Int8 {
      weight[((channel / 16 * (depth / 4) + column / 4) * 16 + channel % 16) * 4 + column % 4]
    }
  }

  /// Where source indices went.
  private struct Places {
    var row: (Int) -> Int = { $0 }
    var column: (Int) -> Int = { $0 }
  }

  /// Compares a layer with a dense float matrix.
  private func expect(
    _ model: MappedModel, _ name: String, rows: Int, columns: Int, bias: [Float]?,
    at places: Places = Places(),
    _ value: (Int, Int) -> Float, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let (row, column) = (places.row, places.column)
    let layer = try Layer(model, name)
    var expected = [Int8](repeating: 0, count: layer.channels * layer.depth)
    var scales = [Float](repeating: 1, count: layer.channels)
    var biases = [Float](repeating: 0, count: layer.channels)
    for source in 0..<rows {
      let line = (0..<columns).map { value(source, $0) }
      let largest = line.map { abs($0) }.max()!
      let scale = largest == 0 ? 1 : largest / 127
      scales[row(source)] = scale
      if let bias { biases[row(source)] = bias[source] }
      for (index, number) in line.enumerated() {
        expected[row(source) * layer.depth + column(index)] = Int8((number / scale).rounded(.toNearestOrEven))
      }
    }
    var differences = 0
    for channel in 0..<layer.channels {
      var sum: Int32 = 0
      for index in 0..<layer.depth {
        sum += Int32(layer.at(channel, index))
        if layer.at(channel, index) != expected[channel * layer.depth + index] { differences += 1 }
      }
      #expect(layer.sum[channel] == sum, "\(name), channel \(channel)", sourceLocation: sourceLocation)
    }
    #expect(differences == 0, "\(name)", sourceLocation: sourceLocation)
    #expect(layer.scale == scales, "\(name)", sourceLocation: sourceLocation)
    #expect(layer.bias == (bias == nil ? nil : biases), "\(name)", sourceLocation: sourceLocation)
  }

  private func dense(
    _ model: MappedModel, _ name: String, _ toy: ToyCheckpoint, _ weight: String, bias: String?,
    at places: Places = Places()
  ) throws {
    let tensor = try #require(toy.tensors[weight])
    let columns = tensor.shape.dropFirst().reduce(1, *)
    let biases = try bias.map { try #require(toy.tensors[$0]).values }
    try expect(model, name, rows: tensor.shape[0], columns: columns, bias: biases, at: places) {
      tensor.values[$0 * columns + $1]
    }
  }

  @Test func everyKindOfLayer() throws {
    let (clip, dino, sam) = (ToyCheckpoint.clip(), ToyCheckpoint.dino(), ToyCheckpoint.sam())
    let folder = try ToyFolder()
    let report = try folder.quantize()
    let model = try MappedModel(path: folder.request.output)
    try model.verify { _, _ in }
    #expect(report.outputByteCount == model.byteCount)

    try dense(model, "clip.patch", clip, "visual.conv1.weight", bias: nil)
    let block = "visual.transformer.resblocks.1."
    // Heads of 24 take 32 places each.
    let spread: (Int) -> Int = { $0 / 24 * 32 + $0 % 24 }
    try dense(
      model, "clip.blocks.1.qkv", clip, block + "attn.in_proj_weight", bias: block + "attn.in_proj_bias",
      at: Places(row: spread))
    try dense(
      model, "clip.blocks.1.out", clip, block + "attn.out_proj.weight", bias: block + "attn.out_proj.bias",
      at: Places(column: spread))
    try dense(model, "clip.blocks.1.mlp_in", clip, block + "mlp.c_fc.weight", bias: block + "mlp.c_fc.bias")
    let projection = clip.tensors["visual.proj"]!.values
    try expect(model, "clip.proj", rows: 20, columns: 72, bias: nil) { projection[$1 * 20 + $0] }
    try dense(model, "dino.patch", dino, "patch_embed.proj.weight", bias: "patch_embed.proj.bias")
    try dense(model, "dino.blocks.0.qkv", dino, "blocks.0.attn.qkv.weight", bias: "blocks.0.attn.qkv.bias")
    let wide: (Int) -> Int = { $0 / 20 * 32 + $0 % 20 }
    let samBlock = "image_encoder.blocks.1.attn."
    try dense(
      model, "sam.blocks.1.qkv", sam, samBlock + "qkv.weight", bias: samBlock + "qkv.bias",
      at: Places(row: wide))
    try dense(
      model, "sam.blocks.1.out", sam, samBlock + "proj.weight", bias: samBlock + "proj.bias",
      at: Places(column: wide))
    let convolution = sam.tensors["image_encoder.neck.2.weight"]!.values
    try expect(model, "sam.neck.conv2", rows: 16, columns: 144, bias: nil) { row, column in
      convolution[(row * 16 + column % 16) * 9 + column / 16]
    }
    let transposed = sam.tensors["mask_decoder.output_upscaling.0.weight"]!.values
    let bias = sam.tensors["mask_decoder.output_upscaling.0.bias"]!.values
    try expect(
      model, "sam.decoder.upscale.0", rows: 16, columns: 16, bias: bias + bias + bias + bias
    ) { row, column in transposed[(column * 4 + row % 4) * 4 + row / 4] }
    let tokens = clip.tensors["token_embedding.weight"]!.values
    let table: [Int8] = try values(model, "text.token.weight")
    let scales: [Float] = try values(model, "text.token.scale")
    for index in table.indices {
      let expected = Int8((tokens[index] / scales[index / 64]).rounded(.toNearestOrEven))
      if table[index] != expected { Issue.record("token value \(index)") }
    }
  }

  @Test func plainTensorsAndKeys() throws {
    let (clip, sam) = (ToyCheckpoint.clip(), ToyCheckpoint.sam())
    let folder = try ToyFolder()
    _ = try folder.quantize()
    let model = try MappedModel(path: folder.request.output)
    #expect(try values(model, "sam.position") == sam.tensors["image_encoder.pos_embed"]!.values)
    #expect(try model.tensor("sam.position").dimensions == [40, 16])
    #expect(try values(model, "clip.norm_pre.weight") == clip.tensors["visual.ln_pre.weight"]!.values)
    let points = (0..<4).flatMap { sam.tensors["prompt_encoder.point_embeddings.\($0).weight"]!.values }
    #expect(try values(model, "sam.prompt.points") == points)
    #expect(try model.tensor("sam.blocks.0.rel_h").dimensions == [20, 3])
    let hyper = sam.tensors["mask_decoder.output_hypernetworks_mlps.0.layers.1.weight"]!.values
    #expect(try values(model, "sam.decoder.hyper.1.weight") == hyper)
    #expect(!model.tensors.contains { $0.name.hasPrefix(".") })

    let counts: [(String, Int)] = [
      ("clip.heads", 3), ("clip.head_width", 24), ("clip.depth", 2), ("clip.grid", 3), ("clip.patch", 4),
      ("clip.mlp_width", 90), ("clip.embed_dim", 20), ("text.width", 64), ("text.context", 7),
      ("text.vocab", 517),
      ("dino.heads", 1), ("dino.grid", 3), ("dino.patch", 8), ("sam.heads", 2), ("sam.head_width", 20),
      ("sam.window", 2), ("sam.grid", 4), ("sam.image_side", 16), ("sam.neck_width", 16),
      ("sam.decoder.heads", 8),
      ("sam.decoder.mask_tokens", 4), ("sam.decoder.attention_width", 8), ("sam.decoder.hyper_depth", 3),
      ("source.vocab.bytes", 26),
    ]
    for (key, value) in counts { #expect(try model.uint("trident." + key) == value, "\(key)") }
    #expect(try model.uints("trident.sam.global_blocks") == [1])
    #expect(try model.string("trident.clip.activation") == "quickgelu")
    #expect(try model.string("trident.source.clip.file") == "clip.safetensors")
    #expect(try model.string("general.name") == "clip + dino + sam")
    #expect(try model.count("tokenizer.ggml.merges") == 3)
    let order = model.tensors.map { $0.name.split(separator: ".")[0] }
    #expect(
      order.filter { $0 == "text" } + order.filter { $0 == "dino" } + order.filter { $0 == "clip" }
        + order.filter { $0 == "sam" } == order)
  }

  @Test func sameInputsSameBytes() throws {
    let first = try ToyFolder()
    let second = try ToyFolder()
    _ = try first.quantize()
    _ = try second.quantize()
    #expect(
      try Data(contentsOf: URL(fileURLWithPath: first.request.output))
        == Data(contentsOf: URL(fileURLWithPath: second.request.output)))
  }

  /// Other names for the same weights make the same model; another activation makes another one.
  @Test func formsOfNamesAgree() throws {
    func identity(_ folder: ToyFolder) throws -> String {
      _ = try folder.quantize()
      return try MappedModel(path: folder.request.output).string("trident.model_id")
    }
    let clip = ToyCheckpoint.clip()
    let expected = try identity(ToyFolder())
    #expect(try identity(ToyFolder(clip: clip.huggingFace())) == expected)
    #expect(try identity(ToyFolder(clip: clip.renamed { "module." + $0 })) == expected)
    let custom = clip.renamed { $0.hasPrefix("visual.") || $0 == "logit_scale" ? $0 : "text." + $0 }
    #expect(try identity(ToyFolder(clip: custom)) == expected)
    let teacher = ToyCheckpoint.dino().renamed { "teacher.backbone." + $0 }
    var training = teacher
    for (name, tensor) in ToyCheckpoint.dino().tensors {
      training.tensors["student.module.backbone." + name] = (tensor.shape, tensor.values.map { $0 + 1 })
    }
    training.tensors["teacher.head.mlp.0.weight"] = ([2, 2], [1, 2, 3, 4])
    #expect(try identity(ToyFolder(dino: training)) == expected)
    #expect(
      try identity(ToyFolder(dino: teacher.renamed { $0.replacingOccurrences(of: "teacher.", with: "") }))
        == expected)
    #expect(try identity(ToyFolder(sam: ToyCheckpoint.sam().renamed { "module." + $0 })) == expected)
    var hugging = ToyCheckpoint.dino().huggingFaceDINO()
    #expect(hugging.tensors.keys.contains("encoder.layer.0.attention.output.dense.weight"))
    #expect(try identity(ToyFolder(dino: hugging)) == expected)
    hugging.tensors["pooler.dense.weight"] = ([1, 1], [0])
    #expect(try identity(ToyFolder(dino: hugging.renamed { "vit." + $0 })) == expected)
    hugging = ToyCheckpoint.sam().huggingFaceSAM()
    #expect(hugging.tensors.keys.contains("mask_decoder.output_hypernetworks_mlps.3.proj_out.bias"))
    #expect(hugging.tensors.keys.contains("mask_decoder.transformer.layers.0.layer_norm4.bias"))
    hugging.tensors["prompt_encoder.shared_embedding.positional_embedding"] =
      hugging.tensors["shared_image_embedding.positional_embedding"]
    #expect(try identity(ToyFolder(sam: hugging)) == expected)
    let exact = try ToyFolder()
    exact.request.activation = .gelu
    #expect(try identity(exact) != expected)
  }

  @Test func reportCountsEverything() throws {
    let folder = try ToyFolder()
    let report = try folder.quantize()
    let model = try MappedModel(path: folder.request.output)
    #expect(report.total().storedByteCount == model.byteCount - model.header.dataStart)
    let layer = try #require(report.entries.first { $0.name == "clip.blocks.0.qkv" })
    #expect(layer.kind == "int8" && layer.tally.elementCount == 3 * 72 * 72)
    // Uniform values: the step is 1/127 of the range's half, its error a twelfth of its square. 20 log10(254)
    // dB.
    #expect(abs(try #require(layer.signalToNoise) - 48.1) < 0.5)
    let exact = try #require(report.entries.first { $0.name == "clip.norm_pre.weight" })
    #expect(exact.signalToNoise == nil && exact.tally.maxError == 0)
    let parsed = try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any]
    #expect((parsed?["tensors"] as? [Any])?.count == report.entries.count)
    #expect(report.table.contains("clip.blocks.0.qkv"))
    #expect(QuantizationReport.scientific(0.00012345) == "1.23e-4")
    #expect(QuantizationReport.scientific(9.999) == "1.00e1")
  }
}

/// A tensor's elements, copied.
func values<T>(_ model: MappedModel, _ name: String) throws -> [T] {
  let record = try model.tensor(name)
  let pointer = try model.bytes(name, type: record.type, dimensions: record.dimensions)
  let count = record.byteCount / MemoryLayout<T>.stride
  return Array(UnsafeBufferPointer(start: pointer.assumingMemoryBound(to: T.self), count: count))
}
