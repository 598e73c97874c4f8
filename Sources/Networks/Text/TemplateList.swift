// Which sentences a phrase is placed in: the published 80, seven or one of them, or those of a file.
import System

/// Templates; a phrase's vector is the mean of its unit vectors in all of them, normalised.
///
/// - Memory: the strings.
/// - Source: `seven`: openai/CLIP `notebooks/Prompt_Engineering_for_ImageNet.ipynb`, found by forward
///   selection.
package struct TemplateList: Equatable, Sendable {
  package static let countLimit = 1000
  package static let byteLimit = 1000
  private static let fileByteLimit = 2 << 20

  /// Each with one `{}`, which stands for the phrase.
  package let texts: [String]
  /// Names the list in caches, vocabularies and results; changes whenever the list does.
  package let identifier: String

  package static let all = TemplateList(PromptTemplates.imageNet, PromptTemplates.identifier)
  package static let seven = TemplateList(
    [
      "itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.",
      "a {} in a video game.", "art of the {}.", "a photo of the small {}.",
    ], "seven")
  package static let one = TemplateList(["a photo of a {}."], "one")
  /// Texts as they are.
  package static let plain = TemplateList(["{}"], "plain")
  /// What a vocabulary says whose classes have templates of their own.
  package static let byClass = "by class"

  private static let named: [(name: String, list: TemplateList)] = [
    ("all", all), ("seven", seven), ("one", one),
  ]

  /// What stands for a list that everybody knows.
  package static let names = named.map(\.name)

  private init(_ texts: [String], _ identifier: String) {
    (self.texts, self.identifier) = (texts, identifier)
  }

  /// Some of the 80, by number.
  package init(imageNet numbers: [Int]) {
    texts = numbers.map { PromptTemplates.imageNet[$0] }
    identifier = Self.identifier(of: texts)
  }

  /// `all`, `seven` or `one`; nil for other names.
  package init?(name: String) {
    guard let known = Self.named.first(where: { $0.name == name }) else { return nil }
    self = known.list
  }

  /// `all`, `seven`, `one`, or a file.
  ///
  /// - Errors: `.usage` with the file and the line.
  package init(argument: String) throws(SegmentationError) {
    if let known = Self(name: argument) {
      self = known
      return
    }
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try FileBytes.read(argument, limit: Self.fileByteLimit)
    } catch {
      throw SegmentationError(
        .usage("\(error.reason); --templates takes all, seven, one or a file"), path: argument)
    }
    do throws(SegmentationError) { try self.init(bytes: bytes) } catch { throw error.at(path: argument) }
  }

  /// One template a line of UTF-8: a byte order mark, CR LF and blank lines at the end are accepted.
  package init(bytes: [UInt8]) throws(SegmentationError) {
    var rest = bytes[...]
    if rest.starts(with: [0xEF, 0xBB, 0xBF]) { rest = rest.dropFirst(3) }
    // Lines in front of the first template count.
    let trimmed = ClassList.trimmed(rest)
    guard !trimmed.isEmpty else { throw SegmentationError(.usage("no template; a line each")) }
    let lines = rest[..<trimmed.endIndex].split(separator: 0x0A, omittingEmptySubsequences: false)
    guard lines.count <= Self.countLimit else {
      throw SegmentationError(
        .usage("more than \(Self.countLimit) templates"), line: Self.countLimit + 1)
    }
    var texts: [String] = []
    for (index, line) in lines.enumerated() { texts.append(try Self.template(line, line: index + 1)) }
    self.texts = texts
    identifier = Self.identifier(of: texts)
  }

  private static func template(_ bytes: ArraySlice<UInt8>, line: Int) throws(SegmentationError) -> String {
    func refuse(_ text: String) -> SegmentationError { SegmentationError(.usage(text), line: line) }
    let bytes = ClassList.trimmed(bytes)
    guard !bytes.isEmpty else { throw refuse("empty template; remove the line") }
    guard bytes.count <= byteLimit else { throw refuse("a template of over \(byteLimit) bytes") }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw refuse("not UTF-8; save the templates as UTF-8")
    }
    guard !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) else {
      throw refuse("control character in a template; remove it")
    }
    let holes = zip(bytes, bytes.dropFirst()).reduce(0) { $0 + ($1 == (0x7B, 0x7D) ? 1 : 0) }
    guard holes == 1 else {
      throw refuse(
        holes == 0
          ? "no '{}' for the phrase: 'a photo of a {}.'" : "\(holes) times '{}'; one stands for the phrase")
    }
    return text
  }

  private static func identifier(of texts: [String]) -> String {
    if let known = (named.map(\.list) + [plain]).first(where: { $0.texts == texts }) {
      return known.identifier
    }
    return "file-" + SHA256Digest.hex(of: texts.joined(separator: "\n")).prefix(32)
  }

  /// What `--templates` takes for a list of this identifier.
  package static func flag(_ identifier: String) -> String {
    let name = name(identifier)
    return name.hasPrefix("file-") ? "FILE (\(name))" : name
  }

  /// A list's name; the identifier of one that has none.
  package static func name(_ identifier: String) -> String {
    named.first { $0.list.identifier == identifier }.map(\.name) ?? identifier
  }

  /// The file that an argument names; nil for a list's name.
  package static func file(_ argument: String?) -> String? {
    argument.flatMap { argument in named.contains { $0.name == argument } ? nil : argument }
  }

  /// Most bytes that a template adds to a phrase.
  package var longest: Int { texts.map { $0.utf8.count - 2 }.max() ?? 0 }
}
