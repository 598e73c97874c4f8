// Parts of a network as its schema declares them: the only place where a tensor's name is spelled is a
// schema, and a spec is how everything else refers to it. The model file is checked against all specs when it
// is opened, so that a spec always finds its weights; the quantizer fills exactly them; `inspect` lists them.
import Compute
import Container

/// A named part of a network: one or more tensors of the model file.
package protocol WeightSpec: Sendable {
  /// The part's name: of its one tensor, or what its tensors' names begin with.
  var name: String { get }
  /// In file order, as the file declares them.
  var tensors: [TensorDeclaration] { get }
}

/// A packed INT8 layer. Shapes: [outputs, inputs].
package struct LinearSpec: WeightSpec {
  package let name: String
  package let inputs: Int
  package let outputs: Int
  package let hasBias: Bool

  package init(_ name: String, inputs: Int, outputs: Int, hasBias: Bool = true) {
    (self.name, self.inputs, self.outputs, self.hasBias) = (name, inputs, outputs, hasBias)
  }

  package var tensors: [TensorDeclaration] {
    let rows = roundUp(outputs, to: 16)
    var tensors = [
      TensorDeclaration(name: name + ".weight", type: .i8, dimensions: [roundUp(inputs, to: 64), rows]),
      TensorDeclaration(name: name + ".scale", type: .f32, dimensions: [rows]),
      TensorDeclaration(name: name + ".sum", type: .i32, dimensions: [rows]),
    ]
    if hasBias { tensors.append(TensorDeclaration(name: name + ".bias", type: .f32, dimensions: [rows])) }
    return tensors
  }
}

/// A LayerNorm. Shapes: weight, bias [width].
package struct NormSpec: WeightSpec {
  package let name: String
  package let width: Int
  package let epsilon: Float

  package init(_ name: String, width: Int, epsilon: Float) {
    (self.name, self.width, self.epsilon) = (name, width, epsilon)
  }

  package var tensors: [TensorDeclaration] {
    ["weight", "bias"].map { TensorDeclaration(name: "\(name).\($0)", type: .f32, dimensions: [width]) }
  }
}

/// Plain floats. Shapes: `dimensions` fastest axis first.
package struct FloatsSpec: WeightSpec {
  package let name: String
  package let dimensions: [Int]

  package init(_ name: String, _ dimensions: [Int]) { (self.name, self.dimensions) = (name, dimensions) }

  package var tensors: [TensorDeclaration] {
    [TensorDeclaration(name: name, type: .f32, dimensions: dimensions)]
  }
}

/// A position table: floats, or half floats where the checkpoint has those. Shapes: [rows, width].
package struct PositionSpec: WeightSpec {
  package let name: String
  package let width: Int
  package let rows: Int

  package init(_ name: String, width: Int, rows: Int) {
    (self.name, self.width, self.rows) = (name, width, rows)
  }

  package var tensors: [TensorDeclaration] {
    [TensorDeclaration(name: name, type: .f32, dimensions: [width, rows])]
  }
  package var inHalves: [TensorDeclaration] {
    [TensorDeclaration(name: name, type: .f16, dimensions: [width, rows])]
  }
}

/// Plain rows of bytes with a scale each: token embeddings. Shapes: [rows, width].
package struct TableSpec: WeightSpec {
  package let name: String
  package let width: Int
  package let rows: Int

  package init(_ name: String, width: Int, rows: Int) {
    (self.name, self.width, self.rows) = (name, width, rows)
  }

  package var tensors: [TensorDeclaration] {
    [
      TensorDeclaration(name: name + ".weight", type: .i8, dimensions: [width, rows]),
      TensorDeclaration(name: name + ".scale", type: .f32, dimensions: [rows]),
    ]
  }
}

/// A small float layer with its bias. Shapes: weight `dimensions`, fastest axis first, the last being the
/// outputs.
package struct DenseSpec: WeightSpec {
  package let name: String
  package let dimensions: [Int]

  package init(_ name: String, _ dimensions: [Int]) { (self.name, self.dimensions) = (name, dimensions) }

  package var outputs: Int { dimensions[dimensions.count - 1] }
  package var inputs: Int { dimensions.dropLast().reduce(1, *) }

  package var tensors: [TensorDeclaration] {
    [
      TensorDeclaration(name: name + ".weight", type: .f32, dimensions: dimensions),
      TensorDeclaration(name: name + ".bias", type: .f32, dimensions: [outputs]),
    ]
  }
}

/// All parts of one network.
package protocol NetworkSchema: Sendable {
  var role: NetworkRole { get }
  /// Parts outside the blocks that come before them.
  var head: [any WeightSpec] { get }
  var blocks: [BlockSchema] { get }
  /// The parts of every block, whatever it is made of.
  var layers: [[any WeightSpec]] { get }
  /// Parts behind the blocks.
  var tail: [any WeightSpec] { get }
  /// Parts that a pass over the blocks reads.
  var streamed: [any WeightSpec] { get }
}

extension NetworkSchema {
  /// In file order, which is the order of use.
  package var parts: [any WeightSpec] { head + layers.flatMap { $0 } + tail }
  package var layers: [[any WeightSpec]] { blocks.map(\.parts) }
  package var streamed: [any WeightSpec] { parts }
}
