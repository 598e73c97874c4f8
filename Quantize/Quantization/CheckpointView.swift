// A checkpoint seen through a name prefix and one spelling of names, with every shape checked and every
// tensor accounted for.

import Container
import Segmentation
import System

/// Names below `prefix` of one checkpoint, as the network's first publisher spells them.
///
/// `require` marks tensors as used; `finish` then refuses a checkpoint that holds anything nobody asked for,
/// because an unknown tensor among the network's own means another architecture.
/// - Errors: `noSuchTensor`, `shapeMismatch` and `unsupportedModel`, with the full name of the tensor.
struct CheckpointView {
  static let depthLimit = 512

  let directory: TensorDirectory
  /// First parts of the names that belong to the network itself; what stands beside them is left alone.
  /// None: all do.
  var modules: Set<String> = []
  /// In file order, without the prefix and respelled.
  let names: [String]
  private let fullNames: [String: String]
  private let prefix: String
  private let spelling: NameSpelling
  private var used: Set<String> = []

  /// - Errors: `duplicateName` where two tensors have one name in the spelling asked for.
  init(
    _ directory: TensorDirectory, prefix: String, spelling: NameSpelling = NameSpelling()
  ) throws(QuantizationError) {
    self.directory = directory
    (self.prefix, self.spelling) = (prefix, spelling)
    var names: [String] = []
    var fullNames: [String: String] = [:]
    // What cannot be read is there all the same: asked for, it is refused by its type.
    for full in directory.names + directory.unreadable.keys.sorted() where full.hasPrefix(prefix) {
      let name = spelling.original(String(full.dropFirst(prefix.count)))
      if fullNames.updateValue(full, forKey: name) != nil {
        throw QuantizationError(.duplicateName, path: directory.path, name: full)
      }
      names.append(name)
    }
    self.names = names
    self.fullNames = fullNames
  }

  /// The name in the file; of a tensor that is not there, as the file's others are spelled.
  func full(_ name: String) -> String {
    fullNames[name] ?? prefix + spelling.other(name, likeThoseOf: directory.names)
  }

  func has(_ name: String) -> Bool { fullNames[name] != nil }

  func shape(_ name: String) throws(QuantizationError) -> [Int] { try record(name).shape }

  /// The shape, if it has `count` axes and no empty one.
  func shape(_ name: String, axes count: Int) throws(QuantizationError) -> [Int] {
    let shape = try shape(name)
    guard shape.count == count, !shape.contains(0) else {
      throw refuse("\(count) axes are expected, the shape is \(shape)", name)
    }
    return shape
  }

  private func record(_ name: String) throws(QuantizationError) -> TensorRecord {
    if let type = directory.unreadable[full(name)] {
      throw refuse("element type \(type) is not supported; save it as float16 or float32", name)
    }
    guard let record = directory.record(full(name)) else { throw missing(name) }
    guard record.elementType.isFloatingPoint else {
      throw refuse("floating-point values are expected, these are \(record.elementType.rawValue)", name)
    }
    return record
  }

  /// What to say of a tensor that is not there.
  func missing(_ name: String) -> QuantizationError {
    if !directory.shardHint.isEmpty { return refuse("no tensor of this name" + directory.shardHint, name) }
    return QuantizationError(.noSuchTensor, path: directory.path, name: full(name))
  }

  /// Checks a tensor's shape, marks it used, and returns its full name.
  mutating func require(_ name: String, _ shape: [Int]) throws(QuantizationError) -> String {
    let found = try record(name).shape
    guard found == shape else {
      throw QuantizationError(
        .shapeMismatch(expected: shape, found: found), path: directory.path, name: full(name))
    }
    used.insert(name)
    return full(name)
  }

  /// Marks tensors that are known and not needed.
  mutating func ignore(where isKnown: (String) -> Bool) {
    for name in names where isKnown(name) { used.insert(name) }
  }

  /// Tensors of floating point that nobody asked for.
  func unused(below stem: String) -> [String] {
    names.filter { name in
      name.hasPrefix(stem) && !used.contains(name)
        && directory.record(full(name))?.elementType.isFloatingPoint ?? false
    }
  }

  /// The values of a tensor that is used while planning.
  ///
  /// - Errors: a value that is no number.
  mutating func finite(_ name: String, _ shape: [Int]) throws(QuantizationError) -> [Float] {
    let values = try directory.readFloat(require(name, shape))
    if let element = values.firstIndex(where: { !$0.isFinite }) {
      throw QuantizationError(.notFinite(element: element), path: directory.path, name: full(name))
    }
    return values
  }

  /// One more than the largest number behind `stem`, as in `blocks.11.norm1.weight`.
  func depth(_ stem: String) throws(QuantizationError) -> Int {
    var depth = 0
    for name in names where name.hasPrefix(stem) {
      let digits = name.dropFirst(stem.count).prefix { $0 != "." }
      guard let index = Int(digits), index >= 0 else { continue }
      depth = max(depth, index == Int.max ? index : index + 1)
    }
    guard depth > 0 else {
      throw QuantizationError(.noSuchTensor, path: directory.path, name: full(stem + "0"))
    }
    guard depth <= Self.depthLimit else {
      throw QuantizationError(
        .limitExceeded(what: "blocks", limit: Self.depthLimit, found: depth), path: directory.path,
        name: full(stem))
    }
    return depth
  }

  /// Refuses what was not asked for: a tensor that tells the architecture first, then any other number inside
  /// the network's own modules. Buffers of whole numbers, and what lies beside the network (statistics of
  /// pixels, heads and tokens of training), change nothing and are left alone.
  func finish(_ network: String) throws(QuantizationError) {
    let left = names.filter { !used.contains($0) }
    guard !left.isEmpty else { return }
    let signs: [(parts: [String], what: String)] = [
      (["ls1.", "ls2.", "ls_1.", "ls_2.", "layer_scale"], "layer scale is"),
      (["reg_token", "register", "storage_tokens"], "register tokens are"),
      (["attn_pool"], "attention pooling is"),
    ]
    for (parts, what) in signs {
      guard let name = left.first(where: { name in parts.contains { name.holds($0) } }) else { continue }
      throw refuse("\(what) not supported in a \(network)", name)
    }
    let own = left.first { name in
      let isNumbers = directory.record(full(name))?.elementType.isFloatingPoint ?? false
      return isNumbers && (modules.isEmpty || modules.contains(String(name.prefix { $0 != "." })))
    }
    if let own { throw refuse("this tensor is not part of a plain \(network)", own) }
  }

  func refuse(_ what: String, _ name: String? = nil) -> QuantizationError {
    QuantizationError(.unsupportedModel(what), path: directory.path, name: name.map { full($0) })
  }

  /// The side of a square of `count` cells.
  func side(of count: Int, _ name: String) throws(QuantizationError) -> Int {
    var side = 0
    while side * side < count { side += 1 }
    guard count > 0, side * side == count else {
      throw refuse("\(count) positions do not form a square", name)
    }
    return side
  }

  // MARK: - Parts of a schema

  /// A norm from `from.weight` and `from.bias`.
  mutating func norm(_ part: NormSpec, from: String, _ plan: inout NetworkPlan) throws(QuantizationError) {
    let names = [try require(from + ".weight", [part.width]), try require(from + ".bias", [part.width])]
    plan.fill(part, copying: names, from: self)
  }

  /// What a layer scale multiplies the rows of the layer in front of it by; nil without a name.
  ///
  /// - Shapes: [width].
  /// - Errors: a factor that is no number.
  mutating func layerScale(_ name: String?, _ width: Int) throws(QuantizationError) -> [Float]? {
    guard let name else { return nil }
    return try finite(name, [width])
  }

  /// A packed layer from `from.weight` [rows, columns] and `from.bias` [rows], times the layer scale `scale`
  /// [rows] where there is one; its loudest channel suppressed where that is asked for.
  mutating func linear(
    _ part: LinearSpec, from: String, scale: String? = nil, isSuppressed: Bool = false,
    _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let weight = try require(from + ".weight", [part.outputs, part.inputs])
    let bias = try require(from + ".bias", [part.outputs])
    var recipe = LinearRecipe(
      weight: .rows([weight]), bias: BiasSource(names: [bias]), rows: part.outputs, columns: part.inputs)
    recipe.rowFactors = try layerScale(scale, part.outputs)
    if isSuppressed { recipe.suppressed = try SuppressedChannel.find(recipe, in: directory) }
    plan.fill(part, .linear(recipe), from: self)
  }

  /// A float layer from `from.weight`, whose axes GGUF counts the other way round, and `from.bias`.
  mutating func dense(_ part: DenseSpec, from: String, _ plan: inout NetworkPlan) throws(QuantizationError) {
    let weight = try require(from + ".weight", part.dimensions.reversed())
    plan.fill(part, copying: [weight, try require(from + ".bias", [part.outputs])], from: self)
  }

  /// Plain floats from tensors end to end, each of `shape`.
  mutating func floats(
    _ part: FloatsSpec, from names: [String], shape: [Int], _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    var full: [String] = []
    for name in names { full.append(try require(name, shape)) }
    plan.fill(part, .floats(full), from: self)
  }

  /// A position table.
  mutating func positions(
    _ part: PositionSpec, from: String, shape: [Int], _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    plan.fill(part, positions: try require(from, shape), from: self)
  }
}
