// From checkpoints to one model file: plan everything, hash the sources, then stream tensor by tensor.

import Container
import Segmentation

/// What to build.
package struct QuantizationRequest: Sendable {
  package var clip: String
  package var dino: String
  package var sam: String
  /// Found beside the CLIP checkpoint if nil.
  package var vocabulary: String?
  package var output: String
  package var activation: CLIPActivation?
  package var clipHeadWidth: Int?
  /// `general.name`; made from the file names if nil.
  package var name: String?
  package var overwrite = false
  /// A folder of photos to calibrate with; nil: weights stay as they are.
  package var calibration: String?

  package init(clip: String, dino: String, sam: String, output: String) {
    self.clip = clip
    self.dino = dino
    self.sam = sam
    self.output = output
  }
}

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
  private let sources: [(key: String, directory: TensorDirectory)]
  private let vocabulary: BytePairSource
  private let values: [(key: String, value: GGUFValue)]
  /// In file order, which is the order of use.
  let items: [PlanItem]
  package let modelName: String

  /// Opens the sources and checks every shape; writes nothing.
  package init(
    _ request: QuantizationRequest, progress: @escaping (QuantizationProgress) -> Void
  ) throws(QuantizationFailure) {
    self.request = request
    self.progress = progress
    do throws(QuantizationError) {
      let clip = try TensorDirectory.open(path: request.clip)
      let dino = try TensorDirectory.open(path: request.dino)
      let sam = try TensorDirectory.open(path: request.sam)
      let options = CLIPNameMap.Options(activation: request.activation, headWidth: request.clipHeadWidth)
      let clipPlans = try CLIPNameMap.plan(clip, options)
      let dinoPlan = try DINONameMap.plan(dino)
      let samPlan = try SAMNameMap.plan(sam)
      vocabulary = try Self.readVocabulary(request, size: clipPlans.vocabularySize)
      sources = [("clip", clip), ("dino", dino), ("sam", sam)]
      items = clipPlans.text.items + dinoPlan.items + clipPlans.vision.items + samPlan.items
      values = clipPlans.vision.values + clipPlans.text.values + dinoPlan.values + samPlan.values
    } catch { throw .source(error) }
    modelName =
      request.name ?? [request.clip, request.dino, request.sam].map(stem(of:)).joined(separator: " + ")
  }

  private static func readVocabulary(
    _ request: QuantizationRequest, size: Int
  ) throws(QuantizationError) -> BytePairSource {
    guard let path = request.vocabulary ?? BytePairSource.find(besideCheckpoint: request.clip) else {
      let what = "no vocabulary beside this checkpoint; " + BytePairSource.whereToGet
      throw QuantizationError(.unsupportedModel(what), path: request.clip)
    }
    return try BytePairSource.read(path: path, vocabularySize: size)
  }

  /// Hashes the sources and writes the file; with calibration, once more than without.
  ///
  /// - Parameter started: told every temporary file's path, so that a program can remove it when interrupted.
  package func run(started: (String) -> Void = { _ in }) throws(QuantizationFailure) -> QuantizationReport {
    let header = try makeHeader()
    guard let folder = request.calibration else {
      return try write(header, to: request.output, overwrite: request.overwrite, started: started)
    }
    let photos = try CalibrationPhotos(folder: folder)
    let draft = request.output + ".uncalibrated"
    _ = try write(header, to: draft, overwrite: true, started: started)
    started(draft)
    let maxima = try observe(photos, model: draft)
    let balance = try ChannelBalance(maxima, items)
    let note = (key: "trident.calibration", value: GGUFValue.string(photos.note))
    return try write(
      header + [note], to: request.output, overwrite: request.overwrite, balance: balance, started: started)
  }

  private func makeHeader() throws(QuantizationFailure) -> [(key: String, value: GGUFValue)] {
    var header: [(key: String, value: GGUFValue)] = [
      ("general.architecture", .string(MappedModel.architecture)), ("general.name", .string(modelName)),
      ("trident.format_version", .uint32(UInt32(MappedModel.formatVersion))),
      ("trident.packing", .string(MappedModel.packing)),
    ]
    header += values
    header.append(("tokenizer.ggml.merges", .strings(vocabulary.merges)))
    do throws(QuantizationError) { header += try provenance() } catch { throw .source(error) }
    return header
  }

  private func write(
    _ header: [(key: String, value: GGUFValue)], to path: String, overwrite: Bool,
    balance: ChannelBalance = ChannelBalance(), started: (String) -> Void
  ) throws(QuantizationFailure) -> QuantizationReport {
    var declarations: [TensorDeclaration] = []
    for item in items { declarations += item.declarations }
    let writer: ModelWriter
    do throws(ContainerError) {
      writer = try ModelWriter(
        path: path, values: header, tensors: declarations, overwrite: overwrite)
    } catch { throw .output(error) }
    started(writer.temporaryPath)
    var report = QuantizationReport()
    report.modelName = modelName
    report.outputPath = path
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
    progress(QuantizationProgress(stage: .writing, name: path, done: total, total: total))
    do throws(ContainerError) { try writer.seal() } catch { throw .output(error) }
    try checkConfiguration(writer.temporaryPath)
    do throws(ContainerError) { try writer.finish() } catch { throw .output(error) }
    report.outputByteCount = writer.byteCount
    return report
  }

  /// Refuses sizes that no program of this package runs, before the file gets its name.
  private func checkConfiguration(_ path: String) throws(QuantizationFailure) {
    do { _ = try ModelReader(MappedModel(path: path)) } catch {
      throw .run("these checkpoints make no model that can be run: \(error)")
    }
  }

  /// Base names, sizes and digests of the sources: the same wherever the files lie.
  private func provenance() throws(QuantizationError) -> [(key: String, value: GGUFValue)] {
    var values: [(key: String, value: GGUFValue)] = []
    let total = sources.reduce(0) { $0 + $1.directory.byteCount }
    var before = 0
    for (key, directory) in sources {
      let name = fileName(of: directory.path)
      let digest = try directory.sha256Hex { done in
        progress(QuantizationProgress(stage: .hashing, name: name, done: before + done, total: total))
      }
      before += directory.byteCount
      values += entry(key, file: name, digest: digest, byteCount: directory.byteCount)
    }
    let name = fileName(of: vocabulary.path)
    return values + entry("vocab", file: name, digest: vocabulary.sha256Hex, byteCount: vocabulary.byteCount)
  }

  private func entry(
    _ key: String, file: String, digest: String, byteCount: Int
  ) -> [(key: String, value: GGUFValue)] {
    [
      ("trident.source.\(key).file", .string(file)), ("trident.source.\(key).sha256", .string(digest)),
      ("trident.source.\(key).bytes", .uint64(UInt64(byteCount))),
    ]
  }
}

/// The last component of a path.
func fileName(of path: String) -> String { String(path.split(separator: "/").last ?? "") }

/// A file's name without its last extension.
func stem(of path: String) -> String {
  let name = fileName(of: path)
  guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return name }
  return String(name[..<dot])
}
