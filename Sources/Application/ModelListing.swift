// What a model file holds, and whether it is whole: what `trident inspect` and `trident verify` tell.
import Container
import Segmentation
import System

/// A model file in words and in JSON.
package struct ModelListing {
  private let path: String
  private let model: Model
  private var file: MappedModel { model.file }
  private var config: ModelConfig { model.config }

  /// - Errors: `.model` for a file that is missing, damaged or of another kind, or whose tensors are not its
  ///   networks'.
  package init(_ path: String) throws(SegmentationError) {
    self.path = path
    let file: MappedModel
    do throws(ContainerError) {
      file = try MappedModel(path: path)
    } catch {
      throw SegmentationError(.model(error.description))
    }
    model = try Model(file)
  }

  package var tensorCount: Int { file.tensors.count }
  package var identity: String { model.identity }

  /// What `verify` says for machines, once it has.
  package var verified: JSON {
    .object([
      ("file", .string(path)), ("bytes", .int(file.byteCount)), ("tensors", .int(tensorCount)),
      ("model_id", .string(model.identity)), ("verified", .bool(true)),
    ])
  }

  /// Checks every checksum, the identity, and what `segment` would refuse.
  ///
  /// - Errors: `.model`.
  package func verify(_ display: (any ProgressDisplay)?) throws(SegmentationError) {
    defer { display?.finish() }
    try model.check()
    do throws(ContainerError) {
      try file.verify { done, total in
        display?.show("verify", Double(done) / Double(max(total, 1)), detail: "")
      }
    } catch {
      throw SegmentationError(.model(error.description))
    }
  }

  /// Lines for people. `lists`: every tensor as well.
  package func text(lists: Bool) -> String {
    var lines = ["\(path): \(mebibytes(file.byteCount)) MiB, \(tensorCount) tensors"]
    lines += networkLines
    for source in ["clip", "dino", "sam", "radio", "siglip", "blip", "vocab", "tokenizer"] {
      guard let name = try? file.string("trident.source.\(source).file") else { continue }
      let digest = (try? file.string("trident.source.\(source).sha256")) ?? "-"
      let count = (try? file.uint("trident.source.\(source).bytes")) ?? 0
      let prefix = (try? file.string("trident.source.\(source).prefix")).map { ", below '\($0)'" } ?? ""
      lines.append(
        printable(
          "  from \(padded(source, 6)) \(name), \(count) bytes, sha256 \(digest)\(prefix)", limit: 400))
      if let text = try? file.string("trident.source.\(source).assumed") {
        lines.append(printable("         assumed: \(text)", limit: 400))
      }
      lines += suppressed(source).map { printable("         suppressed: \($0)", limit: 400) }
    }
    let words = trainedWords
    if !words.isEmpty {
      lines.append(
        "  trained on \(words.count) words: " + printable(words.joined(separator: ", "), limit: 4000))
    }
    lines.append("  model id \(model.identity)")
    for tensor in lists ? file.tensors : [] {
      let name = padded(printable(tensor.name, limit: 64), 44)
      lines.append("  \(name) \(padded("\(tensor.type)", 5)) \(tensor.dimensions) \(tensor.byteCount) bytes")
    }
    return lines.joined(separator: "\n")
  }

  /// The first name of each word that training saw; none where the file does not tell.
  private var trainedWords: [String] {
    var words: [String] = []
    try? model.trainedWords { line in
      words.append(line.split(separator: ";").first.map(String.init) ?? "")
    }
    return words
  }

  /// Channels of a network that the quantizer suppressed.
  private func suppressed(_ source: String) -> [String] {
    let key = "trident.source.\(source).suppressed"
    guard file.hasKey(key) else { return [] }
    var lines: [String] = []
    try? file.strings(key) { _, bytes in lines.append(String(decoding: bytes, as: UTF8.self)) }
    return lines
  }

  /// One line for each network that the file holds.
  private var networkLines: [String] {
    func line(_ name: String, _ blocks: TransformerConfig, _ more: String) -> String {
      "  \(padded(name, 6)) width \(blocks.width), depth \(blocks.depth), "
        + "\(blocks.heads) heads of \(blocks.headWidth), mlp \(blocks.mlpWidth), \(more)"
    }
    var lines: [String] = []
    if let clip = config.clip {
      let activation = clip.vision.blocks.activation == .quickGELU ? "QuickGELU" : "exact GELU"
      let more =
        "patch \(clip.patch), grid \(clip.vision.grid), embedding \(clip.embedWidth), \(activation)"
        + (clip.hasLastMLP ? "" : ", without the last MLP")
      lines.append(line("clip", clip.vision.blocks, more))
      let pixels = clip.vision.pixels
      if pixels != .clip {
        let (mean, deviation) = (pixels.mean, pixels.deviation)
        lines.append(
          "         pixels: mean \(mean.x), \(mean.y), \(mean.z), deviation \(deviation.x), \(deviation.y), "
            + "\(deviation.z)")
      }
    }
    if let text = config.text {
      lines.append(line("text", text.blocks, "context \(text.context), vocabulary \(text.vocabularySize)"))
    }
    if let tower = config.clipText { lines.append("         words of \(tower)") }
    if let dino = config.dino {
      let parts = ["patch \(dino.patch)", "grid \(dino.grid)"] + Self.second(dino).map { $0.text }
      lines.append(line("dino", dino.blocks, parts.joined(separator: ", ")))
    }
    if let sam = config.sam {
      let more =
        "patch \(sam.vision.patch), image \(sam.imageSide), window \(sam.window), "
        + "global \(sam.globalBlocks), neck \(sam.neckWidth)"
      lines.append(line("sam", sam.blocks, more))
    }
    if let radio = config.radio {
      let window = Self.window(radio.vision).map { " (windows of \($0) pixels alone)" } ?? ""
      let more =
        "patch \(radio.vision.patch), grid \(radio.vision.grid)\(window), embedding \(radio.embedWidth), "
        + "words of \(radio.textModel)"
      lines.append(line("radio", radio.vision.blocks, more))
    }
    if let siglip = config.siglip {
      let tower = siglip.tower
      let more =
        "context \(tower.context), vocabulary \(tower.vocabularySize), embedding \(tower.embedWidth), "
        + "words of \(siglip.textModel)"
      lines.append(line("siglip", tower.blocks, more))
    }
    if let blip = config.blip, let bert = config.bert {
      lines.append(line("blip", blip.blocks, "patch \(blip.patch), grid \(blip.grid)"))
      let more =
        "context \(bert.context), vocabulary \(bert.vocabularySize), embedding \(bert.embedWidth)"
      lines.append(line("bert", bert.blocks, more))
    }
    return lines
  }

  /// The one window that positions are stored for, pixels.
  private static func window(_ vision: VisionConfig) -> Int? {
    vision.positions == .ofWindow ? vision.grid * vision.patch : nil
  }

  /// What DINOv2 has beside DINO's sizes, for people and for programs.
  private static func second(_ dino: VisionConfig) -> [(text: String, field: (String, JSON))] {
    var parts: [(text: String, field: (String, JSON))] = []
    if dino.registers > 0 {
      parts.append(("\(dino.registers) registers", ("registers", .int(dino.registers))))
    }
    if dino.positions != .bicubicWithFactor, let rule = dino.positions.name {
      parts.append(("positions by \(rule)", ("position_rule", .string(rule))))
    }
    if dino.blocks.isGated { parts.append(("SwiGLU", ("mlp", .string("swiglu")))) }
    return parts
  }

  package var json: JSON {
    func sizes(_ blocks: TransformerConfig, patch: Int, grid: Int) -> JSON {
      .object([
        ("width", .int(blocks.width)), ("depth", .int(blocks.depth)), ("heads", .int(blocks.heads)),
        ("head_width", .int(blocks.headWidth)), ("mlp_width", .int(blocks.mlpWidth)),
        ("patch", .int(patch)), ("grid", .int(grid)),
      ])
    }
    var fields: [(String, JSON)] = [
      ("file", .string(path)), ("bytes", .int(file.byteCount)), ("model_id", .string(model.identity)),
    ]
    if let clip = config.clip {
      var numbers = sizes(clip.vision.blocks, patch: clip.patch, grid: clip.vision.grid)
      if !clip.hasLastMLP, case .object(let whole) = numbers {
        numbers = .object(whole + [("last_mlp", .bool(false))])
      }
      fields.append(("clip", numbers))
    }
    if let text = config.text { fields.append(("text", sizes(text.blocks, patch: 0, grid: text.context))) }
    if let tower = config.clipText { fields.append(("text_model", .string(tower))) }
    if let dino = config.dino {
      var numbers = sizes(dino.blocks, patch: dino.patch, grid: dino.grid)
      if case .object(let plain) = numbers { numbers = .object(plain + Self.second(dino).map { $0.field }) }
      fields.append(("dino", numbers))
    }
    if let sam = config.sam {
      fields.append(("sam", sizes(sam.blocks, patch: sam.vision.patch, grid: sam.grid)))
    }
    if let radio = config.radio {
      fields.append(("radio", sizes(radio.vision.blocks, patch: radio.vision.patch, grid: radio.vision.grid)))
      if let window = Self.window(radio.vision) { fields.append(("radio_window", .int(window))) }
      fields.append(("text_model", .string(radio.textModel)))
    }
    if let siglip = config.siglip {
      fields.append(("siglip", sizes(siglip.tower.blocks, patch: 0, grid: siglip.tower.context)))
      fields.append(("text_model", .string(siglip.textModel)))
    }
    if let blip = config.blip, let bert = config.bert {
      fields.append(("blip", sizes(blip.blocks, patch: blip.patch, grid: blip.grid)))
      fields.append(("bert", sizes(bert.blocks, patch: 0, grid: bert.context)))
    }
    if let clip = config.clip {
      fields += [
        ("embed_dim", .int(clip.embedWidth)), ("activation", .string(clip.vision.blocks.activation.name)),
      ]
    }
    let words = trainedWords
    if !words.isEmpty { fields.append(("words", .array(words.map { .string($0) }))) }
    let assumed = ["clip", "dino"].compactMap { source in
      (try? file.string("trident.source.\(source).assumed")).map { (source, JSON.string($0)) }
    }
    if !assumed.isEmpty { fields.append(("assumed", .object(assumed))) }
    let suppressed = suppressed("clip")
    if !suppressed.isEmpty { fields.append(("suppressed", .array(suppressed.map { .string($0) }))) }
    let tensors = file.tensors.map { tensor in
      JSON.object([
        ("name", .string(tensor.name)), ("type", .string("\(tensor.type)")),
        ("dimensions", .array(tensor.dimensions.map { .int($0) })), ("bytes", .int(tensor.byteCount)),
      ])
    }
    return .object(fields + [("tensors", .array(tensors))])
  }
}
