// SigLIP 2's text tower, stage by stage, against an independent computation in Python
// (Tests/Reference/siglip.py).
import Compute
import Container
import Foundation
import Quantization
import Segmentation
import TestSupport
import Testing

@Suite("SigLIP", .serialized)
struct SigLIPTests {
  private static let folder = RADSegCase.folder + "text/"

  private func golden() throws -> GoldenCase { try GoldenCase("text", folder: RADSegCase.folder) }

  private func model(_ tokenizer: String = "tokenizer.model") throws -> String {
    try GoldenModels.path("siglip " + tokenizer) { path in
      let source = try GoldenModels.unpack(golden().text("siglip"), in: RADSegCase.folder)
      let request = QuantizationRequest(
        siglipText: source, tokenizer: Self.folder + tokenizer, output: path)
      _ = try ModelQuantizer(request) { _ in }.run()
    }
  }

  private func session(_ model: String, threads: Int = 2, limit: Int? = nil) throws -> Session {
    var runtime = RuntimeOptions()
    (runtime.threads, runtime.memoryLimit) = (threads, limit)
    return try Session(modelPath: model, runtime: runtime)
  }

  private func source(_ session: Session) throws -> PromptSource {
    let classes = try ClassList(arguments: golden().classLines, background: false)
    return PromptSource(phrases: classes.phrases, tokenizer: try session.makeTokenizer())
  }

  private func encode(
    _ session: Session, _ precision: PrecisionChoice = .int8, within limit: MemoryLimit = .ofRuntime,
    taps: Taps? = nil
  ) throws -> TextReport {
    let source = try source(session)
    let plan = try session.planText(source, precision, within: limit)
    return try session.encodeText(source, precision, plan: plan, measures: false, taps: taps)
  }

  /// Vectors of a list of templates are means of those of its lines.
  @Test func templates() throws {
    let session = try session(try model())
    func vectors(_ templates: TemplateList) throws -> [Float] {
      let source = PromptSource(
        phrases: ["cat", "soccer ball"], tokenizer: try session.makeTokenizer(), templates: templates)
      let plan = try session.planText(source, .int8)
      return try session.encodeText(source, .int8, plan: plan, measures: false).vectors
    }
    let seven = try vectors(.seven)
    let single = try TemplateList.seven.texts.map { try vectors(TemplateList(bytes: Array($0.utf8))) }
    let width = seven.count / 2
    for row in 0..<2 {
      let range = row * width..<(row + 1) * width
      let sum = range.map { index in single.reduce(Float(0)) { $0 + $1[index] } }
      let length = sum.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let worst = zip(sum, seven[range]).map { abs($0 / length - $1) }.max() ?? 1
      #expect(worst < 1e-4, "\(worst)")
    }
    #expect(try vectors(.all) != seven)
    let usual = PromptSource(phrases: ["cat", "soccer ball"], tokenizer: try session.makeTokenizer())
    let plan = try session.planText(usual, .int8)
    #expect(try session.encodeText(usual, .int8, plan: plan, measures: false).vectors == vectors(.all))
  }

  private static let stages = [
    "siglip.embed", "siglip.blocks.0", "siglip.blocks.1", "text.pooled", "text.vectors",
  ]

  private func stages(_ precision: PrecisionChoice) throws -> [StageAgreement] {
    let (taps, reference) = (Taps(), try golden().reference())
    _ = try encode(session(try model()), precision, taps: taps)
    return try Self.stages.map { name in
      let array = try #require(reference[name])
      let tap = try #require(taps.all[name], "\(name) was not recorded")
      // Of the last block only the last position is computed.
      let stage = try #require(
        StageAgreement(name, array, mayLackRows: true) { array.shape.count == 1 ? tap[0] : tap[$0] },
        "\(name): no row in common")
      print("siglip \(precision.rawValue) \(name): relative \(stage.relative), cosine \(stage.cosine)")
      return stage
    }
  }

  @Test(
    "float32, stage by stage",
    .needsOpenBLAS)
  func float32() throws {
    for stage in try stages(.float32) { #expect(stage.relative <= 2e-5, "\(stage.name)") }
  }

  @Test("int8") func int8() throws {
    for stage in try stages(.int8) { #expect(stage.cosine >= 0.995, "\(stage.name)") }
  }

  @Test("threads, tilings and limits change no bit") func invariance() throws {
    let first = try encode(session(try model(), threads: 1))
    for threads in 2...3 {
      #expect(
        try encode(session(try model(), threads: threads)).vectors == first.vectors, "\(threads) threads")
    }
    let least = try encode(session(try model()), within: .smallest)
    #expect(least.plan.tiling.textRows < first.plan.tiling.textRows)
    #expect(least.plan.arenaByteCount < first.plan.arenaByteCount)
    #expect(least.vectors == first.vectors, "smallest plan")
    #expect(least.stages.map(\.arenaByteCount) == least.plan.stages.map(\.arenaByteCount))
    #expect(first.stages.map(\.arenaByteCount) == first.plan.stages.map(\.arenaByteCount))
  }

  @Test("either file of the tokenizer makes the same vectors") func tokenizerFiles() throws {
    let first = try encode(session(try model()))
    #expect(try encode(session(try model("tokenizer.json"))).vectors == first.vectors)
  }

  /// What the tower makes is taken by the C-RADIO whose head leads to it, and by no other model.
  @Test("vocabularies name their tower") func identity() throws {
    let text = try session(try model())
    let radio = try RADSegCase("square").session()
    #expect(text.textIdentity == radio.textIdentity)
    #expect(text.textIdentity == Model.textIdentity(ofTower: "siglip2-so400m"))
    #expect(text.modelIdentity != text.textIdentity)
    #expect(text.embedWidth == radio.embedWidth)
    #expect(try session(try GoldenCase("toy-b").model()).textIdentity != text.textIdentity)
  }

  @Test("a text tower alone segments nothing, and says what does") func refusal() throws {
    let session = try session(try model())
    let wording = Wording(
      source: .vectors([Float](repeating: 0, count: session.embedWidth)), phraseClass: [0])
    for method in MethodName.allCases {
      let error = thrownError(SegmentationError.self) {
        try session.plan(PhotoSize(width: 64, height: 64), wording, SegmentOptions(method: method))
      }
      #expect(error?.exitCode == 4)
      #expect(error?.description.contains("'trident text'") == true, "\(error?.description ?? "accepted")")
    }
    let words = thrownError(SegmentationError.self) { try RADSegCase("square").session().makeTokenizer() }
    #expect(words?.description.contains("siglip2-so400m") == true)
  }

  /// A table of another size than the embeddings must not reach the tower.
  @Test("pieces and rows agree") func tables() throws {
    let file = try MappedModel(path: try model())
    let own = ["general.alignment", "trident.model_id", "trident.tensor_crc32", "trident.header_crc32"]
    var keys = try file.keys.filter { !own.contains($0) }.map { (key: $0, value: try file.value($0)) }
    let place = try #require(keys.firstIndex { $0.key == "trident.siglip.vocab" })
    keys[place].value = .uint32(511)
    let tensors = file.tensors.map { tensor in
      var dimensions = tensor.dimensions
      if tensor.name.hasPrefix("siglip.token.") { dimensions[dimensions.count - 1] = 511 }
      return TensorDeclaration(name: tensor.name, type: tensor.type, dimensions: dimensions)
    }
    let path = GoldenModels.scratch + "/fewer.gguf"
    let writer = try ModelWriter(path: path, values: keys, tensors: tensors, overwrite: true)
    for (tensor, declared) in zip(file.tensors, tensors) {
      let range = tensor.range.lowerBound..<tensor.range.lowerBound + (try declared.byteCount())
      try writer.append(UnsafeRawBufferPointer(rebasing: file.fileBytes[range]))
    }
    try writer.finish()
    let error = thrownError(SegmentationError.self) { try session(path).makeTokenizer() }
    #expect(
      error?.description.contains("512 pieces for 511 rows") == true, "\(error?.description ?? "accepted")")
  }
}
