// SentencePiece and WordPiece: their files, and any text through tokenizers made of them.
import Quantization
import Segmentation

/// A SentencePiece vocabulary: JSON as it is; else fields of a `.model` behind those that every model needs.
func fuzzPieces(_ bytes: UnsafeBufferPointer<UInt8>) {
  let isJSON = bytes.first == 0x7B
  withFile(isJSON ? Array(bytes) : baseModel + bytes) { path in
    guard let source = try? SentencePieceSource.read(path: path, vocabularySize: nil) else { return }
    guard let tokenizer = try? source.makeTokenizer(contextLength: 64) else {
      preconditionFailure("a vocabulary that was read makes no tokenizer")
    }
    precondition(source.values.count >= 4)
    check(tokenizer, source, text: "ab aab  <b>é\u{0}\u{1F431}ba")
  }
}

/// A word list: lines or JSON.
func fuzzWords(_ bytes: UnsafeBufferPointer<UInt8>) {
  withFile(Array(bytes)) { path in
    guard let source = try? WordPieceSource.read(path: path, vocabularySize: nil) else { return }
    guard let tokenizer = try? source.makeTokenizer(contextLength: 16, start: .classification) else {
      preconditionFailure("a word list that was read makes no tokenizer")
    }
    check(tokenizer, text: "A cat, unas\u{301} \u{F900}[SEP]")
  }
}

/// Any text through tokenizers of a few pieces.
func fuzzTokens(_ bytes: UnsafeBufferPointer<UInt8>) {
  let text = String(decoding: bytes, as: UTF8.self)
  for (source, tokenizer) in pieceTokenizers { check(tokenizer, source, text: text) }
  check(wordTokenizer, text: text)
  precondition(SigLIPPrompts.tokens(text, template: 0, tokenizer: pieceTokenizers[0].1).count == 64)
}

/// The pieces of a text spell the text.
private func check(_ tokenizer: SentencePieceTokenizer, _ source: SentencePieceSource, text: String) {
  var spelled: [UInt8] = []
  for token in tokenizer.encode(text) {
    let piece = source.pieces[Int(token)]
    if piece.kind == .byte {
      spelled.append(UInt8(piece.text.dropFirst(3).prefix(2), radix: 16)!)
    } else {
      spelled += Array(piece.text.utf8)
    }
  }
  let expected = text.unicodeScalars.reduce(into: "") {
    $0.unicodeScalars.append($1 == " " ? "\u{2581}" : $1)
  }
  precondition(spelled == Array(expected.utf8), "pieces spell another text")
  let tokens = tokenizer.tokens(text)
  precondition(tokens.count == 64 && tokens.contains(tokenizer.endToken))
}

private func check(_ tokenizer: WordPieceTokenizer, text: String) {
  let tokens = tokenizer.tokens(text)
  precondition((2...tokenizer.contextLength).contains(tokens.count) && tokens.last == tokenizer.endToken)
  precondition(tokens.allSatisfy { 0 <= $0 && Int($0) < tokenizer.vocabularySize })
}

// MARK: Tables

/// Marks, bytes and rules of a `.model`.
private let baseModel: [UInt8] = {
  var bytes: [UInt8] = []
  for (text, kind) in [("<pad>", 3), ("<eos>", 3), ("<unk>", 2)] { bytes += piece(text, 0, UInt8(kind)) }
  for byte in 0..<256 {
    let digits = String(byte, radix: 16, uppercase: true)
    bytes += piece("<0x" + (byte < 16 ? "0" : "") + digits + ">", 0, 6)
  }
  // BPE with byte fallback; no space in front, none removed.
  bytes += [0x12, 5, 0x18, 2, 0x98, 2, 1]
  return bytes + [0x1A, 4, 0x18, 0, 0x20, 0]
}()

private func piece(_ text: String, _ score: Float, _ kind: UInt8) -> [UInt8] {
  let bits = (0..<4).map { UInt8(truncatingIfNeeded: score.bitPattern >> UInt32(8 * $0)) }
  let body = [0x0A, UInt8(text.utf8.count)] + Array(text.utf8) + [0x15] + bits + [0x18, kind]
  return [0x0A, UInt8(body.count)] + body
}

/// A `.model` of these pieces behind marks and bytes: 259 more.
func pieceModel(_ pieces: [(String, Float, UInt8)]) -> [UInt8] {
  baseModel + pieces.flatMap { piece($0.0, $0.1, $0.2) }
}

private let pieceTokenizers: [(SentencePieceSource, SentencePieceTokenizer)] = {
  let pieces: [(String, Float, UInt8)] = [
    ("a", 0, 1), ("b", 0, 1), ("\u{2581}", 0, 1), ("é", 0, 1), ("ab", -1, 1), ("ba", -1, 1), ("aba", 2, 1),
    ("aa", -3, 1), ("aaaa", -4, 1), ("\u{2581}a", -2, 1), ("xy", -1, 1), ("\u{1F431}a", -1, 1), ("<b>", 0, 4),
    ("\u{2581}\u{2581}", 0, 4), ("<b>a", 0, 4),
  ]
  var made: [(SentencePieceSource, SentencePieceTokenizer)] = []
  for count in [pieces.count, 7] {
    withFile(pieceModel(Array(pieces.prefix(count)))) { path in
      let source = try! SentencePieceSource.read(path: path, vocabularySize: nil)
      made.append((source, try! source.makeTokenizer(contextLength: 64)))
    }
  }
  return made
}()

private let wordTokenizer: WordPieceTokenizer = {
  var tokenizer: WordPieceTokenizer?
  let list = "[UNK]\n[CLS]\n[SEP]\na\nb\n##a\n##b\n##ab\nab\n.\n\u{8C48}\n\u{3C3}\n##\u{3C2}\n[\n]\n##é"
  withFile(Array(list.utf8)) { path in
    let source = try! WordPieceSource.read(path: path, vocabularySize: nil)
    tokenizer = try! source.makeTokenizer(contextLength: 32, start: .encode)
  }
  return tokenizer!
}()
