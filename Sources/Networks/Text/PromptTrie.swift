// All prompts of some phrases as one tree of tokens.

/// Prompts that share their beginnings.
///
/// Attention is causal, so a token's state depends on the tokens before it only: equal beginnings need one
/// row. Nodes stand in depth-first order, so a parent precedes its children and walking the nodes in order
/// while setting `path[depth[node]] = node` keeps `path[0...depth[node]]` equal to the node's ancestors and
/// itself.
///
/// - Memory: 12 B a node and 4 B a prompt.
/// - Source: none; CLIP encodes each prompt on its own, padded to the context length, with equal results.
package struct PromptTrie: Sendable, Equatable {
  /// Token of each node; [nodes].
  package private(set) var tokens: [Int32] = []
  /// Node before each node, -1 at the first; [nodes].
  package private(set) var parent: [Int32] = []
  /// Position of each node's token in its prompt, from 0; [nodes].
  package private(set) var depth: [Int32] = []
  /// Node of the end mark of each prompt; [phrases, promptsPerPhrase].
  package private(set) var endNodes: [Int32]
  package let phraseCount: Int
  package let promptsPerPhrase: Int

  package var nodeCount: Int { tokens.count }
  /// Positions of the longest prompt.
  package var depthCount: Int { Int(depth.max() ?? -1) + 1 }

  /// Builds the tree of [phrases][prompts][tokens].
  ///
  /// A prompt counts up to its first end mark, where CLIP takes the vector: the position of the largest
  /// token. Traps on an empty prompt and if phrases differ in their number of prompts.
  package init(_ phrases: [[[Int32]]], endToken: Int32) {
    phraseCount = phrases.count
    promptsPerPhrase = phrases.first?.count ?? 0
    var prompts: [ArraySlice<Int32>] = []
    prompts.reserveCapacity(phraseCount * promptsPerPhrase)
    for phrase in phrases {
      precondition(phrase.count == promptsPerPhrase, "phrases have different numbers of prompts")
      for prompt in phrase { prompts.append(Self.upToEnd(prompt, endToken)) }
    }
    endNodes = Array(repeating: -1, count: prompts.count)
    var path: [Int32] = []
    var last: ArraySlice<Int32> = []
    for index in prompts.indices.sorted(by: { prompts[$0].lexicographicallyPrecedes(prompts[$1]) }) {
      let prompt = prompts[index]
      let shared = zip(prompt, last).prefix { $0 == $1 }.count
      path.removeSubrange(shared...)
      for token in prompt.dropFirst(shared) {
        parent.append(path.last ?? -1)
        depth.append(Int32(path.count))
        path.append(Int32(tokens.count))
        tokens.append(token)
      }
      endNodes[index] = path[path.count - 1]
      last = prompt
    }
  }

  /// End nodes of one phrase, a prompt each.
  package func endNodes(phrase: Int) -> ArraySlice<Int32> {
    endNodes[phrase * promptsPerPhrase..<(phrase + 1) * promptsPerPhrase]
  }

  /// Writes a node's ancestors and the node itself to `path`, the first token's node first.
  ///
  /// - Shapes: returns how many were written, `depth[node] + 1`; `path` holds at least `depthCount`.
  package func path(to node: Int, into path: UnsafeMutableBufferPointer<Int32>) -> Int {
    let count = Int(depth[node]) + 1
    precondition(count <= path.count, "the path is longer than its buffer")
    var current = Int32(node)
    for place in stride(from: count - 1, through: 0, by: -1) {
      path[place] = current
      current = parent[Int(current)]
    }
    return count
  }

  /// Takes phrases from `first` on while their common tree has at most `nodeLimit` nodes, but at least one.
  ///
  /// - Shapes: returns the tree of phrases `first ..< first + tree.phraseCount`; one phrase may exceed the
  ///   limit.
  /// - Memory: besides the tree, the group's token sequences and 32 B a node.
  package static func group(
    from first: Int, to phraseCount: Int, nodeLimit: Int, endToken: Int32, prompts: (Int) -> [[Int32]]
  ) -> PromptTrie {
    precondition(first < phraseCount, "no phrase is left")
    var group: [[[Int32]]] = []
    var nodes: [UInt64: UInt32] = [:]
    for phrase in first..<phraseCount {
      let sequences = prompts(phrase)
      for sequence in sequences {
        var node: UInt32 = 0
        for token in upToEnd(sequence, endToken) {
          let key = UInt64(node) << 32 | UInt64(UInt32(bitPattern: token))
          node = nodes[key] ?? UInt32(nodes.count + 1)
          nodes[key] = node
        }
      }
      if nodes.count > nodeLimit, !group.isEmpty { break }
      group.append(sequences)
      if nodes.count >= nodeLimit { break }
    }
    return PromptTrie(group, endToken: endToken)
  }

  private static func upToEnd(_ prompt: [Int32], _ endToken: Int32) -> ArraySlice<Int32> {
    precondition(!prompt.isEmpty, "a prompt has tokens")
    return prompt[...(prompt.firstIndex(of: endToken) ?? prompt.count - 1)]
  }
}
