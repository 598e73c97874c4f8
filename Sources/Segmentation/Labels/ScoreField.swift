// Scores of a photo on a grid, as every method hands them to labels, regions, refinement and outputs: a row
// at a time, never upsampled as a whole.
import Compute

/// The grid that scores lie on and the words they are scores of.
///
/// - Shapes: a row of scores [columns, lanes * 8].
/// - Memory: a few bytes a class.
package struct ScoreGrid {
  package let rows: Int
  package let columns: Int
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

  /// Far below any score, finite so that blending stays finite.
  static let padding: Float = -1e6

  /// Floats of a row of scores.
  package var rowLength: Int { columns * lanes * 8 }

  /// - Shapes: `phraseClass` [phrases], ascending from 0 without gaps.
  /// - Errors: an arena that is too small throws.
  package init(_ arena: Arena, rows: Int, columns: Int, phraseClass: [Int]) throws(ComputeError) {
    precondition(rows > 0 && columns > 0 && !phraseClass.isEmpty, "scores need cells and phrases")
    self.rows = rows
    self.columns = columns
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

  /// The largest value of each class's phrases.
  @inline(__always)
  func reduceToClasses(_ phrases: UnsafeMutablePointer<Float>, into classes: UnsafeMutablePointer<Float>) {
    for label in 0..<classCount {
      var value = phrases[Int(firstPhrase[label])]
      for phrase in Int(firstPhrase[label]) + 1..<Int(firstPhrase[label + 1]) {
        value = max(value, phrases[phrase])
      }
      classes[label] = value
    }
  }

  /// Scores of every class in one row, the best phrase of each.
  ///
  /// - Shapes: `line`: a row of scores with `columns` of its own; `out` [classCount, columns], overwritten.
  func classScores(_ line: UnsafePointer<Float>, columns: Int, into out: UnsafeMutablePointer<Float>) {
    for label in 0..<classCount {
      for column in 0..<columns {
        var best = -Float.infinity
        for phrase in Int(firstPhrase[label])..<Int(firstPhrase[label + 1]) {
          best = max(best, line[column * lanes * 8 + phrase])
        }
        out[label * columns + column] = best
      }
    }
  }
}

/// What is resampled to the photo's pixels.
package enum ScoreRule: Sendable {
  /// Scores; a pixel's probabilities are their softmax over phrases.
  case scores
  /// Probabilities themselves, a phrase each class.
  case probabilities
}

/// Scores that can be asked for a grid row at a time.
package protocol ScoreField {
  var grid: ScoreGrid { get }
  var rule: ScoreRule { get }
  /// Floats that `row` wants to work in.
  var scratchCount: Int { get }
  /// Classes that a gate of the method's own took away. Shapes: [classCount]; empty where it has none.
  var isGated: [Bool] { get }

  /// Scores of one grid row.
  ///
  /// - Shapes: `out` [grid.rowLength], overwritten; `scratch` [scratchCount].
  /// - Memory: allocates nothing.
  func row(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>)

  /// Multiply-accumulates of one row.
  var rowWork: Double { get }

  /// What scores are made of holds neither infinities nor what is no number, so that no score does.
  var isFinite: Bool { get }

  /// The patches that scores were made of, before anything was averaged; no row is longer than the grid's.
  var patches: (rows: Int, columns: Int) { get }

  /// Scores of one row of patches; as `row`.
  func patchRow(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>)
}

extension ScoreField {
  package var patches: (rows: Int, columns: Int) { (grid.rows, grid.columns) }

  package func patchRow(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    row(engine, index, scratch: scratch, into: out)
  }
}

extension ScoreField {
  package var rule: ScoreRule { .scores }
  package var isGated: [Bool] { [] }
}

/// Unit features of the grid and unit text vectors; scores are their products.
///
/// - Shapes: features [rows * columns, width]; text [phrases, width].
/// - Units: cosine; features f32 (float32 precision) or IEEE half (int8).
/// - Memory: rows * columns * width * 2 or 4 bytes; nothing that grows with classes but a few bytes each.
package struct FeatureScores: ScoreField {
  package let grid: ScoreGrid
  private let features: StoredRows
  private let text: Rows
  private static let tile = 16

  /// `rows` of the grid that the features lie on, row-major; text is borrowed.
  ///
  /// - Errors: an arena that is too small throws.
  package init(
    _ arena: Arena, _ features: StoredRows, rows: Int, text: Rows, phraseClass: [Int]
  ) throws(ComputeError) {
    precondition(
      features.count % rows == 0 && text.width == features.width, "features of another grid or space")
    grid = try ScoreGrid(arena, rows: rows, columns: features.count / rows, phraseClass: phraseClass)
    self.features = features
    self.text = text
  }

  package var rowWork: Double { Double(grid.columns) * Double(features.width) * Double(grid.phraseCount) }

  package var isFinite: Bool { features.isFinite && text.isFinite }

  package var scratchCount: Int { features.isConverted ? Self.tile * features.width : 0 }

  package func row(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    let stride = grid.lanes * 8
    for columns in strips(of: grid.columns, Self.tile) {
      let first = index * grid.columns + columns.lowerBound
      engine.productNT(
        features.rows(engine, first..<first + columns.count, scratch: scratch), text,
        into: Rows(
          out + columns.lowerBound * stride, count: columns.count, width: grid.phraseCount, stride: stride))
    }
    guard grid.phraseCount < stride else { return }
    for column in 0..<grid.columns {
      (out + column * stride + grid.phraseCount).update(
        repeating: ScoreGrid.padding, count: stride - grid.phraseCount)
    }
  }
}
