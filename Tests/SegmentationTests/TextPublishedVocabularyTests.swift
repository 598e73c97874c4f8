// Comparison with the published vocabulary; runs only where the files are named in the environment.
import Segmentation
import Testing

/// `TRIDENT_MERGES`: one merge a line, in order. `TRIDENT_PHRASES`: `phrase<TAB>ids` with `\\ \t \n \r` escaped.
@Suite(.enabled(if: TextSupport.environment("TRIDENT_MERGES") != nil, "needs TRIDENT_MERGES and TRIDENT_PHRASES"))
struct TextPublishedVocabularyTests {
  @Test func equalsReferenceOnEveryPhrase() throws {
    let merges = try #require(TextSupport.environment("TRIDENT_MERGES").flatMap(TextSupport.read))
    let phrases = try #require(TextSupport.environment("TRIDENT_PHRASES").flatMap(TextSupport.read))
    let lines = merges.split(separator: 10)
    let clock = ContinuousClock()
    var tokenizer: BytePairTokenizer!
    let building = try clock.measure {
      tokenizer = try BytePairTokenizer(mergeCount: lines.count, contextLength: 77) { body in
        for (rank, line) in lines.enumerated() { line.withUnsafeBufferPointer { body(rank, $0) } }
      }
    }
    var total = 0
    var different: [String] = []
    let encoding = clock.measure {
      for line in TextSupport.lines(phrases) {
        let parts = line.unicodeScalars.split(separator: "\t", omittingEmptySubsequences: false)
        let phrase = TextSupport.unescape(String(parts[0]))
        let expected = parts[1].split(separator: " ").map { Int32(String($0))! }
        total += 1
        let found = tokenizer.tokens(phrase)
        if found != expected { different.append("\(phrase.debugDescription): \(found) not \(expected)") }
      }
    }
    print("\(total - different.count) of \(total) phrases agree; tables \(building), phrases \(encoding)")
    for text in different.prefix(60) { print(text) }
    #expect(different.isEmpty, "\(different.count) of \(total) phrases differ")
  }
}
