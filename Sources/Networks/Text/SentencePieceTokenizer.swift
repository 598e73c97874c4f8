// SentencePiece's byte-pair encoder with byte fallback, on a vocabulary that stays in the model file.

/// What a model file tells about a SentencePiece vocabulary; read while a tokenizer is made.
package struct SentencePieceStore {
  /// Number of pieces.
  package var count: Int
  /// Lends every piece's text, UTF-8; in place as long as `owner` lives.
  package var pieces: PieceIndex.Lender
  package var owner: AnyObject?
  /// Score of a piece: of two neighbouring pairs the one whose joint piece scores higher is joined first.
  package var score: (Int) -> Float
  /// `SentencePieceTokenizer.Kind` of a piece.
  package var kind: (Int) -> Int32
  /// Merges `a b` in order, where these and not the scores say what is joined.
  package var merges: Merges?

  package struct Merges {
    package var count: Int
    package var lines: (_ body: (_ rank: Int, _ line: UnsafeBufferPointer<UInt8>) -> Void) -> Void

    package init(
      count: Int, lines: @escaping (_ body: (_ rank: Int, _ line: UnsafeBufferPointer<UInt8>) -> Void) -> Void
    ) {
      self.count = count
      self.lines = lines
    }
  }

  package init(
    count: Int, owner: AnyObject?, pieces: @escaping PieceIndex.Lender, score: @escaping (Int) -> Float,
    kind: @escaping (Int) -> Int32, merges: Merges? = nil
  ) {
    self.count = count
    self.owner = owner
    self.pieces = pieces
    self.score = score
    self.kind = kind
    self.merges = merges
  }
}

/// Turns a text into pieces of a SentencePiece model of type BPE with byte fallback (Gemma's, SigLIP 2's).
///
/// Spaces become U+2581; nothing else is normalized and nothing put in front. User-defined pieces are taken
/// whole, the longest first, from left to right. The characters between them are joined: of all neighbours
/// whose joint text is a piece those with the best score, the leftmost of equals, until none are left.
/// A character that is no piece becomes its UTF-8 bytes. Marks written in the text are text.
///
/// - Memory: 7.5 B a piece and 4 B a slot: 4.5 MiB for Gemma's 256,000; a text takes 64 B a character.
///   With merges instead of scores 12 B a slot more, at least two slots for three merges.
/// - Source: google/sentencepiece `src/bpe_model.cc`, `src/normalizer.cc`. Differs: pieces of kind 5 (unused)
///   are refused; a control piece of one character is not found in texts. With merges: huggingface/tokenizers
///   `models/bpe/word.rs`.
package struct SentencePieceTokenizer: Tokenizer {
  /// Numbers of the model's protocol buffer.
  package enum Kind: Int32, Sendable {
    case normal = 1
    case unknown, control, userDefined, unused, byte
  }

  package let contextLength: Int
  package let vocabularySize: Int
  package let endToken: Int32
  package let padToken: Int32?
  private let index: PieceIndex
  private let joins: PieceJoins
  private let whole: WholePieces
  /// Token of each byte.
  private let byteTokens: [Int32]

  /// Reads the table once; of its text only the places are kept.
  ///
  /// - Errors: `.model` for a table that is no SentencePiece vocabulary with byte fallback, or whose marks
  ///   `<eos>` and `<pad>` are not control pieces; `.limit`.
  package init(_ store: SentencePieceStore, contextLength: Int) throws(SegmentationError) {
    precondition(contextLength >= 1, "a context holds at least the end mark")
    self.contextLength = contextLength
    vocabularySize = store.count
    index = try PieceIndex(
      count: store.count, owner: store.owner,
      isFound: { number in
        let kind = Kind(rawValue: store.kind(number))
        return kind == .normal || kind == .userDefined
      }, lending: store.pieces)
    var bytes = [Int32](repeating: -1, count: 256)
    var whole = WholePieces(count: store.count)
    var marks: (end: Int32?, pad: Int32?)
    for number in 0..<store.count {
      let text = index.bytes(of: number)
      switch Kind(rawValue: store.kind(number)) {
      case .normal, .unknown: break
      case .userDefined: whole.insert(number, text)
      case .byte:
        guard let byte = Self.byte(text), bytes[byte] < 0 else {
          throw Self.damaged("piece \(number) is no new byte")
        }
        bytes[byte] = Int32(number)
      case .control:
        let isEnd = text.elementsEqual("<eos>".utf8)
        guard isEnd || text.elementsEqual("<pad>".utf8) else { break }
        guard (isEnd ? marks.end : marks.pad) == nil else {
          throw Self.damaged("piece \(number) is no new mark")
        }
        if isEnd { marks.end = Int32(number) } else { marks.pad = Int32(number) }
      case .unused, nil: throw Self.damaged("piece \(number) is of kind \(store.kind(number))")
      }
    }
    guard !bytes.contains(-1) else { throw Self.damaged("not every byte has a piece") }
    guard let end = marks.end, let pad = marks.pad else { throw Self.damaged("no '<eos>' or no '<pad>'") }
    endToken = end
    padToken = pad
    byteTokens = bytes
    self.whole = whole
    joins = try PieceJoins(store, index)
  }

  static func damaged(_ problem: String) -> SegmentationError {
    SegmentationError(.model(problem + "; the file is damaged"), field: "tokenizer.ggml.tokens")
  }

  /// The byte that `<0xNN>` stands for.
  private static func byte(_ text: UnsafeBufferPointer<UInt8>) -> Int? {
    guard text.count == 6, text.starts(with: "<0x".utf8), text[5] == 0x3E else { return nil }
    var value = 0
    for digit in text[3..<5] {
      switch digit {
      case 0x30...0x39: value = value * 16 + Int(digit) - 0x30
      case 0x41...0x46: value = value * 16 + Int(digit) - 0x41 + 10
      default: return nil
      }
    }
    return value
  }

  // MARK: Encoding

  package func tokens(_ text: String) -> [Int32] { closed(encode(text)) }

  /// The pieces of a text, without marks and without a limit.
  package func encode(_ text: String) -> [Int32] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count + 16)
    for byte in text.utf8 {
      if byte == 0x20 { bytes.append(contentsOf: [0xE2, 0x96, 0x81]) } else { bytes.append(byte) }
    }
    return bytes.withUnsafeBufferPointer { encode($0) }
  }

  private func encode(_ text: UnsafeBufferPointer<UInt8>) -> [Int32] {
    var joiner = PieceJoiner(text)
    var place = 0
    while place < text.count {
      if let (number, length) = whole.longest(text, at: place, index) {
        joiner.append(length: length, piece: Int32(number), isWhole: true)
        place += length
      } else {
        let length = min(Self.characterLength(text[place]), text.count - place)
        let number = index.number(of: UnsafeBufferPointer(rebasing: text[place..<place + length]))
        joiner.append(length: length, piece: number.map(Int32.init) ?? -1, isWhole: false)
        place += length
      }
    }
    joiner.join(joins, index)
    var out: [Int32] = []
    joiner.visit { range, piece in
      guard piece < 0 else { return out.append(piece) }
      for byte in text[range] { out.append(byteTokens[Int(byte)]) }
    }
    return out
  }

  /// Bytes of the character that a byte begins; 1 for a byte that begins none.
  private static func characterLength(_ lead: UInt8) -> Int {
    lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
  }
}

/// The user-defined pieces.
///
/// - Memory: 1 bit a piece.
private struct WholePieces: Sendable {
  private var members: [UInt64]
  /// Bytes that a piece begins with.
  private var leads: [Bool] = Array(repeating: false, count: 256)
  private var longest = 0

  init(count: Int) { members = Array(repeating: 0, count: (count + 63) / 64) }

  mutating func insert(_ number: Int, _ text: UnsafeBufferPointer<UInt8>) {
    members[number / 64] |= 1 << UInt64(number % 64)
    leads[Int(text[0])] = true
    longest = max(longest, text.count)
  }

  private func contains(_ number: Int) -> Bool { members[number / 64] >> UInt64(number % 64) & 1 == 1 }

  /// The longest piece that the text has at a place, and its length.
  func longest(_ text: UnsafeBufferPointer<UInt8>, at place: Int, _ index: PieceIndex) -> (
    number: Int, length: Int
  )? {
    guard leads[Int(text[place])] else { return nil }
    var found: (number: Int, length: Int)?
    var hash = PieceIndex.emptyHash
    for end in place..<min(place + longest, text.count) {
      hash = PieceIndex.extended(hash, text[end])
      let piece = UnsafeBufferPointer(rebasing: text[place...end])
      if let number = index.number(of: piece, hash: hash), contains(number) {
        found = (number, piece.count)
      }
    }
    return found
  }
}
