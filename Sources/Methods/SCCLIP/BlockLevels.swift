// Which blocks' outputs SC-CLIP looks at, and the rows it keeps of them.
import Compute

/// Blocks by what they are for, counted from one: block `i` is what the `i`-th block gives.
///
/// - Source: SC-CLIP's public configurations for B/16, and its first commit for L/14.
struct BlockLevels: Equatable {
  /// Its cosines smooth the result.
  let low: Int
  /// Its cosines say what resembles what.
  let mid: Int
  /// Their sum goes through the last block, too.
  let summed: ClosedRange<Int>
  /// Of the class tokens that are added.
  let classWeight: Float

  private static let published: [Int: BlockLevels] = [
    12: BlockLevels(low: 4, mid: 9, summed: 4...10, classWeight: 0.3),
    24: BlockLevels(low: 7, mid: 17, summed: 9...19, classWeight: 0.1),
  ]

  private init(low: Int, mid: Int, summed: ClosedRange<Int>, classWeight: Float) {
    (self.low, self.mid, self.summed, self.classWeight) = (low, mid, summed, classWeight)
  }

  /// The options' blocks; what they leave open is as published for as many blocks.
  ///
  /// - Errors: `.usage` for a block that is not there or is the last, and for a depth nothing was published
  ///   for.
  init(_ options: SegmentOptions, depth: Int) throws(SegmentationError) {
    func refuse(_ text: String) -> SegmentationError { SegmentationError(.usage(text)) }
    let known = Self.published[depth]
    func choose(_ flag: String, _ given: Int, _ usual: Int?) throws(SegmentationError) -> Int {
      guard let block = given > 0 ? given : usual else {
        throw refuse(
          "\(flag) must be given: nothing is published for a CLIP of \(depth) blocks (12 and 24 are)")
      }
      guard (1..<depth).contains(block) else {
        throw refuse("\(flag) \(block) is not one of the blocks 1...\(depth - 1) before the last")
      }
      return block
    }
    low = try choose("--low-block", options.lowBlock, known?.low)
    mid = try choose("--mid-block", options.midBlock, known?.mid)
    let first = try choose("--levels", options.levels.first, known?.summed.lowerBound)
    let last = try choose("--levels", options.levels.last, known?.summed.upperBound)
    guard first <= last else { throw refuse("--levels \(first)-\(last) must name the lower block first") }
    summed = first...last
    guard let weight = options.classWeight >= 0 ? options.classWeight : known?.classWeight else {
      throw refuse(
        "--class-weight must be given: nothing is published for a CLIP of \(depth) blocks (12 and 24 are)")
    }
    classWeight = weight
  }
}

extension Session {
  /// The blocks and the weight that SC-CLIP works with, by the keys of their options; of other methods, and
  /// where another attention stands for its own, nothing.
  ///
  /// - Errors: `.usage` for blocks that are not there, or that must be named.
  package func usedBlocks(
    _ options: SegmentOptions
  ) throws(SegmentationError) -> [(key: String, value: OptionValue)] {
    guard options.method == .scCLIP, options.clipAttention == .published,
      let depth = model.config.clip?.vision.depth
    else { return [] }
    let levels = try BlockLevels(options, depth: depth)
    return [
      ("low_block", .int(levels.low)), ("mid_block", .int(levels.mid)),
      ("levels", .word("\(levels.summed.lowerBound)-\(levels.summed.upperBound)")),
      ("class_weight", .number(levels.classWeight)),
    ]
  }
}

/// Rows kept while a group of windows goes through the blocks.
///
/// - Shapes: `low`, `mid` [windows * cells, width]; `sum` [windows * tokens, width].
/// - Memory: int8: 8 bytes a token and channel; float32: 12.
struct KeptBlocks {
  let low: StoredRows
  let mid: StoredRows
  let sum: Rows
  /// Of the class tokens that are added.
  var classWeight: Float { levels.classWeight }
  private let tower: WindowTransformer
  private let levels: BlockLevels

  init(_ run: RunContext, _ tower: WindowTransformer, _ levels: BlockLevels) throws(ComputeError) {
    let (cells, width) = (tower.group * tower.cells, tower.config.width)
    low = try StoredRows(run.arena, run.engine, count: cells, width: width)
    mid = try StoredRows(run.arena, run.engine, count: cells, width: width)
    sum = try run.arena.rows(tower.group * tower.tokens, width)
    (self.tower, self.levels) = (tower, levels)
  }

  /// Takes what is wanted of the output of a block, counted from zero.
  func keep(_ x: Rows, after block: Int, windows: Int) {
    let level = block + 1
    for (wanted, rows) in [(levels.low, low), (levels.mid, mid)] where level == wanted {
      for index in 0..<windows {
        rows.store(tower.run.engine, tower.patches(index, of: x), at: index * tower.cells)
      }
    }
    guard levels.summed.contains(level) else { return }
    let (all, total) = (x.prefix(windows * tower.tokens), sum.prefix(windows * tower.tokens))
    if level == levels.summed.lowerBound { total.update(from: all) } else { total.add(all) }
  }

  /// The patches of one window. Shapes: `out` [cells, width], overwritten.
  func load(_ engine: Engine, _ rows: StoredRows, _ window: Int, into out: Rows) {
    rows.load(engine, window * tower.cells..<(window + 1) * tower.cells, into: out)
  }
}
