// Which classes some window keeps, by FreeCP's test (arXiv 2508.00557): the patches of a class that is there
// stay together when its probabilities walk along the network's own attention, those of one that is not are
// spread.
import Compute

/// How well every class stood the test, in the window that suits it best.
///
/// - Memory: a few bytes a class and phrase.
package final class ClassPurity {
  /// Classes that are tested: not the background, nor negative phrases, which are rivals alone.
  package let tested: Range<Int>
  /// [classes + 1]: the first phrase of each class.
  let firstPhrase: [Int]
  /// The largest ratio that any window gave, 0 to 0.5; 0 where a class is not tested, and in a plan.
  ///
  /// - Shapes: [classes].
  package private(set) var ratios: [Float]

  package init(_ words: Wording) {
    let (phrases, count) = (words.phraseClass, (words.phraseClass.last ?? -1) + 1)
    firstPhrase = (0...count).map { label in phrases.firstIndex { $0 >= label } ?? phrases.count }
    let first = words.background ? 1 : 0
    tested = first..<max(first, words.hasNegatives ? count - 1 : count)
    ratios = Array(repeating: 0, count: count)
  }

  /// Nil where the options ask for no such test.
  package convenience init?(_ options: SegmentOptions, _ words: Wording) {
    guard options.absent == .purify else { return nil }
    self.init(words)
  }

  /// Takes what one window, or all windows of a tile, gave.
  ///
  /// - Shapes: `other`: classes from `first` on.
  func take(_ other: some Sequence<Float>, from first: Int = 0) {
    for (index, ratio) in other.enumerated() { ratios[first + index] = max(ratios[first + index], ratio) }
  }
}

extension ClassPurity {
  /// Tests a group of windows.
  ///
  /// - Shapes: `seen`: of the windows' blocks, spent; `scores` [cells, phrases] of a window.
  /// - Memory: a `PurityTest`; given back.
  func test(
    _ windows: Range<Int>, _ tower: WindowTransformer, _ seen: AttentionSum, _ scores: (_ window: Int) -> Rows
  ) throws {
    try tower.run.scope {
      let test = try PurityTest(tower.run, self, grid: tower.grid)
      test.note(windows: tower.plan.origins.count)
      if tower.run.isPlanning { return }
      for (index, window) in windows.enumerated() {
        test.apply(scores(window), attention: seen.window(index), name: window)
      }
    }
  }
}

extension SegmentOptions.Preset {
  /// The ratio that a class needs on this benchmark.
  ///
  /// - Source: FreeCP's public configurations.
  var redundancy: Float {
    switch self {
    case .voc21, .voc20, .object: 0.15
    case .context59, .context60, .city: 0.1
    case .stuff, .ade: 0.05
    }
  }
}
