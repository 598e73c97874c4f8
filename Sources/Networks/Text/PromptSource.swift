// Phrases with their templates, as the text towers take them.

/// A run of phrases whose common tree fits the tower's room.
package struct PromptGroup: Equatable, Sendable {
  package var phrases: Range<Int>
  package var nodeCount: Int
  package var endCount: Int
}

/// What turns the prompts of a text tower into tokens.
package enum PromptTokenizer: Sendable {
  /// CLIP: prompts share their beginnings.
  case bytePairs(BytePairTokenizer)
  /// SigLIP 2: prompts are cleaned, and as long as the context.
  case pieces(SentencePieceTokenizer)
  /// BLIP: a caption a phrase.
  case wordPieces(WordPieceTokenizer)
}

/// Phrases to encode.
///
/// - Memory: the phrases; trees are built a group at a time, sequences one at a time.
package final class PromptSource {
  package let phrases: [String]
  private let tokenizer: PromptTokenizer
  /// Of every phrase; CLIP's and SigLIP's only.
  private let templates: TemplateList
  private var known: [Int: [PromptGroup]] = [:]

  package init(phrases: [String], tokenizer: PromptTokenizer, templates: TemplateList = .all) {
    (self.phrases, self.tokenizer, self.templates) = (phrases, tokenizer, templates)
  }

  package convenience init(phrases: [String], tokenizer: BytePairTokenizer) {
    self.init(phrases: phrases, tokenizer: .bytePairs(tokenizer))
  }

  // MARK: Sequences of their own

  /// Prompts of one phrase.
  var promptsPerPhrase: Int { templates.texts.count }

  /// One of phrases * promptsPerPhrase prompts.
  ///
  /// - Shapes: [contextLength].
  func sequence(_ prompt: Int) -> [Int32] {
    guard case .pieces(let tokenizer) = tokenizer else { preconditionFailure("SigLIP's prompts are pieces") }
    let (phrase, template) = prompt.quotientAndRemainder(dividingBy: promptsPerPhrase)
    return SigLIPPrompts.tokens(phrases[phrase], in: templates.texts[template], tokenizer: tokenizer)
  }

  // MARK: Captions

  /// The caption of one phrase on its own, as BLIP's text tower reads it without an image.
  ///
  /// - Shapes: [2...contextLength].
  func caption(_ phrase: Int) -> [Int32] {
    guard case .wordPieces(let tokenizer) = tokenizer else { preconditionFailure("BLIP's are word pieces") }
    return tokenizer.tokens(BLIPCaption.opening + phrases[phrase])
  }

  // MARK: Trees

  /// Groups of at most `nodeLimit` nodes (one phrase may need more).
  package func groups(nodeLimit: Int) -> [PromptGroup] {
    if let groups = known[nodeLimit] { return groups }
    var groups: [PromptGroup] = []
    var first = 0
    while first < phrases.count {
      let trie = PromptTrie.group(
        from: first, to: phrases.count, nodeLimit: nodeLimit, endToken: bytePairs.endToken, prompts: prompts)
      let ends = trie.phraseCount * promptsPerPhrase
      groups.append(
        PromptGroup(
          phrases: first..<first + trie.phraseCount, nodeCount: trie.nodeCount, endCount: ends))
      first += trie.phraseCount
    }
    known[nodeLimit] = groups
    return groups
  }

  /// The tree of one group.
  func trie(_ group: PromptGroup) -> PromptTrie {
    PromptTrie(group.phrases.map(prompts), endToken: bytePairs.endToken)
  }

  private var bytePairs: BytePairTokenizer {
    guard case .bytePairs(let tokenizer) = tokenizer else { preconditionFailure("CLIP's prompts are pairs") }
    return tokenizer
  }

  private func prompts(_ phrase: Int) -> [[Int32]] {
    templates.texts.map { bytePairs.tokens(PromptTemplates.prompt(phrases[phrase], in: $0)) }
  }
}
