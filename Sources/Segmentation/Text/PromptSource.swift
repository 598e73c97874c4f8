// Phrases with their templates, cut into groups that the text tower encodes together.

/// A run of phrases whose common tree fits the tower's room.
package struct PromptGroup: Equatable, Sendable {
  package var phrases: Range<Int>
  package var nodeCount: Int
  package var endCount: Int { phrases.count * PromptTemplates.imageNet.count }
}

/// Phrases to encode.
///
/// - Memory: the phrases; trees are built a group at a time.
package final class PromptSource {
  package let phrases: [String]
  private let tokenizer: BytePairTokenizer
  private var known: [Int: [PromptGroup]] = [:]

  package init(phrases: [String], tokenizer: BytePairTokenizer) {
    self.phrases = phrases
    self.tokenizer = tokenizer
  }

  /// Groups of at most `nodeLimit` nodes (one phrase may need more).
  package func groups(nodeLimit: Int) -> [PromptGroup] {
    if let groups = known[nodeLimit] { return groups }
    var groups: [PromptGroup] = []
    var first = 0
    while first < phrases.count {
      let trie = trie(from: first, to: phrases.count, nodeLimit: nodeLimit)
      groups.append(PromptGroup(phrases: first..<first + trie.phraseCount, nodeCount: trie.nodeCount))
      first += trie.phraseCount
    }
    known[nodeLimit] = groups
    return groups
  }

  /// The tree of one group.
  func trie(_ group: PromptGroup) -> PromptTrie {
    PromptTrie(group.phrases.map(prompts), endToken: tokenizer.endToken)
  }

  private func trie(from first: Int, to count: Int, nodeLimit: Int) -> PromptTrie {
    PromptTrie.group(
      from: first, to: count, nodeLimit: nodeLimit, endToken: tokenizer.endToken, prompts: prompts)
  }

  private func prompts(_ phrase: Int) -> [[Int32]] {
    PromptTemplates.tokens(phrases[phrase], tokenizer: tokenizer)
  }
}
