// What the output file holds and how each part is made from a checkpoint: plain values, checked before any
// byte is written.

import Container

/// How a stored weight is read as rows of outputs by columns of inputs.
enum MatrixSource {
  /// Tensors [rows, columns...] under each other: linear layers, patch convolutions, separate q, k and v.
  case rows([String])
  /// A tensor [columns, rows]: projections that multiply from the right.
  case transposed(String)
  /// A convolution [rows, channels, side, side], columns in order (y, x, channel).
  case convolution(String, channels: Int, side: Int)
  /// A transposed convolution [columns, outputs, side, side], rows in order (y, x, output).
  case transposedConvolution(String, outputs: Int, side: Int)
}

/// Bias of a linear layer: tensors end to end, `repeats` times over; none if there are no names.
struct BiasSource {
  var names: [String]
  var repeats = 1
  static let none = BiasSource(names: [])
}

/// Attention heads within rows or columns: `parts * heads` groups of `width`, each padded to `paddedWidth`.
struct HeadSpread {
  let parts: Int
  let heads: Int
  let width: Int

  var paddedWidth: Int { roundUp(width, 16) }
  var paddedCount: Int { parts * heads * paddedWidth }

  /// Where source index `index` goes.
  func place(_ index: Int) -> Int { index / width * paddedWidth + index % width }
}

/// A packed linear layer.
///
/// - Shapes: `rows` outputs and `columns` inputs as the checkpoint has them, before padding.
struct LinearRecipe {
  let weight: MatrixSource
  let bias: BiasSource
  let rows: Int
  let columns: Int
  var rowHeads: HeadSpread?
  var columnHeads: HeadSpread?

  var paddedRows: Int { roundUp(rowHeads?.paddedCount ?? rows, 16) }
  var paddedColumns: Int { roundUp(columnHeads?.paddedCount ?? columns, 64) }

  /// The source row shown in stored row `row`, or nil for padding.
  func sourceRow(_ row: Int) -> Int? {
    guard let spread = rowHeads else { return row < rows ? row : nil }
    let (group, within) = row.quotientAndRemainder(dividingBy: spread.paddedWidth)
    guard within < spread.width, group < spread.parts * spread.heads else { return nil }
    return group * spread.width + within
  }
}

/// One entry of the plan: a name in the model file and what it is made of.
struct PlanItem {
  enum Recipe {
    /// Tensors end to end, as float32.
    case floats([String], dimensions: [Int])
    /// A tensor as half floats.
    case halves(String, dimensions: [Int])
    /// Plain rows of int8, one scale a row.
    case table(String, rows: Int, columns: Int)
    case linear(LinearRecipe)
  }

  let name: String
  let recipe: Recipe
  let directory: TensorDirectory

  /// The tensors of the model file this item becomes, in order.
  var declarations: [TensorDeclaration] {
    switch recipe {
    case .floats(_, let dimensions):
      return [TensorDeclaration(name: name, type: .f32, dimensions: dimensions)]
    case .halves(_, let dimensions):
      return [TensorDeclaration(name: name, type: .f16, dimensions: dimensions)]
    case .table(_, let rows, let columns):
      return [
        TensorDeclaration(name: name + ".weight", type: .i8, dimensions: [columns, rows]),
        TensorDeclaration(name: name + ".scale", type: .f32, dimensions: [rows]),
      ]
    case .linear(let layer):
      let rows = layer.paddedRows
      var tensors = [
        TensorDeclaration(name: name + ".weight", type: .i8, dimensions: [layer.paddedColumns, rows]),
        TensorDeclaration(name: name + ".scale", type: .f32, dimensions: [rows]),
        TensorDeclaration(name: name + ".sum", type: .i32, dimensions: [rows]),
      ]
      if !layer.bias.names.isEmpty {
        tensors.append(TensorDeclaration(name: name + ".bias", type: .f32, dimensions: [rows]))
      }
      return tensors
    }
  }
}

/// One network's part of the model file.
struct NetworkPlan {
  var values: [(key: String, value: GGUFValue)] = []
  var items: [PlanItem] = []
}

/// The smallest multiple of `step` not below `value`.
func roundUp(_ value: Int, _ step: Int) -> Int { (value + step - 1) / step * step }
