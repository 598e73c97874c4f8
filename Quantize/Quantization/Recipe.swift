// What the output file holds and how each part is made from a checkpoint: plain values, checked before any
// byte is written.

import Container
import Segmentation

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
  /// What rows are multiplied by first, in double: a factor for each of equal parts of the rows.
  var partFactors: [Double] = []
  /// What rows, and the bias, are multiplied by then.
  var rowFactors: [Float]?
  /// A row that is multiplied last; its bias is not.
  var suppressed: SuppressedChannel?

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

/// One part of a network's schema and what it is made of.
struct PlanItem {
  enum Recipe {
    /// Tensors end to end, as float32.
    case floats([String])
    /// A tensor of half floats, as it is.
    case halves(String)
    /// A position table of a square grid, brought to a square of `side` cells as C-RADIO does.
    case resampled(String, grid: Int, side: Int)
    /// Ones.
    case ones(Int)
    /// Plain rows of int8, one scale a row.
    case table(String, rows: Int, columns: Int)
    case linear(LinearRecipe)
  }

  let name: String
  let recipe: Recipe
  let directory: TensorDirectory
  /// The tensors of the model file this item becomes, in order.
  let declarations: [TensorDeclaration]

  var isHalves: Bool { if case .halves = recipe { true } else { false } }
  var suppressed: SuppressedChannel? { if case .linear(let layer) = recipe { layer.suppressed } else { nil } }
}

/// One network's part of the model file: exactly the parts of its schema, in their order.
struct NetworkPlan {
  let schema: any NetworkSchema
  private var filled: [String: [PlanItem]] = [:]

  init(_ schema: any NetworkSchema) { self.schema = schema }

  /// Says what a part is made of.
  mutating func fill(_ part: any WeightSpec, _ recipe: PlanItem.Recipe, from view: CheckpointView) {
    filled[part.name] = [
      PlanItem(name: part.name, recipe: recipe, directory: view.directory, declarations: part.tensors)
    ]
  }

  /// Says where a position table is; half floats stay what they are.
  mutating func fill(_ part: PositionSpec, positions name: String, from view: CheckpointView) {
    let isHalf = view.directory.record(name)?.elementType == .float16
    filled[part.name] = [
      PlanItem(
        name: part.name, recipe: isHalf ? .halves(name) : .floats([name]), directory: view.directory,
        declarations: isHalf ? part.inHalves : part.tensors)
    ]
  }

  /// Says which tensors a part of several plain tensors copies, in the part's order.
  mutating func fill(_ part: any WeightSpec, copying names: [String], from view: CheckpointView) {
    precondition(names.count == part.tensors.count, "\(part.name) has \(part.tensors.count) tensors")
    filled[part.name] = zip(part.tensors, names).map {
      PlanItem(name: $0.name, recipe: .floats([$1]), directory: view.directory, declarations: [$0])
    }
  }

  /// Every part's items, in file order. Traps if a name map forgot one.
  var items: [PlanItem] {
    schema.parts.flatMap { part in
      guard let items = filled[part.name] else { preconditionFailure("nothing fills \(part.name)") }
      return items
    }
  }
}

/// The smallest multiple of `step` not below `value`.
func roundUp(_ value: Int, _ step: Int) -> Int { (value + step - 1) / step * step }
