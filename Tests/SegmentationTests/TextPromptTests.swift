// Templates, the tree of prompts and its groups.
import Segmentation
import Testing

@Suite struct TextPromptTests {
  @Test func templates() {
    #expect(PromptTemplates.imageNet.count == 80)
    #expect(Set(PromptTemplates.imageNet).count == 80)
    #expect(PromptTemplates.prompt("cat", template: 0) == "a bad photo of a cat.")
    for template in PromptTemplates.imageNet { #expect(template.split(separator: "{}").count <= 2) }
    #expect(PromptTemplates.imageNet.allSatisfy { $0.contains("{}") })
  }

  @Test func sharesBeginnings() {
    let tree = PromptTrie([[[9, 1, 2, 10], [9, 1, 10]], [[9, 1, 3, 10, 10], [9, 1, 2, 10]]], endToken: 10)
    #expect(tree.nodeCount == 7)
    #expect(tree.tokens == [9, 1, 2, 10, 3, 10, 10])
    #expect(tree.parent == [-1, 0, 1, 2, 1, 4, 1])
    #expect(tree.depth == [0, 1, 2, 3, 2, 3, 2])
    #expect(tree.endNodes == [3, 6, 5, 3])
    #expect(Array(tree.endNodes(phrase: 1)) == [5, 3])
    #expect(tree.depthCount == 4)
  }

  @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
  func pathsSpellThePrompts(seed: UInt64) {
    var random = TextRandom(state: seed)
    let phrases = (0..<7).map { _ in
      (0..<5).map { _ in
        [50] + (0..<Int.random(in: 0...6, using: &random)).map { _ in Int32.random(in: 0...3, using: &random) } + [51]
      }
    }
    let tree = PromptTrie(phrases, endToken: 51)
    var path = [Int32](repeating: 0, count: tree.depthCount)
    var walked = [Int32](repeating: 0, count: tree.depthCount)
    for node in 0..<tree.nodeCount {
      #expect(tree.parent[node] < node)
      walked[Int(tree.depth[node])] = Int32(node)
      let count = path.withUnsafeMutableBufferPointer { tree.path(to: node, into: $0) }
      #expect(path[..<count] == walked[..<count], "seed \(seed), node \(node)")
    }
    for (index, prompt) in phrases.joined().enumerated() {
      let count = path.withUnsafeMutableBufferPointer { tree.path(to: Int(tree.endNodes[index]), into: $0) }
      #expect(path[..<count].map { tree.tokens[Int($0)] } == prompt, "seed \(seed), prompt \(index)")
    }
    let prefixes = Set(phrases.joined().flatMap { prompt in prompt.indices.map { Array(prompt[...$0]) } })
    #expect(tree.nodeCount == prefixes.count)
  }

  @Test func groupsCoverAllPhrases() throws {
    let tokenizer = try TextTokenizerTests.tokenizer(contextLength: 77)
    let phrases = ["cat", "dog", "a very long name of a thing", "cat dog", "x"]
    let prompts = { (index: Int) in PromptTemplates.tokens(phrases[index], tokenizer: tokenizer) }
    for limit in [1, 3000, 6000, 1_000_000] {
      var next = 0
      while next < phrases.count {
        let tree = PromptTrie.group(
          from: next, to: phrases.count, nodeLimit: limit, endToken: tokenizer.endToken, prompts: prompts)
        #expect(tree.phraseCount >= 1 && tree.endNodes.count == 80 * tree.phraseCount)
        #expect(tree.nodeCount <= limit || tree.phraseCount == 1)
        #expect(tree == PromptTrie((next..<next + tree.phraseCount).map(prompts), endToken: tokenizer.endToken))
        next += tree.phraseCount
      }
      #expect(next == phrases.count)
    }
  }
}
