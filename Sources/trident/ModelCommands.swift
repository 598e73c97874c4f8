// `trident inspect` and `trident verify`: what a model file holds, and whether it is whole.
import ArgumentParser
import Container
import Segmentation

/// Opens a model file, with errors of this program.
func openModel(_ path: String) throws -> MappedModel {
  do throws(ContainerError) {
    return try MappedModel(path: path)
  } catch {
    throw SegmentationError(.model(error.description))
  }
}

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Lists configuration, tensors, sizes and provenance of a model file.")

  @Argument(help: "Model file made by trident-quantize.", completion: .file())
  var model: String

  @Flag(help: "One JSON object on standard output.")
  var json = false

  @Flag(help: "List every tensor.")
  var tensors = false

  func run() throws {
    let file = try openModel(model)
    let config = try ModelConfig(file)
    if json {
      print(describe(file, config).text())
      return
    }
    print("\(model): \(mebibytes(file.byteCount)) MiB, \(file.tensors.count) tensors")
    func line(_ name: String, _ encoder: EncoderConfig, _ more: String) {
      print(
        "  \(padded(name, 6)) width \(encoder.width), depth \(encoder.depth), \(encoder.heads) heads of \(encoder.headWidth), mlp \(encoder.mlpWidth)\(more)"
      )
    }
    line("clip", config.clip, ", patch \(config.clip.patch), grid \(config.clip.grid), embedding \(config.embedWidth), \(activation(config))")
    line("text", config.text, ", context \(config.text.grid), vocabulary \(config.vocabularySize)")
    line("dino", config.dino, ", patch \(config.dino.patch), grid \(config.dino.grid)")
    line(
      "sam", config.sam.encoder,
      ", patch \(config.sam.encoder.patch), image \(config.sam.imageSide), window \(config.sam.window), global \(config.sam.globalBlocks), neck \(config.sam.neckWidth)"
    )
    for source in ["clip", "dino", "sam", "vocab"] {
      guard let name = try? file.string("trident.source.\(source).file") else { continue }
      let digest = (try? file.string("trident.source.\(source).sha256")) ?? "-"
      let count = (try? file.uint("trident.source.\(source).bytes")) ?? 0
      let line = "  from \(padded(source, 6)) \(name), \(count) bytes, sha256 \(digest)"
      print(printable(line, limit: 400))
    }
    if let identity = try? file.string("trident.model_id") { print("  model id \(printable(identity, limit: 64))") }
    if tensors {
      for tensor in file.tensors {
        print("  \(padded(printable(tensor.name, limit: 64), 44)) \(padded("\(tensor.type)", 5)) \(tensor.dimensions) \(tensor.byteCount) bytes")
      }
    }
  }

  private func activation(_ config: ModelConfig) -> String {
    config.clip.activation == .quickGELU ? "QuickGELU" : "exact GELU"
  }

  private func describe(_ file: MappedModel, _ config: ModelConfig) -> JSON {
    func encoder(_ encoder: EncoderConfig) -> JSON {
      .object([
        ("width", .int(encoder.width)), ("depth", .int(encoder.depth)), ("heads", .int(encoder.heads)),
        ("head_width", .int(encoder.headWidth)), ("mlp_width", .int(encoder.mlpWidth)),
        ("patch", .int(encoder.patch)), ("grid", .int(encoder.grid)),
      ])
    }
    return .object([
      ("file", .string(model)), ("bytes", .int(file.byteCount)),
      ("model_id", .string((try? file.string("trident.model_id")) ?? "")),
      ("clip", encoder(config.clip)), ("text", encoder(config.text)), ("dino", encoder(config.dino)),
      ("sam", encoder(config.sam.encoder)), ("embed_dim", .int(config.embedWidth)),
      ("activation", .string(config.clip.activation == .quickGELU ? "quickgelu" : "gelu")),
      (
        "tensors",
        .array(
          file.tensors.map {
            .object([
              ("name", .string($0.name)), ("type", .string("\($0.type)")),
              ("dimensions", .array($0.dimensions.map { .int($0) })), ("bytes", .int($0.byteCount)),
            ])
          })
      ),
    ])
  }
}

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Checks every checksum of a model file.")

  @Argument(help: "Model file made by trident-quantize.", completion: .file())
  var model: String

  @Flag(help: "No progress.")
  var quiet = false

  func run() throws {
    let file = try openModel(model)
    _ = try ModelConfig(file)
    let meter = ProgressMeter(quiet: quiet)
    do throws(ContainerError) {
      try file.verify { done, total in meter.show("verify", Double(done) / Double(max(total, 1))) }
    } catch {
      meter.finish()
      throw SegmentationError(.model(error.description))
    }
    meter.finish()
    print("\(model): \(file.tensors.count) tensors, all checksums agree")
  }
}
