// How much arithmetic a stage is, noted by the code that does it: what estimates of time are made of.
import Compute

/// Multiply-accumulates by the kind of code that does them.
package struct Work: Equatable, Sendable {
  /// Against stored weights, with the norms, activations and residuals around them.
  package var linear = 0.0
  /// Both products of attention, with the softmax between them.
  package var attention = 0.0
  /// In float: aggregation, masks, scores, pixels.
  package var float = 0.0

  package init(linear: Double = 0, attention: Double = 0, float: Double = 0) {
    (self.linear, self.attention, self.float) = (linear, attention, float)
  }

  /// One number for shares inside a stage; the weights suit a server with AVX-512.
  var size: Double { linear + 4 * attention + 8 * float }

  package static func + (a: Work, b: Work) -> Work {
    Work(linear: a.linear + b.linear, attention: a.attention + b.attention, float: a.float + b.float)
  }
  package static func * (count: Int, a: Work) -> Work { Double(count) * a }
  package static func * (count: Double, a: Work) -> Work {
    Work(linear: count * a.linear, attention: count * a.attention, float: count * a.float)
  }

  /// Some rows through one layer.
  package static func linear(rows: Int, inputs: Int, outputs: Int) -> Work {
    Work(linear: Double(rows) * Double(inputs) * Double(outputs))
  }
}

extension TransformerConfig {
  /// One pre-norm block without its attention: four projections and the MLP.
  package func linearWork(tokens: Int) -> Work {
    .linear(rows: tokens, inputs: width, outputs: 4 * inner + mlpOutputs + mlpWidth)
  }

  /// Both products of attention.
  package func attentionWork(queries: Int, keys: Int) -> Work {
    Work(attention: 2 * Double(queries) * Double(keys) * Double(inner))
  }

  /// One block in which every token attends to every token.
  package func blockWork(tokens: Int) -> Work {
    linearWork(tokens: tokens) + attentionWork(queries: tokens, keys: tokens)
  }
}

extension VisionConfig {
  package func patchWork(cells: Int) -> Work { .linear(rows: cells, inputs: patchLength, outputs: width) }
}
