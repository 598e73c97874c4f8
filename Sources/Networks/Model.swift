// A model file whose tensors are all known to be there: what every network takes its weights from.
import Compute
import Container
import System

/// A mapped model, bound to the schemas of its networks.
///
/// Opening compares every tensor of the file with what the schemas declare: nothing may be missing, nothing
/// may be left over, names, types and shapes must be the declared ones. After that no look-up can fail.
///
/// - Memory: the file stays mapped; pages become resident as kernels read them.
/// - Errors: `.model`, naming the tensor or key.
package final class Model {
  package let file: MappedModel
  package let config: ModelConfig
  package let text: TextSchema?
  package let dino: VisionSchema?
  package let clip: CLIPSchema?
  package let sam: SAMSchema?
  package let radio: RADIOSchema?
  package let siglip: SigLIPSchema?
  package let blip: VisionSchema?
  package let bert: BERTSchema?
  /// The identity that vocabularies and caches name: 64 lower-case hexadecimal digits. What the file claims;
  /// `ModelProof` shows it.
  package let identity: String
  /// What was checked of the weights so far.
  let checks = StreamChecks()

  package init(_ file: MappedModel) throws(SegmentationError) {
    self.file = file
    do throws(ContainerError) { identity = try file.claimedIdentity() } catch {
      throw SegmentationError(.model(error.description))
    }
    config = try ModelConfig(file)
    text = config.text.map { TextSchema($0) }
    dino = config.dino.map { VisionSchema($0) }
    clip = config.clip.map { CLIPSchema($0) }
    sam = config.sam.map { SAMSchema($0) }
    radio = config.radio.map { RADIOSchema($0) }
    siglip = config.siglip.map { SigLIPSchema($0) }
    blip = config.blip.map { VisionSchema($0) }
    if let text = config.bert, let image = config.blip {
      bert = BERTSchema(text, imageWidth: image.width)
    } else {
      bert = nil
    }
    try bind()
  }

  /// The networks of the file, in the order of use.
  package var schemas: [any NetworkSchema] {
    let all: [(any NetworkSchema)?] = [text, dino, clip, sam, radio, siglip, blip, bert]
    return all.compactMap { $0 }
  }

  /// Width of the space that images and text share; 0 where the file has none.
  package var embedWidth: Int {
    let widths = [
      config.radio?.embedWidth, config.clip?.embedWidth, config.text?.embedWidth,
      config.siglip?.tower.embedWidth, config.bert?.embedWidth,
    ]
    return widths.lazy.compactMap { $0 }.first ?? 0
  }

  /// The text tower whose words this file works with or makes for other files; nil where its words are its
  /// own.
  package var textTower: String? {
    config.radio?.textModel ?? config.siglip?.textModel ?? config.clipText
  }

  /// What vocabularies must name to be used with this file: its own identity where it encodes words itself;
  /// where words come from a tower of another file, a digest of that tower's name.
  package var textIdentity: String {
    textTower.map { Self.textIdentity(ofTower: $0) } ?? identity
  }

  /// 64 hexadecimal digits that stand for a text tower: of a published one a digest of its name. A name that
  /// is the id of a model file means the tower in that file, and stands for itself.
  package static func textIdentity(ofTower name: String) -> String {
    MappedModel.isIdentity(name) ? name : SHA256Digest.hex(of: "trident text tower \(name)")
  }

  /// Where the words that training saw are, if the file tells: a string each, synonyms separated by "; ".
  package static let wordsKey = "trident.source.words"

  /// Hands over each of those words; none where the file does not tell.
  package func trainedWords(_ body: (_ word: String) -> Void) throws(SegmentationError) {
    guard file.hasKey(Self.wordsKey) else { return }
    do throws(ContainerError) {
      try file.strings(Self.wordsKey) { _, bytes in body(String(decoding: bytes, as: UTF8.self)) }
    } catch {
      throw SegmentationError(.model(error.description))
    }
  }

  private func bind() throws(SegmentationError) {
    do throws(ContainerError) {
      let version = try file.uint("trident.format_version")
      var known: Set<String> = []
      for schema in schemas {
        for tensor in schema.parts.flatMap({ declarations($0, version) }) {
          _ = try file.bytes(tensor.name, type: tensor.type, dimensions: tensor.dimensions)
          known.insert(tensor.name)
        }
      }
      if let extra = file.tensors.first(where: { !known.contains($0.name) }) {
        throw ContainerError(
          .wrongTensor(expected: "no tensor of this name", found: extra.shapeDescription), path: file.path,
          name: extra.name)
      }
    } catch {
      throw SegmentationError(.model(error.description))
    }
  }

  /// What a file of that version must hold of a part. Position tables are half floats in version 1, floats in
  /// version 2, and either from version 3 on.
  private func declarations(_ part: any WeightSpec, _ version: Int) -> [TensorDeclaration] {
    guard let position = part as? PositionSpec else { return part.tensors }
    return version == 1 || (version > 2 && isHalf(position)) ? position.inHalves : part.tensors
  }

  private func isHalf(_ spec: PositionSpec) -> Bool { file.header.tensor(spec.name)?.type == .f16 }

  /// The tokenizer whose tables travel in the file; nil for a file without a text tower.
  ///
  /// - Errors: `.model` for a table that is not its tower's, merges of unknown symbols, or of which two make
  ///   one.
  package func makeTokenizer() throws(SegmentationError) -> PromptTokenizer? {
    if let tower = config.siglip?.tower {
      let tokenizer = try SentencePieceTokenizer(file, contextLength: tower.context)
      guard tokenizer.vocabularySize == tower.vocabularySize else {
        let counts = "\(tokenizer.vocabularySize) pieces for \(tower.vocabularySize) rows of the text tower"
        throw SegmentationError(.model(counts), path: file.path, field: TokenizerKeys.tokens)
      }
      return .pieces(tokenizer)
    }
    if let tower = config.bert {
      let tokenizer = try WordPieceTokenizer(file, contextLength: tower.context, start: .classification)
      guard tokenizer.vocabularySize == tower.vocabularySize else {
        let counts = "\(tokenizer.vocabularySize) pieces for \(tower.vocabularySize) rows of the text tower"
        throw SegmentationError(.model(counts), path: file.path, field: TokenizerKeys.tokens)
      }
      return .wordPieces(tokenizer)
    }
    guard let text = config.text else { return nil }
    var count = text.vocabularySize - BytePairTokenizer.byteSymbolCount - 2
    if let marks = text.marks {
      do throws(ContainerError) { count = try file.count(TokenizerKeys.merges) } catch {
        throw SegmentationError(.model(error.description))
      }
      guard BytePairTokenizer.byteSymbolCount + count <= min(marks.begin, marks.end) else {
        throw SegmentationError(
          .model("\(count) merges reach the marks at \(marks.begin) and \(marks.end)"), path: file.path,
          field: TokenizerKeys.merges)
      }
    }
    var failure: ContainerError?
    let tokenizer = try BytePairTokenizer(
      mergeCount: count, contextLength: text.context, marks: text.marks, vocabularySize: text.vocabularySize
    ) { body in
      do throws(ContainerError) {
        try file.strings(TokenizerKeys.merges) { index, line in body(index, line) }
      } catch {
        failure = error
      }
    }
    if let failure { throw SegmentationError(.model(failure.description)) }
    return .bytePairs(tokenizer)
  }

  /// Everything that a run could refuse before it computes: what `verify` and the quantizer accept, `segment`
  /// does.
  package func check() throws(SegmentationError) { _ = try makeTokenizer() }

  // MARK: Weights

  package subscript(spec: LinearSpec) -> PackedLinear {
    PackedLinear(
      inputs: spec.inputs, outputs: spec.outputs, weight: pointer(spec.name + ".weight"),
      scale: pointer(spec.name + ".scale"), sum: pointer(spec.name + ".sum"),
      bias: spec.hasBias ? pointer(spec.name + ".bias") : nil)
  }

  package subscript(spec: NormSpec) -> NormWeights {
    NormWeights(
      weight: pointer(spec.name + ".weight"), bias: pointer(spec.name + ".bias"), width: spec.width,
      epsilon: spec.epsilon)
  }

  package subscript(spec: DenseSpec) -> DenseWeights {
    DenseWeights(
      weight: pointer(spec.name + ".weight"), bias: pointer(spec.name + ".bias"), inputs: spec.inputs,
      outputs: spec.outputs)
  }

  package subscript(spec: FloatsSpec) -> UnsafePointer<Float> { pointer(spec.name) }

  /// Some rows of a position table.
  ///
  /// - Shapes: `out` [rows.count, width], overwritten.
  package func load(
    _ spec: PositionSpec, _ rows: Range<Int>, _ engine: Engine, into out: UnsafeMutablePointer<Float>
  ) {
    precondition(rows.lowerBound >= 0 && rows.upperBound <= spec.rows, "rows outside the position table")
    let (first, count) = (rows.lowerBound * spec.width, rows.count * spec.width)
    if isHalf(spec) {
      engine.fromHalf(pointer(spec.name) + first, count, out)
    } else {
      out.update(from: pointer(spec.name) + first, count: count)
    }
  }

  package subscript(spec: TableSpec) -> (weight: UnsafePointer<Int8>, scale: UnsafePointer<Float>) {
    (pointer(spec.name + ".weight"), pointer(spec.name + ".scale"))
  }

  private func pointer<Element>(_ name: String) -> UnsafePointer<Element> {
    guard let record = file.header.tensor(name) else {
      preconditionFailure("\(name) was bound when the model was opened")
    }
    return (file.fileBytes.baseAddress! + record.offset).assumingMemoryBound(to: Element.self)
  }

  // MARK: Places in the file

  /// File offsets spanned by some parts, which lie side by side.
  package func range(of parts: [any WeightSpec]) -> Range<Int> {
    let ranges = parts.flatMap(\.tensors).compactMap { file.header.tensor($0.name)?.range }
    guard let lower = ranges.map(\.lowerBound).min(), let upper = ranges.map(\.upperBound).max() else {
      return 0..<0
    }
    return lower..<upper
  }

  /// Lets the pages of a network go.
  package func release(_ schema: any NetworkSchema) { file.advise(range(of: schema.parts), .dontNeed) }
}
