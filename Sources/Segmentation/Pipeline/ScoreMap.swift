// Cosine scores on SAM's valid grid, as the two factors they are products of: never upsampled as a whole.
import Compute

/// Unit features of the grid and unit text vectors; scores are their products, a grid row at a time.
///
/// - Shapes: features [rows * columns, width]; text [phrases, width]; a row of scores [columns, lanes * 8].
/// - Units: cosine; features f32 (float32 precision) or IEEE half (int8).
/// - Memory: rows * columns * width * 2 or 4 bytes; nothing that grows with classes but a few bytes each.
package struct ScoreMap {
  package let rows: Int
  package let columns: Int
  package let width: Int
  package let phraseCount: Int
  package let classCount: Int
  /// Groups of eight phrases in a row of scores; phrases behind the last one score `padding`.
  package let lanes: Int
  /// Every class has one phrase.
  package let isPlain: Bool
  /// [classCount + 1]: the first phrase of each class.
  package let firstPhrase: UnsafeMutablePointer<Int32>
  /// [phraseCount]: the class of each phrase.
  package let classOf: UnsafeMutablePointer<UInt16>

  private let text: UnsafePointer<Float>
  private var features: StoredRows?

  /// Far below any cosine, finite so that blending stays finite.
  static let padding: Float = -1e6
  private static let tile = 16

  /// The tables of a map whose features have no place yet (`place`).
  ///
  /// - Shapes: `text` [phrases, width], borrowed; `phraseClass` [phrases], ascending from 0 without gaps.
  /// - Errors: an arena that is too small throws.
  package init(
    _ arena: Arena, rows: Int, columns: Int, width: Int, text: UnsafePointer<Float>, phraseClass: [Int]
  ) throws(ComputeError) {
    precondition(rows > 0 && columns > 0 && !phraseClass.isEmpty, "a score map needs cells and phrases")
    self.rows = rows
    self.columns = columns
    self.width = width
    self.text = text
    phraseCount = phraseClass.count
    classCount = phraseClass[phraseClass.count - 1] + 1
    precondition(classCount < Int(LabelRows.noClass), "more classes than 16-bit labels")
    lanes = ceilDivide(phraseClass.count, by: 8)
    isPlain = classCount == phraseClass.count
    firstPhrase = try arena.reserve(Int32.self, classCount + 1)
    classOf = try arena.reserve(UInt16.self, lanes * 8)
    if arena.isCounting { return }
    var next = 0
    for (phrase, label) in phraseClass.enumerated() {
      precondition(label == next || label == next - 1, "phrases are ordered by class")
      if label == next {
        firstPhrase[label] = Int32(phrase)
        next += 1
      }
      classOf[phrase] = UInt16(label)
    }
    firstPhrase[classCount] = Int32(phraseCount)
  }

  /// Reserves the features' room; features that were stored in an earlier one, above this, move down to it.
  ///
  /// - Errors: an arena that is too small throws.
  package mutating func place(_ arena: Arena, _ engine: Engine) throws(ComputeError) {
    if let stored = features {
      features = try stored.movedDown(arena, engine)
    } else {
      features = try StoredRows(arena, engine, count: rows * columns, width: width)
    }
  }

  private var placed: StoredRows {
    guard let features else { preconditionFailure("features have no place yet") }
    return features
  }

  /// Stores unit features of `count` cells from `first` on (row-major cells).
  package func store(_ engine: Engine, _ features: UnsafePointer<Float>, first: Int, count: Int) {
    placed.store(engine, features, rows: count, at: first, width: width)
  }

  /// Floats that `gridRow` wants to work in.
  var scratchCount: Int { placed.isConverted ? Self.tile * width : 0 }

  /// Scores of one grid row.
  ///
  /// - Shapes: `out` [columns, lanes * 8], overwritten; `scratch` [scratchCount].
  /// - Memory: allocates nothing.
  package func gridRow(
    _ engine: Engine, _ row: Int, scratch: UnsafeMutablePointer<Float>, into out: UnsafeMutablePointer<Float>
  ) {
    let stride = lanes * 8
    for column in Swift.stride(from: 0, to: columns, by: Self.tile) {
      let first = row * columns + column
      let count = min(Self.tile, columns - column)
      engine.productNT(
        placed.rows(engine, first..<first + count, scratch: scratch), width, rows: count, text, width,
        columns: phraseCount, depth: width, out: out + column * stride, stride)
    }
    guard phraseCount < stride else { return }
    for column in 0..<columns {
      (out + column * stride + phraseCount).update(repeating: Self.padding, count: stride - phraseCount)
    }
  }

  /// Scores of a class, the best phrase of each: what `--scores` stores.
  ///
  /// - Shapes: `line` [columns, lanes * 8]: a row from `gridRow`, or one resampled; `out` [columns], overwritten.
  package func classScores(
    _ label: Int, line: UnsafePointer<Float>, columns: Int, into out: UnsafeMutablePointer<Float>
  ) {
    for column in 0..<columns {
      var best = -Float.infinity
      for phrase in Int(firstPhrase[label])..<Int(firstPhrase[label + 1]) {
        best = max(best, line[column * lanes * 8 + phrase])
      }
      out[column] = best
    }
  }
}
