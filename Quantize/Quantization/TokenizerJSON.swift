// What `tokenizer.json` files of every kind have in common.

import System

/// A Hugging Face `tokenizer.json`.
///
/// - Memory: the parsed text: about 200 MiB for Gemma's 34 MB, while it is read.
/// - Source: huggingface/tokenizers, the files that `Tokenizer.save` writes.
struct TokenizerJSON {
  static let byteLimit = 64 << 20

  /// One entry of the vocabulary, in order of ids.
  struct Entry {
    var text: String
    /// Nil for an entry of the model's own vocabulary; else whether the added token is a special one.
    var isSpecial: Bool?
  }

  let file: InputFile
  let root: JSON

  /// A tokenizer's file, whatever its format.
  ///
  /// - Errors: `limitExceeded`; what opening a file throws.
  static func readFile(path: String) throws(QuantizationError) -> (InputFile, bytes: [UInt8]) {
    let file = try InputFile.open(path: path)
    if file.byteCount > byteLimit {
      throw file.error(.limitExceeded(what: "tokenizer bytes", limit: byteLimit, found: file.byteCount))
    }
    return (file, try file.bytes(at: 0, count: file.byteCount))
  }

  /// Whether a file begins like JSON.
  static func isLikely(_ bytes: [UInt8]) -> Bool {
    bytes.first { $0 != 0x20 && $0 != 0x0a && $0 != 0x0d && $0 != 0x09 } == 0x7b
  }

  init(_ bytes: [UInt8], file: InputFile) throws(QuantizationError) {
    self.file = file
    root = try file.json(bytes, at: 0, isTable: true)
  }

  func malformed(_ what: String, _ name: String) -> QuantizationError {
    file.error(.malformed(what), name: name)
  }

  func unsupported(_ what: String, _ name: String) -> QuantizationError {
    file.error(.unsupported(what), name: name)
  }

  /// The `model` object, of the type named.
  func model(type: String) throws(QuantizationError) -> JSON {
    guard let model = root.member("model"), case .object = model else {
      throw malformed("no model in this JSON file", "model")
    }
    if let found = model.member("type")?.stringValue, found != type {
      throw unsupported("a tokenizer of type '\(found)', where \(type) is needed", "model.type")
    }
    return model
  }

  /// The vocabulary with the added tokens, id by id.
  ///
  /// - Errors: `malformed` if ids are missing or taken twice; `limitExceeded`.
  func entries(_ model: JSON, limit: Int) throws(QuantizationError) -> [Entry] {
    guard case .object(let members)? = model.member("vocab") else {
      throw malformed("no vocabulary in this JSON file", "model.vocab")
    }
    var added: [(text: String, id: Int, isSpecial: Bool)] = []
    if case .array(let items)? = root.member("added_tokens") {
      for item in items {
        guard let text = item.member("content")?.stringValue, let id = item.member("id")?.intValue,
          case .bool(let isSpecial)? = item.member("special")
        else { throw malformed("an added token lacks its id, content or special", "added_tokens") }
        added.append((text, id, isSpecial))
      }
    }
    let most = members.count + added.count
    var entries = [Entry?](repeating: nil, count: most)
    for member in members {
      guard let id = member.1.intValue, entries.indices.contains(id), entries[id] == nil else {
        throw malformed("an id is missing, too large or taken", "model.vocab")
      }
      entries[id] = Entry(text: member.0, isSpecial: nil)
    }
    for token in added {
      guard entries.indices.contains(token.id),
        entries[token.id].map({ $0.text.utf8.elementsEqual(token.text.utf8) }) ?? true
      else { throw malformed("an id is too large or taken", "added_tokens") }
      entries[token.id] = Entry(text: token.text, isSpecial: token.isSpecial)
    }
    let count = (entries.lastIndex { $0 != nil } ?? -1) + 1
    if count > limit {
      throw file.error(.limitExceeded(what: "vocabulary entries", limit: limit, found: count))
    }
    let found = entries.prefix(count).compactMap { $0 }
    guard found.count == count else { throw malformed("ids are missing", "model.vocab") }
    return found
  }
}

extension JSON {
  var stringValue: String? {
    if case .string(let text) = self { return text }
    return nil
  }

  var intValue: Int? {
    if case .int(let value) = self { return value }
    return nil
  }

  var boolValue: Bool? {
    if case .bool(let value) = self { return value }
    return nil
  }

  /// Neither null nor an empty text.
  var isSet: Bool {
    switch self {
    case .null: false
    case .string(let text): !text.isEmpty
    default: true
    }
  }
}
