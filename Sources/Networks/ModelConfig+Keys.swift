// Keys of the model file to configurations; `ModelConfig+Writing.swift` is the way back. Keys are spelled in
// these two files and nowhere else.
import Compute
import Container

/// One number of a configuration: the end of its key, its place, the largest value that is accepted.
struct NumberKey<Config> {
  let key: String
  let path: WritableKeyPath<Config, Int>
  let limit: Int

  init(_ key: String, _ path: WritableKeyPath<Config, Int>, _ limit: Int) {
    (self.key, self.path, self.limit) = (key, path, limit)
  }
}

extension TransformerConfig {
  static var numbers: [NumberKey<TransformerConfig>] {
    [
      NumberKey("width", \.width, 8192), NumberKey("depth", \.depth, 256), NumberKey("heads", \.heads, 256),
      NumberKey("head_width", \.headWidth, 512), NumberKey("mlp_width", \.mlpWidth, 32_768),
    ]
  }

  /// No sizes yet.
  fileprivate init(role: NetworkRole, activation: Activation, normEpsilon: Float) {
    self.init(
      role: role, width: 1, depth: 1, headWidth: 1, mlpWidth: 1, normEpsilon: normEpsilon,
      activation: activation)
  }
}

extension VisionConfig {
  static var numbers: [NumberKey<VisionConfig>] {
    [NumberKey("patch", \.patch, 64), NumberKey("grid", \.grid, AttentionScratch.widestGrid)]
  }
}

extension TextConfig {
  static var numbers: [NumberKey<TextConfig>] {
    [
      NumberKey("context", \.context, AttentionScratch.widestGrid),
      NumberKey("vocab", \.vocabularySize, 1_000_000),
    ]
  }
}

extension DecoderConfig {
  static var numbers: [NumberKey<DecoderConfig>] {
    [
      NumberKey("depth", \.depth, 64), NumberKey("heads", \.heads, 256),
      NumberKey("mlp_width", \.mlpWidth, 32_768),
      NumberKey("mask_tokens", \.maskTokens, 64), NumberKey("hyper_depth", \.hyperDepth, 16),
      NumberKey("iou_depth", \.iouDepth, 16), NumberKey("attention_width", \.attentionWidth, 4096),
    ]
  }
}

// MARK: - Reading

extension ModelConfig {
  /// Reads and checks the configuration keys. A network is in the file if its width is.
  ///
  /// - Errors: `.model` for another format, a missing key or a size that no real or toy model has.
  package init(_ file: MappedModel) throws(SegmentationError) {
    do throws(ContainerError) {
      let keys = KeyReader(file: file)
      try keys.checkFormat()
      let clipActivation =
        file.hasKey("trident.clip.activation") ? try keys.activation("trident.clip.activation") : .gelu
      if keys.has(.clip) {
        let epsilon = try keys.epsilon("trident.clip.norm_epsilon")
        let vision = VisionConfig.clip(
          try keys.transformer(.clip, activation: clipActivation, epsilon: epsilon), patch: 1, grid: 1)
        clip = CLIPConfig(
          vision: try keys.pixels(try keys.fill(vision, "trident.clip")),
          embedWidth: try keys.number("trident.clip.embed_dim", limit: 8192))
        let hasLastMLP = try keys.hasLastMLP(depth: vision.depth)
        clip?.hasLastMLP = hasLastMLP
      }
      if file.hasKey(Self.clipTextKey) {
        guard keys.has(.clip) != keys.has(.text) else {
          throw keys.refuse(Self.clipTextKey, "one of CLIP's two towers", keys.has(.clip) ? "both" : "none")
        }
        clipText = try keys.towerName(Self.clipTextKey)
      }
      if keys.has(.text) { text = try keys.text(activation: clipActivation, embedWidth: clip?.embedWidth) }
      if keys.has(.dino) {
        dino = try keys.dino()
      }
      if keys.has(.sam) { sam = try keys.sam() }
      if keys.has(.radio) { radio = try keys.radio() }
      if keys.has(.siglip) { siglip = try keys.siglip() }
      if keys.has(.blip) || keys.has(.bert) { (blip, bert) = try keys.matching() }
      try keys.checkSpaces(self)
      guard !roles.isEmpty else { throw keys.refuse("trident.clip.width", "a network", "no network at all") }
    } catch {
      throw SegmentationError(.model(error.description))
    }
  }
}

/// Reads numbers within limits.
private struct KeyReader {
  let file: MappedModel

  func has(_ role: NetworkRole) -> Bool { file.hasKey("trident.\(role.rawValue).width") }

  func refuse(_ key: String, _ expected: String, _ found: String) -> ContainerError {
    ContainerError(.valueOutOfRange(expected: expected, found: found), path: file.path, name: key)
  }

  func checkFormat() throws(ContainerError) {
    let expected = [
      ("general.architecture", MappedModel.architecture), ("trident.packing", MappedModel.packing),
    ]
    for (key, value) in expected {
      let found = try file.string(key)
      if found != value { throw refuse(key, "'\(value)'; make the file with trident-quantize", "'\(found)'") }
    }
    let version = try file.uint("trident.format_version")
    guard (1...MappedModel.formatVersion).contains(version) else {
      throw refuse(
        "trident.format_version", "1...\(MappedModel.formatVersion); quantize the checkpoints again",
        "\(version)")
    }
  }

  func number(_ key: String, limit: Int) throws(ContainerError) -> Int {
    let value = try file.uint(key)
    guard (1...limit).contains(value) else { throw refuse(key, "a number in 1...\(limit)", "\(value)") }
    return value
  }

  func fill<Config>(
    _ config: Config, _ prefix: String, _ numbers: [NumberKey<Config>]
  ) throws(ContainerError) -> Config {
    var config = config
    for entry in numbers {
      config[keyPath: entry.path] = try number("\(prefix).\(entry.key)", limit: entry.limit)
    }
    return config
  }

  func fill(_ config: VisionConfig, _ prefix: String) throws(ContainerError) -> VisionConfig {
    try fill(config, prefix, VisionConfig.numbers)
  }

  func transformer(
    _ role: NetworkRole, activation: Activation, epsilon: Float
  ) throws(ContainerError) -> TransformerConfig {
    let empty = TransformerConfig(role: role, activation: activation, normEpsilon: epsilon)
    return try fill(empty, "trident.\(role.rawValue)", TransformerConfig.numbers)
  }

  /// DINO, and what DINOv2 has besides.
  func dino() throws(ContainerError) -> VisionConfig {
    let keys = VisionConfig.secondKeys
    var blocks = try transformer(
      .dino, activation: .gelu, epsilon: try epsilon("trident.dino.norm_epsilon"))
    blocks.isGated = try word(keys.mlp, ["swiglu"]) != nil
    let rule = try word(keys.positions, PositionRule.named.compactMap(\.name)).flatMap {
      PositionRule(name: $0)
    }
    let registers = file.hasKey(keys.registers) ? try number(keys.registers, limit: 64) : 0
    let config = VisionConfig.dino(
      blocks, patch: 1, grid: 1, positions: rule ?? .bicubicWithFactor, registers: registers)
    return try pixels(try fill(config, "trident.dino"))
  }

  /// One of some words; nil where the file has no such key.
  private func word(_ key: String, _ known: [String]) throws(ContainerError) -> String? {
    guard file.hasKey(key) else { return nil }
    let found = try file.string(key)
    guard known.contains(found) else {
      throw refuse(key, known.joined(separator: " or "), "'\(found.prefix(40))'")
    }
    return found
  }

  func activation(_ key: String) throws(ContainerError) -> Activation {
    let name = try file.string(key)
    guard let activation = Activation(name: name) else {
      throw refuse(key, "gelu or quickgelu", "'\(name.prefix(40))'")
    }
    return activation
  }

  func epsilon(_ key: String) throws(ContainerError) -> Float {
    let value = try file.float(key)
    guard value > 0 && value < 1 else { throw refuse(key, "a number between 0 and 1", "\(value)") }
    return value
  }

  func text(activation: Activation, embedWidth: Int?) throws(ContainerError) -> TextConfig {
    let blocks = try transformer(
      .text, activation: activation, epsilon: try epsilon("trident.clip.norm_epsilon"))
    let width: Int
    if let embedWidth {
      width = embedWidth
    } else {
      width = try number("trident.clip.embed_dim", limit: 8192)
    }
    var text = try fill(
      TextConfig(blocks: blocks, context: 1, vocabularySize: 1, embedWidth: width), "trident.text",
      TextConfig.numbers)
    if text.context < 2 { throw refuse("trident.text.context", "room for the two marks", "\(text.context)") }
    if text.vocabularySize < 514 {
      throw refuse("trident.text.vocab", "at least 514", "\(text.vocabularySize)")
    }
    if file.hasKey(TextMarks.keys.begin) {
      let marks = TextMarks(
        begin: try file.uint(TextMarks.keys.begin), end: try file.uint(TextMarks.keys.end))
      let numbers = 512..<text.vocabularySize
      guard numbers.contains(marks.begin), numbers.contains(marks.end), marks.begin != marks.end else {
        throw refuse(
          TextMarks.keys.begin, "two numbers in \(numbers)", "\(marks.begin) and \(marks.end)")
      }
      text.marks = marks
    }
    return text
  }

  /// Mean and deviation of pixels, where the file tells them.
  func pixels(_ config: VisionConfig) throws(ContainerError) -> VisionConfig {
    let (prefix, count) = ("trident.\(config.blocks.role.rawValue)", 3)
    guard file.hasKey(prefix + ".mean") else { return config }
    func numbers(_ key: String) throws(ContainerError) -> SIMD3<Float> {
      // Counted first: a header of bytes would ask for gigabytes.
      guard try file.count(key) == count, case .array(of: .float32, let values) = try file.value(key) else {
        throw refuse(key, "three numbers of type float32", "something else")
      }
      var numbers = SIMD3<Float>(repeating: 0)
      for index in 0..<count { if case .float32(let value) = values[index] { numbers[index] = value } }
      return numbers
    }
    var config = config
    let (mean, deviation) = (try numbers(prefix + ".mean"), try numbers(prefix + ".std"))
    guard PixelStatistics.isPlausible(mean, deviation) else {
      throw refuse(prefix + ".mean", "mean and deviation of pixels from 0 to 1", "\(mean) and \(deviation)")
    }
    config.pixels = PixelStatistics(mean: mean, deviation: deviation)
    return config
  }

  func radio() throws(ContainerError) -> RADIOConfig {
    let blocks = try transformer(
      .radio, activation: .gelu, epsilon: try epsilon("trident.radio.norm_epsilon"))
    // RADSeg relates the channels of each head to themselves.
    guard blocks.heads * blocks.headWidth == blocks.width else {
      throw refuse(
        "trident.radio.heads", "the width \(blocks.width) in heads of \(blocks.headWidth)", "\(blocks.heads)")
    }
    let grid = try number("trident.radio.grid", limit: 1024)
    let rule = try word("trident.radio.position_rule", [PositionRule.ofWindow.name].compactMap { $0 })
    let vision = VisionConfig.radio(
      blocks, patch: try number("trident.radio.patch", limit: 64), grid: grid,
      prefixTokens: try number("trident.radio.prefix", limit: 64),
      hasPostNorm: try flag("trident.radio.norm_post"),
      positions: rule == nil ? .bilinearCropped : .ofWindow)
    var config = RADIOConfig(
      vision: vision, hasNormalizer: try flag("trident.radio.normalizer"), head: try adaptor("head"),
      textModel: try towerName("trident.radio.text_model"))
    if file.hasKey("trident.radio.sam_head.version") {
      // RADSeg+ takes the photo in one pass of any side.
      if let rule { throw refuse("trident.radio.position_rule", "positions for every window", "'\(rule)'") }
      config.samHead = try adaptor("sam_head")
    }
    return config
  }

  private func adaptor(_ part: String) throws(ContainerError) -> AdaptorConfig {
    let prefix = "trident.radio.\(part)"
    let name = try file.string(prefix + ".version")
    guard let version = AdaptorConfig.Version(rawValue: name) else {
      throw refuse(prefix + ".version", "v1 or v2", "'\(name.prefix(40))'")
    }
    let head = AdaptorConfig(
      version: version, hidden: try number(prefix + ".hidden", limit: 32_768),
      blocks: version == .v1 ? 0 : try file.uint(prefix + ".blocks"),
      outputs: try number(prefix + ".outputs", limit: 8192))
    guard head.blocks <= 64 else { throw refuse(prefix + ".blocks", "at most 64", "\(head.blocks)") }
    return head
  }

  func towerName(_ key: String) throws(ContainerError) -> String {
    let name = try file.string(key)
    guard name.utf8.count <= 64, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
      throw refuse(key, "a short plain name", "\(name.utf8.count) bytes")
    }
    return name
  }

  func siglip() throws(ContainerError) -> SigLIPConfig {
    let blocks = try transformer(
      .siglip, activation: .tanhGELU, epsilon: try epsilon("trident.siglip.norm_epsilon"))
    let tower = TextConfig(
      blocks: blocks, context: 1, vocabularySize: 1,
      embedWidth: try number("trident.siglip.embed_dim", limit: 8192))
    return SigLIPConfig(
      tower: try fill(tower, "trident.siglip", TextConfig.numbers),
      textModel: try towerName("trident.siglip.text_model"))
  }

  /// BLIP's two towers, of which neither is without the other.
  func matching() throws(ContainerError) -> (VisionConfig, TextConfig) {
    let image = try transformer(.blip, activation: .gelu, epsilon: try epsilon("trident.blip.norm_epsilon"))
    let words = try transformer(.bert, activation: .gelu, epsilon: try epsilon("trident.bert.norm_epsilon"))
    // Heads share the width out, as the gradient takes them.
    guard words.heads * words.headWidth == words.width else {
      throw refuse(
        "trident.bert.heads", "the width \(words.width) in heads of \(words.headWidth)", "\(words.heads)")
    }
    let tower = TextConfig(
      blocks: words, context: 1, vocabularySize: 1,
      embedWidth: try number("trident.bert.embed_dim", limit: 8192))
    let text = try fill(tower, "trident.bert", TextConfig.numbers)
    // Marks and the words in front of a name.
    if text.context < 8 { throw refuse("trident.bert.context", "room for a caption", "\(text.context)") }
    return (try fill(.blip(image, patch: 1, grid: 1), "trident.blip"), text)
  }

  /// Whatever encodes words and whatever is compared with them share one space.
  func checkSpaces(_ config: ModelConfig) throws(ContainerError) {
    let widths = [
      ("clip", config.clip?.embedWidth), ("text", config.text?.embedWidth),
      ("radio", config.radio?.embedWidth),
      ("siglip", config.siglip?.tower.embedWidth), ("bert", config.bert?.embedWidth),
    ].compactMap { name, width in width.map { (name, $0) } }
    if let first = widths.first, let other = widths.first(where: { $0.1 != first.1 }) {
      throw refuse("trident.\(other.0).embed_dim", "\(first.1), as \(first.0) has", "\(other.1)")
    }
  }

  /// Whether CLIP's last image block has its MLP. Something has to come before such an end.
  func hasLastMLP(depth: Int) throws(ContainerError) -> Bool {
    guard try flag(CLIPConfig.noLastMLPKey) else { return true }
    guard depth > 1 else { throw refuse(CLIPConfig.noLastMLPKey, "two blocks or more", "one") }
    return false
  }

  func flag(_ key: String) throws(ContainerError) -> Bool {
    guard file.hasKey(key) else { return false }
    switch try file.value(key) {
    case .bool(let value): return value
    default: throw refuse(key, "a flag", "another type")
    }
  }

  func sam() throws(ContainerError) -> SAMConfig {
    let normEpsilon = try epsilon("trident.sam.norm_epsilon")
    // Without a depth there is no encoder, and blocks have a width only.
    let hasEncoder = file.hasKey("trident.sam.depth")
    let blocks =
      hasEncoder
      ? try transformer(.sam, activation: .gelu, epsilon: normEpsilon)
      : .absent(.sam, width: try number("trident.sam.width", limit: 8192), normEpsilon: normEpsilon)
    let vision = try fill(.sam(blocks, patch: 1, grid: 1), "trident.sam")
    let side = try file.uint("trident.sam.image_side")
    guard side == vision.grid * vision.patch else {
      throw refuse("trident.sam.image_side", "grid \(vision.grid) times patch \(vision.patch)", "\(side)")
    }
    let globalBlocks = hasEncoder ? try file.uints("trident.sam.global_blocks") : []
    let isPlausible =
      globalBlocks.allSatisfy { $0 < blocks.depth } && globalBlocks.contains(blocks.depth - 1)
    guard !hasEncoder || isPlausible else {
      throw refuse(
        "trident.sam.global_blocks", "blocks of 0..<\(blocks.depth) and the last one",
        "\(globalBlocks.prefix(40))")
    }
    let neck = try number("trident.sam.neck_width", limit: 4096)
    var decoder = DecoderConfig(
      depth: 1, heads: 1, mlpWidth: 1, maskTokens: 1, hyperDepth: 1, iouDepth: 1, attentionWidth: 1,
      iouWidth: neck)
    decoder = try fill(decoder, "trident.sam.decoder", DecoderConfig.numbers)
    guard neck % 8 == 0, neck % decoder.heads == 0, decoder.attentionWidth % decoder.heads == 0 else {
      throw refuse(
        "trident.sam.decoder.heads", "a divisor of the widths \(neck) and \(decoder.attentionWidth)",
        "\(decoder.heads)")
    }
    // No key holds the width between the layers of the IoU head: the tensor does, within a limit.
    if decoder.iouDepth > 1, let first = file.header.tensor("sam.decoder.iou.0.bias") {
      decoder.iouWidth = first.dimensions.last ?? 0
      guard (1...4096).contains(decoder.iouWidth) else {
        throw refuse("sam.decoder.iou.0.bias", "1...4096 numbers", "\(decoder.iouWidth)")
      }
    }
    return SAMConfig(
      vision: vision, window: hasEncoder ? try number("trident.sam.window", limit: 256) : 1,
      globalBlocks: globalBlocks, neckWidth: neck, decoder: decoder)
  }
}
