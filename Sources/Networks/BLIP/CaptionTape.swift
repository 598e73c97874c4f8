// What a caption's pass leaves for the way back.
import Compute

/// A norm's input, brought to mean 0 and deviation 1, and the deviations.
struct KeptNorm {
  /// Shapes: [tokens, width].
  let unit: Rows
  /// Shapes: [tokens].
  let deviation: UnsafeMutablePointer<Float>

  init(_ arena: Arena, _ tokens: Int, _ width: Int) throws(ComputeError) {
    unit = try arena.rows(tokens, width)
    deviation = try arena.floats(tokens)
  }

  /// Takes what goes into a norm.
  func keep(_ x: Rows, epsilon: Float) {
    for row in 0..<x.count {
      let (line, out) = (x.row(row), unit.row(row))
      var sum: Float = 0
      for column in 0..<x.width { sum += line[column] }
      let mean = sum / Float(x.width)
      var square: Float = 0
      for column in 0..<x.width { square += (line[column] - mean) * (line[column] - mean) }
      let spread = (square / Float(x.width) + epsilon).squareRoot()
      deviation[row] = spread
      for column in 0..<x.width { out[column] = (line[column] - mean) / spread }
    }
  }

  /// dx = (q - mean q - x^ mean(q x^)) / s with q = weight * dy, in place.
  func back(_ dy: Rows, weight: UnsafePointer<Float>) {
    for row in 0..<dy.count {
      let (line, own) = (dy.row(row), unit.row(row))
      var (sum, along): (Float, Float) = (0, 0)
      for column in 0..<dy.width {
        line[column] *= weight[column]
        sum += line[column]
        along += line[column] * own[column]
      }
      let (mean, share) = (sum / Float(dy.width), along / Float(dy.width))
      let factor = 1 / deviation[row]
      for column in 0..<dy.width { line[column] = (line[column] - mean - own[column] * share) * factor }
    }
  }
}

/// What one layer leaves.
struct LayerTape {
  let norm2: KeptNorm
  let norm3: KeptNorm
  /// In front of the activation. Shapes: [tokens, mlpWidth].
  let hidden: Rows
  /// Of all layers but the lowest; of that, too, where all heads are looked at.
  let whole: Whole?

  struct Whole {
    let norm1: KeptNorm
    /// Shapes: [tokens, 3 * inner].
    let qkv: Rows
    /// Shapes: [heads, capacity, capacity].
    let weights: UnsafeMutablePointer<Float>
    /// Shapes: [heads, capacity, imageTokens].
    let crossWeights: UnsafeMutablePointer<Float>
    /// What heads drew from the image. Shapes: [tokens, inner].
    let context: Rows
    /// Shapes: [imageTokens, 2 * inner].
    let keysValues: StoredRows
  }
}

/// Everything that the gradient of the match needs of one caption's pass.
///
/// - Shapes: `probabilities` [tokens, imageTokens]; `values` [imageTokens, paddedHead].
/// - Memory: for each layer above the lowest tokens * (3 width + 5 inner + mlpWidth + heads * (tokens +
///   imageTokens)) floats and the image's keys and values, as halves where activations are bytes.
package struct CaptionTape {
  /// The layer, from 0, whose cross-attention is differentiated by, and its head.
  let lowest: Int
  let head: Int
  let capacity: Int
  private let layers: [LayerTape]
  /// Attention of the one head in the lowest layer.
  let probabilities: Rows
  let values: Rows

  /// `keepsHeads`: every head of the lowest layer is kept as in the others, not one alone.
  package init(
    _ run: RunContext, _ config: TransformerConfig, lowest: Int, head: Int, tokens: Int, imageTokens: Int,
    keepsHeads: Bool = false
  ) throws(ComputeError) {
    (self.lowest, self.head, capacity) = (lowest, head, tokens)
    let arena = run.arena
    var layers: [LayerTape] = []
    for layer in lowest..<config.depth {
      var whole: LayerTape.Whole?
      if layer > lowest || keepsHeads {
        whole = LayerTape.Whole(
          norm1: try KeptNorm(arena, tokens, config.width), qkv: try arena.rows(tokens, 3 * config.inner),
          weights: try arena.floats(config.heads * tokens * tokens),
          crossWeights: try arena.floats(config.heads * tokens * imageTokens),
          context: try arena.rows(tokens, config.inner),
          keysValues: try StoredRows(arena, run.engine, count: imageTokens, width: 2 * config.inner))
      }
      layers.append(
        LayerTape(
          norm2: try KeptNorm(arena, tokens, config.width), norm3: try KeptNorm(arena, tokens, config.width),
          hidden: try arena.rows(tokens, config.mlpWidth), whole: whole))
    }
    self.layers = layers
    probabilities = try arena.rows(tokens, imageTokens)
    values = try arena.rows(imageTokens, config.paddedHead)
  }

  /// Nil below the lowest layer.
  subscript(layer: Int) -> LayerTape? { layer >= lowest ? layers[layer - lowest] : nil }

  /// One head's weights over the caption's own tokens.
  func weights(_ whole: LayerTape.Whole, head: Int, tokens: Int) -> Rows {
    Rows(whole.weights + head * capacity * capacity, count: tokens, width: tokens)
  }

  /// One head's weights over the image's tokens.
  func crossWeights(_ whole: LayerTape.Whole, head: Int, tokens: Int) -> Rows {
    let width = probabilities.width
    return Rows(whole.crossWeights + head * capacity * width, count: tokens, width: width)
  }
}
