// What a class means in words of its own, beside its name.

/// Texts that say what a class is, and how much they count.
///
/// A class file has them behind the name: `name := text`, `name :=0.2 text | another text`. A vector of the
/// class is `(1 - weight) name + weight texts`, normalised; `texts` is the mean of their unit vectors.
///
/// - Errors: `.classes` with the line.
/// - Source: ITACLIP, whose vectors are not normalised again: docs/decisions/0018-descriptions.md.
package struct ClassDescription: Equatable, Sendable {
  package static let usualWeight: Float = 0.1
  package static let textLimit = 100
  package static let byteLimit = 10_000
  /// Above 0, up to 1.
  package let weight: Float
  /// Encoded as they are, without a template.
  package let texts: [String]

  /// As a class file has it; equal descriptions have equal lines.
  package var line: String { ":=\(weight) " + texts.joined(separator: " | ") }

  /// Where a line's description begins: at `:=` behind a space, or in front of everything.
  static func start(in line: ArraySlice<UInt8>) -> Int? {
    let trimmed = ClassList.trimmed(line)
    var index = trimmed.startIndex
    while index + 1 < trimmed.endIndex {
      let isMark = trimmed[index] == 0x3A && trimmed[index + 1] == 0x3D
      if isMark && (index == trimmed.startIndex || trimmed[index - 1] == 0x20 || trimmed[index - 1] == 0x09) {
        return index
      }
      index += 1
    }
    return nil
  }

  /// `bytes`: from `:=` on.
  init(_ bytes: ArraySlice<UInt8>, line: Int) throws(SegmentationError) {
    func refuse(_ text: String) -> SegmentationError { SegmentationError(.classes(text), line: line) }
    guard bytes.count <= Self.byteLimit else {
      throw refuse("a description of over \(Self.byteLimit) bytes")
    }
    let number = bytes.dropFirst(2).prefix { $0 != 0x20 && $0 != 0x09 }
    var weight = Self.usualWeight
    if !number.isEmpty {
      let text = String(decoding: number, as: UTF8.self)
      guard let value = Float(text), number.allSatisfy({ $0 >= 0x2B && $0 <= 0x39 || $0 | 0x20 == 0x65 })
      else {
        throw refuse(
          "'\(text)' behind ':=' is no weight; write 'name := description' or 'name :=0.2 description'")
      }
      guard value > 0, value <= 1 else { throw refuse("the weight \(text) is outside 0...1, without 0") }
      weight = value
    }
    let parts = bytes.dropFirst(2 + number.count).split(
      separator: 0x7C, maxSplits: Self.textLimit, omittingEmptySubsequences: false)
    guard parts.count <= Self.textLimit else {
      throw refuse("more than \(Self.textLimit) texts in a description")
    }
    var texts: [String] = []
    for part in parts { texts.append(try Self.text(ClassList.trimmed(part), line)) }
    (self.weight, self.texts) = (weight, texts)
  }

  private static func text(_ bytes: ArraySlice<UInt8>, _ line: Int) throws(SegmentationError) -> String {
    guard !bytes.isEmpty else {
      throw SegmentationError(.classes("empty description; write it behind ':=', or remove '|'"), line: line)
    }
    return try ClassList.phrase(bytes, line)
  }
}

extension Session {
  /// `hasTemplates`: somebody chose sentences for the words.
  ///
  /// - Errors: `.usage` for templates and descriptions where no text vectors are read.
  package func check(_ named: NamedPhrases, hasTemplates: Bool) throws(SegmentationError) {
    guard method == .pnpOVSS else { return }
    if hasTemplates {
      throw SegmentationError(
        .usage(
          "--templates is for the text towers of CLIP and SigLIP; pnp-ovss has a caption of its own"))
    }
    guard let first = named.described.first else { return }
    throw SegmentationError(
      .usage("'\(named.classes.names[first])' has a description, and pnp-ovss reads names only"))
  }
}

extension NamedPhrases {
  /// Classes with a description, ascending.
  package var described: [Int] { classes.descriptions.keys.sorted() }

  /// Lines of the described classes, with their numbers: what their vectors depend on beside phrases.
  package var describedLines: [String] { described.map { "\($0) \(classes.line(ofClass: $0))" } }

  /// All texts of these classes' descriptions, class by class.
  package func texts(of labels: [Int]) -> [String] {
    labels.flatMap { classes.descriptions[$0]?.texts ?? [] }
  }

  /// Mixes the vectors of these classes' phrases with those of their texts. A mix without length leaves the
  /// phrase as it is.
  ///
  /// - Shapes: `vectors` [phrases, width], unit rows; `texts` [texts of the labels, width], unit rows.
  package func mix(
    _ vectors: inout [Float], with texts: [Float], of labels: [Int], width: Int,
    where isWanted: (_ phrase: Int) -> Bool = { _ in true }
  ) {
    var row = 0
    for label in labels {
      guard let description = classes.descriptions[label] else { continue }
      var mean = [Float](repeating: 0, count: width)
      for _ in description.texts {
        for column in 0..<width { mean[column] += texts[row * width + column] }
        row += 1
      }
      Self.normalize(&mean)
      for phrase in classes.phrases(ofClass: label).indices where isWanted(phrase) {
        var mix = (0..<width).map {
          (1 - description.weight) * vectors[phrase * width + $0] + description.weight * mean[$0]
        }
        if Self.normalize(&mix) { vectors.replaceSubrange(phrase * width..<(phrase + 1) * width, with: mix) }
      }
    }
  }

  /// False for a vector without length, which stays as it is.
  @discardableResult
  private static func normalize(_ vector: inout [Float]) -> Bool {
    let length = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
    guard length > 1e-6 else { return false }
    for column in vector.indices { vector[column] /= length }
    return true
  }
}
