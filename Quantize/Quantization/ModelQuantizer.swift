// From checkpoints to one model file: plan everything, hash the sources, then stream tensor by tensor.

import Container
import Segmentation
import System

/// Whose fault it was: a source's or the output's.
package enum QuantizationFailure: Error, CustomStringConvertible {
  case source(QuantizationError)
  case output(ContainerError)
  /// A photo to calibrate with, or their folder.
  case photo(String)
  /// The model cannot be run, or not on the photos.
  case run(String)

  package var description: String {
    switch self {
    case .source(let error): return error.description
    case .output(let error): return error.description
    case .photo(let text), .run(let text): return text
    }
  }
}

/// The tables of a text tower's tokenizer.
enum TokenizerSource {
  case bytePairs(BytePairSource)
  case pieces(SentencePieceSource)
  case wordPieces(WordPieceSource)

  var values: KeyValues {
    switch self {
    case .bytePairs(let source): [(TokenizerKeys.merges, .strings(source.merges))]
    case .pieces(let source): source.values
    case .wordPieces(let source): source.values
    }
  }
}

/// How far a run has come.
package struct QuantizationProgress: Sendable {
  package enum Stage: Sendable { case hashing, writing, calibrating }
  package let stage: Stage
  /// The file being hashed, the tensor being written or the photo being looked at.
  package let name: String
  /// Bytes within the stage; thousandths of photos while calibrating.
  package let done: Int
  package let total: Int
}

/// Builds a model file.
///
/// - Memory: a few rows at a time; at most one small tensor whole. Peak private memory stays below the
///   largest tensor plus 64 MiB.
///   Calibration runs the networks and needs what `trident segment` needs besides.
/// - Errors: `QuantizationFailure`; nothing is left at the output path.
package struct ModelQuantizer {
  let request: QuantizationRequest
  let progress: (QuantizationProgress) -> Void
  let sources: [(key: String, directory: TensorDirectory)]
  let vocabulary: TokenizerSource?
  private let config: ModelConfig
  /// CLIP's text tower where the file holds one tower of CLIP.
  private let textOfHalf: TransformerConfig?
  /// In file order, which is the order of use.
  let items: [PlanItem]
  package let modelName: String

  /// Opens the sources and checks every shape; writes nothing.
  package init(
    _ request: QuantizationRequest, progress: @escaping (QuantizationProgress) -> Void
  ) throws(QuantizationFailure) {
    self.request = request
    self.progress = progress
    if let path = request.radio ?? request.siglipText ?? request.blip {
      do throws(QuantizationError) {
        let file = try CheckpointFolder.file(path)
        let alone = try Self.alone(request, try TensorDirectory.open(path: file))
        (config, items, sources, vocabulary, textOfHalf) = alone
      } catch { throw .source(error) }
      modelName = request.name ?? baseName(path)
      return
    }
    do throws(QuantizationError) {
      (config, items, sources, vocabulary, textOfHalf) = try Self.trio(request)
    } catch {
      throw .source(error)
    }
    modelName =
      request.name
      ?? [request.clip, request.dino, request.sam].compactMap { $0 }.map(baseName).joined(separator: " + ")
  }

  private typealias Contents = (
    config: ModelConfig, items: [PlanItem], sources: [(key: String, directory: TensorDirectory)],
    vocabulary: TokenizerSource?, textOfHalf: TransformerConfig?
  )

  /// A model of CLIP, and of DINO and SAM where they are asked for.
  private static func trio(_ asked: QuantizationRequest) throws(QuantizationError) -> Contents {
    var request = asked
    // What lies beside a checkpoint is beside its file.
    request.clip = try CheckpointFolder.file(asked.clip)
    let clip = try TensorDirectory.open(path: request.clip)
    let dino = try open(request.dino)
    let sam = try open(request.sam)
    var options = CLIPNameMap.Options(activation: request.activation, headWidth: request.clipHeadWidth)
    (options.textHeadWidth, options.prefix) = (request.textHeadWidth, request.clipPrefix)
    options.suppressed = request.suppressed
    options.hasLastMLP = request.keepsLastMLP || dino != nil || sam != nil
    if let mean = request.clipMean, let deviation = request.clipDeviation {
      options.pixels = PixelStatistics(mean: mean, deviation: deviation)
    }
    let clipPlans = try CLIPNameMap.plan(clip, options)
    var config = ModelConfig()
    var plans: [NetworkPlan] = []
    if request.towers != .image {
      config.text = clipPlans.text
      plans.append(clipPlans.words)
    }
    if let dino {
      let (dinoConfig, plan) = try DINONameMap.plan(
        dino,
        DINONameMap.Options(
          prefix: request.dinoPrefix, headWidth: request.dinoHeadWidth, positions: request.dinoPositions))
      config.dino = dinoConfig
      plans.append(plan)
    }
    if request.towers != .text {
      config.clip = clipPlans.clip
      plans.append(clipPlans.vision)
    }
    if let sam {
      let (samConfig, plan) = try SAMNameMap.plan(sam, prefix: request.samPrefix)
      config.sam = samConfig
      plans.append(plan)
    }
    var vocabulary: TokenizerSource?
    if request.towers != .image {
      let pairs = try readVocabulary(request, size: clipPlans.text.vocabularySize)
      config.text?.marks = pairs.marks
      vocabulary = .bytePairs(pairs)
    }
    let opened: [(key: String, directory: TensorDirectory?)] = [
      ("clip", clip), ("dino", dino), ("sam", sam),
    ]
    let sources = opened.compactMap { key, directory in directory.map { (key: key, directory: $0) } }
    return (
      config, plans.flatMap(\.items), sources, vocabulary,
      request.towers == .both ? nil : clipPlans.text.blocks
    )
  }

  /// A model of one network: C-RADIO, SigLIP 2's text tower or BLIP.
  private static func alone(
    _ request: QuantizationRequest, _ checkpoint: TensorDirectory
  ) throws(QuantizationError) -> Contents {
    var config = ModelConfig()
    if request.radio != nil {
      guard let sam = try open(request.sam) else {
        let (radio, plan) = try RADIONameMap.plan(checkpoint, window: request.radioWindow)
        config.radio = radio
        return (config, plan.items, [("radio", checkpoint)], nil, nil)
      }
      let (samConfig, masks) = try SAMNameMap.plan(sam, decoderOnly: true, prefix: request.samPrefix)
      let (radio, plan) = try RADIONameMap.plan(checkpoint, sam: samConfig)
      (config.radio, config.sam) = (radio, samConfig)
      // As everywhere, in the order of `Model.schemas`.
      return (config, masks.items + plan.items, [("radio", checkpoint), ("sam", sam)], nil, nil)
    }
    if request.blip != nil {
      let plans = try BLIPNameMap.plan(checkpoint)
      (config.blip, config.bert) = (plans.blip, plans.bert)
      let path = try vocabulary(
        request, beside: checkpoint, WordPieceSource.fileNames,
        flag: "--vocab, the vocab.txt of bert-base-uncased")
      let pieces = try WordPieceSource.read(path: path, vocabularySize: plans.bert.vocabularySize)
      return (
        config, plans.image.items + plans.text.items, [("blip", checkpoint)], .wordPieces(pieces),
        nil
      )
    }
    let (siglip, plan) = try SigLIPNameMap.plan(checkpoint)
    config.siglip = siglip
    let path = try vocabulary(
      request, beside: checkpoint, SentencePieceSource.fileNames, flag: "--tokenizer")
    let pieces = try SentencePieceSource.read(path: path, vocabularySize: siglip.tower.vocabularySize)
    return (config, plan.items, [("siglip", checkpoint)], .pieces(pieces), nil)
  }

  /// The file of a tokenizer: the one that was named, or the first of some names beside a checkpoint.
  private static func vocabulary(
    _ request: QuantizationRequest, beside checkpoint: TensorDirectory, _ names: [String], flag: String
  ) throws(QuantizationError) -> String {
    let beside = names.map { folder(of: checkpoint.path) + $0 }
    if let path = request.vocabulary ?? beside.first(where: { fileExists($0) }) { return path }
    let list = names.joined(separator: " or ")
    throw QuantizationError(
      .unsupportedModel("no \(list) beside this checkpoint; name it with \(flag)"), path: checkpoint.path)
  }

  private static func open(_ path: String?) throws(QuantizationError) -> TensorDirectory? {
    guard let path else { return nil }
    return try TensorDirectory.open(path: try CheckpointFolder.file(path))
  }

  private static func readVocabulary(
    _ request: QuantizationRequest, size: Int
  ) throws(QuantizationError) -> BytePairSource {
    // Of another vocabulary than CLIP's only a tokenizer says which merges are its own.
    let proof = folder(of: request.clip) + "tokenizer.json"
    let own = size != BytePairSource.publishedSize && fileExists(proof) ? proof : nil
    let found = own ?? BytePairSource.find(besideCheckpoint: request.clip)
    guard let path = request.vocabulary ?? found else {
      let what = "no vocabulary beside this checkpoint; " + BytePairSource.whereToGet
      throw QuantizationError(.unsupportedModel(what), path: request.clip)
    }
    return try BytePairSource.read(path: path, vocabularySize: size)
  }

  /// What was decided about the sources and should be known: which copy of a network was taken, what was
  /// taken for granted.
  package var notes: [String] { sources.flatMap(\.directory.notes) }

  /// Hashes the sources and writes the file; with calibration, once more than without.
  package func run() throws(QuantizationFailure) -> QuantizationReport {
    let header = try makeHeader()
    guard let folder = request.calibration else { return try finish(write(header)) }
    let photos = try CalibrationPhotos(folder: folder)
    // The draft never gets a name of its own.
    let maxima = try observe(photos, model: write(header).writer)
    let balance = try ChannelBalance(maxima, items)
    let note = (key: "trident.calibration", value: GGUFValue.string(photos.note))
    return try finish(write(header + [note], balance: balance))
  }

  private func makeHeader() throws(QuantizationFailure) -> KeyValues {
    var header: KeyValues = [
      ("general.architecture", .string(MappedModel.architecture)), ("general.name", .string(modelName)),
      (
        "trident.format_version",
        .uint32(UInt32(config.formatVersion(hasHalves: items.contains(where: \.isHalves))))
      ),
      ("trident.packing", .string(MappedModel.packing)),
    ]
    let sources: KeyValues
    do throws(QuantizationError) { sources = try provenance() } catch { throw .source(error) }
    header += named(config, sources).keys
    header += vocabulary?.values ?? []
    return header + sources + (try trainedWords())
  }

  /// A string for each line of the class file.
  private func trainedWords() throws(QuantizationFailure) -> KeyValues {
    guard let path = request.words else { return [] }
    do throws(SegmentationError) {
      let list = try ClassList(path: path, background: false)
      let lines = (0..<list.count).map { list.phrases(ofClass: $0).joined(separator: "; ") }
      return [(Model.wordsKey, .strings(lines))]
    } catch {
      throw .run("--words: \(error)")
    }
  }

  /// The configuration with the name of CLIP's text tower, where the file holds one tower of it: a digest of
  /// the checkpoint and of what else the tower's vectors hang on.
  private func named(_ config: ModelConfig, _ sources: KeyValues) -> ModelConfig {
    guard let blocks = textOfHalf else { return config }
    let parts = ["sha256", "prefix"].map { part in
      guard case .string(let text)? = sources.first(where: { $0.key == "trident.source.clip.\(part)" })?.value
      else { return "" }
      return text
    }
    let whole = "\(parts[0]) \(parts[1]) \(blocks.activation.name) \(blocks.heads) \(blocks.headWidth)"
    var config = config
    config.clipText = "clip-" + SHA256Digest.hex(of: whole).prefix(32)
    return config
  }

  /// A whole model file under its temporary name.
  private func write(
    _ header: KeyValues, balance: ChannelBalance = ChannelBalance()
  ) throws(QuantizationFailure) -> (writer: ModelWriter, report: QuantizationReport) {
    var declarations: [TensorDeclaration] = []
    for item in items { declarations += item.declarations }
    let writer: ModelWriter
    do throws(ContainerError) {
      writer = try ModelWriter(
        path: request.output, values: header, tensors: declarations, overwrite: request.overwrite)
    } catch { throw .output(error) }
    var report = QuantizationReport()
    report.modelName = modelName
    report.outputPath = request.output
    let total = writer.tensors.reduce(0) { $0 + $1.byteCount }
    var done = 0
    var last: TensorDirectory?
    for item in items {
      if let last, last !== item.directory { last.releasePages() }
      last = item.directory
      progress(QuantizationProgress(stage: .writing, name: item.name, done: done, total: total))
      let itemWriter = ItemWriter(item, writer, factors: balance.factors[item.name])
      let entry = try itemWriter.write()
      report.entries.append(entry)
      done += entry.storedByteCount
    }
    progress(QuantizationProgress(stage: .writing, name: request.output, done: total, total: total))
    do throws(ContainerError) { try writer.seal() } catch { throw .output(error) }
    try checkConfiguration(writer.temporaryPath)
    report.outputByteCount = writer.byteCount
    return (writer, report)
  }

  private func finish(
    _ written: (writer: ModelWriter, report: QuantizationReport)
  ) throws(QuantizationFailure) -> QuantizationReport {
    do throws(ContainerError) { try written.writer.finish() } catch { throw .output(error) }
    return written.report
  }

  /// Refuses sizes that no program of this package runs, before the file gets its name.
  private func checkConfiguration(_ path: String) throws(QuantizationFailure) {
    do { try Model(MappedModel(path: path)).check() } catch {
      throw .run("these checkpoints make no model that can be run: \(error)")
    }
  }
}
