// C-RADIO's heads, and linear layers whose norm is kept apart from their weight.

import Container
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension RADIONameMap {
  private static let usualTower = "siglip2-so400m"

  /// Where the language head lies, and the text tower it belongs to.
  func languageHead() throws(QuantizationError) -> (prefix: String, textModel: String) {
    let teachers = try arguments.teachers()
    for teacher in teachers where teacher.type == "siglip2" {
      for prefix in ["_heads.\(teacher.index).", "_heads.\(teacher.name)."]
      where view.names.contains(where: { $0.hasPrefix(prefix) }) {
        if teacher.model == nil {
          view.directory.assume(
            "the text tower is \(Self.usualTower)",
            because: "args.teachers.\(teacher.index) has no model that can be read")
        }
        try checkTower(teacher)
        return (prefix, teacher.model ?? Self.usualTower)
      }
      throw view.refuse(
        "the teacher '\(teacher.name)' of type siglip2 has no head; get the .pth.tar with heads")
    }
    // Without readable arguments: the one head that leads to SigLIP 2's width.
    var found: [String] = []
    for name in view.names where teachers.isEmpty && name.hasPrefix("_heads.") {
      for end in ["final.2.bias", "fc2.bias"] where name.hasSuffix(end) {
        if try view.shape(name) == [1152] { found.append(String(name.dropLast(end.count))) }
      }
    }
    guard found.count == 1 else {
      let what =
        !view.names.contains { $0.hasPrefix("_heads.") }
        ? "this file has no language head"
        : teachers.isEmpty
          ? "\(arguments.gap), and \(found.count) heads, not one, are as wide as SigLIP 2's"
          : "no teacher of type siglip2 is named in args.teachers"
      throw view.refuse(what + "; get the .pth.tar, for example c-radio_v3-b_half.pth.tar")
    }
    view.directory.assume(
      "'\(found[0].dropLast())' is the head of \(Self.usualTower)",
      because: arguments.gap + ", and no other head is as wide")
    return (found[0], Self.usualTower)
  }

  /// - Errors: a text tower that no model file can be, so that no vocabulary could ever name it.
  private func checkTower(_ teacher: RADIOArguments.Teacher) throws(QuantizationError) {
    guard let name = teacher.model, !SigLIPNameMap.towers.contains(name), !MappedModel.isIdentity(name) else {
      return
    }
    let known = SigLIPNameMap.towers.joined(separator: " or ")
    throw arguments.refuse(
      "teachers.\(teacher.index).model",
      "no text tower is called '\(name)'; \(known) is expected, or a model file's id")
  }

  /// Where the `sam` teacher's feature projection lies.
  ///
  /// - Errors: none, or one that this SAM's neck does not take.
  func maskHead(_ sam: SAMConfig, _ patch: Int) throws(QuantizationError) -> String {
    for teacher in try arguments.teachers() where teacher.type == "sam" || teacher.name == "sam" {
      for prefix in ["_feature_projections.\(teacher.index).", "_feature_projections.\(teacher.name)."]
      where view.names.contains(where: { $0.hasPrefix(prefix) }) {
        let outputs = try adaptor(prefix).outputs
        guard outputs == sam.blocks.width, patch == sam.vision.patch else {
          throw view.refuse(
            "its features for SAM are \(outputs) wide, patch \(patch); the SAM named is "
              + "\(sam.blocks.width) wide, patch \(sam.vision.patch); sam_vit_h_4b8939.pth is meant", prefix)
        }
        return prefix
      }
    }
    throw view.refuse("no teacher 'sam' with a feature projection; leave out --sam")
  }

  /// Whether a head is of version 2, whose last layer has a folder of its own.
  private func isSecondVersion(_ prefix: String) -> Bool {
    view.names.contains { $0.hasPrefix(prefix + "final.") || $0.hasPrefix(prefix + "blocks.") }
  }

  func adaptor(_ prefix: String) throws(QuantizationError) -> AdaptorConfig {
    let hidden = try view.shape(weightName(prefix + "fc1"), axes: 2)[0]
    if isSecondVersion(prefix) {
      let blocks = prefix + "blocks."
      let count = view.names.contains { $0.hasPrefix(blocks) } ? try view.depth(blocks) : 0
      let outputs = try view.shape(weightName(prefix + "final.2"), axes: 2)[0]
      return AdaptorConfig(version: .v2, hidden: hidden, blocks: count, outputs: outputs)
    }
    if let inner = view.names.first(where: { $0.hasPrefix(prefix + "inner.") }) {
      throw view.refuse("a head of version 1 with inner layers is not supported", inner)
    }
    let outputs = try view.shape(weightName(prefix + "fc2"), axes: 2)[0]
    return AdaptorConfig(version: .v1, hidden: hidden, blocks: 0, outputs: outputs)
  }

  mutating func fillHead(
    _ part: AdaptorSchema, _ prefix: String, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let isFirstVersion = !isSecondVersion(prefix)
    func fill(_ spec: LinearSpec, _ name: String) throws(QuantizationError) {
      let recipe = try linear(prefix + name, rows: spec.outputs, columns: spec.inputs, isHead: true)
      plan.fill(spec, .linear(recipe), from: view)
    }
    try fill(part.first, "fc1")
    for (index, block) in part.blocks.enumerated() {
      try view.norm(block.norm, from: prefix + "blocks.\(index).0", &plan)
      try fill(block.out, "blocks.\(index).2")
    }
    try view.norm(part.norm, from: prefix + (isFirstVersion ? "norm" : "final.0"), &plan)
    try fill(part.last, isFirstVersion ? "fc2" : "final.2")
    let isEMA = isEMA
    let left = view.unused(below: prefix).first { !(isEMA && $0.holds(".parametrizations.")) }
    if let left { throw view.refuse("this tensor is not part of a head of a known version", left) }
  }

  // MARK: Spectral reparametrization

  private func reparametrized(_ stem: String) -> String { stem + ".parametrizations.weight.original" }

  func weightName(_ stem: String) -> String {
    let folder = stem + ".parametrizations.weight.0."
    let isFolded =
      !view.has(stem + ".weight") && ["scale", "parts.0.scale"].contains { view.has(folder + $0) }
    return view.has(reparametrized(stem)) || isFolded ? reparametrized(stem) : stem + ".weight"
  }

  /// Says that nothing tells how the backbone's spectral norms are computed.
  func assumeSpectralNorm() throws(QuantizationError) {
    let isUsed = view.names.contains { $0.hasPrefix("base_model.") && $0.hasSuffix(reparametrized("")) }
    guard isUsed, !isEMA, try !arguments.spectralNorm(isHead: false).isTold else { return }
    view.directory.assume("spectral norms take one step and 1e-6", because: arguments.gap)
  }

  /// A linear layer, its spectral reparametrization folded where it has one.
  mutating func linear(
    _ stem: String, rows: Int, columns: Int, parts: Int = 1, isHead: Bool = false
  ) throws(QuantizationError) -> LinearRecipe {
    let name = weightName(stem)
    let weight = try view.require(name, [rows, columns])
    let bias = try view.require(stem + ".bias", [rows])
    var recipe = LinearRecipe(
      weight: .rows([weight]), bias: BiasSource(names: [bias]), rows: rows, columns: columns)
    guard name == reparametrized(stem) else { return recipe }
    guard !view.has(stem + ".weight") else {
      throw view.refuse("this weight is there plainly and reparametrized; only one of them can count", name)
    }
    if isEMA { return recipe }
    let spectral = try arguments.spectralNorm(isHead: isHead).norm
    let folder = stem + ".parametrizations.weight.0."
    let matrix = try view.finite(name, [rows, columns])
    let leaves = ["scale", "_u", "_v", "_sn_version"]
    let hasParts = (0..<parts).contains { part in
      leaves.contains { view.has(folder + "parts.\(part)." + $0) }
    }
    let count = hasParts ? parts : 1
    for part in 0..<count {
      let from = hasParts ? folder + "parts.\(part)." : folder
      let size = rows / count * columns
      recipe.partFactors.append(
        try spectralFactor(
          matrix[part * size..<(part + 1) * size], [rows / count, columns], from: from, spectral))
    }
    return recipe
  }

  /// What a part of a matrix is multiplied by.
  ///
  /// - Shapes: `shape` is the part's, [rows, columns].
  private mutating func spectralFactor(
    _ matrix: ArraySlice<Float>, _ shape: [Int], from: String, _ spectral: SpectralNorm
  ) throws(QuantizationError) -> Double {
    let ones: Set<[Int]> = [[], [1], [1, 1]]
    let scaleShape = try view.shape(from + "scale")
    let scale = try view.finite(from + "scale", ones.contains(scaleShape) ? scaleShape : [1, 1])[0]
    let version = from + "_sn_version"
    var isSecond = false
    if view.has(version) {
      let numbers = try view.directory.readFloat(view.full(version))
      guard numbers == [1] || numbers == [2] else {
        throw view.refuse("version 1 or 2 of spectral norms is expected, not \(numbers.prefix(4))", version)
      }
      isSecond = numbers == [2]
      view.ignore { $0 == version }
    } else if view.names.contains(where: { $0.hasSuffix("._sn_version") }) {
      // Version 1 has none anywhere.
      throw view.missing(version)
    }
    let (u, v) = (try view.finite(from + "_u", [shape[0]]), try view.finite(from + "_v", [shape[1]]))
    let factor = spectral.factor(
      matrix, rows: shape[0], columns: shape[1], u: u.map(Double.init), v: v.map(Double.init),
      scale: Double(scale), isVersion2: isSecond)
    guard factor.isFinite else {
      throw view.refuse("with this scale of \(scale) the weight's norm is no number", from + "scale")
    }
    return factor
  }
}

/// Folds a learned spectral norm into its matrix.
///
/// - Source: RADIO's loader, which folds in training mode: one more power step comes first.
struct SpectralNorm {
  var epsilon: Double
  var steps: Int

  /// What the matrix is multiplied by: its learned norm over its spectral norm.
  func factor(
    _ matrix: ArraySlice<Float>, rows: Int, columns: Int, u: [Double], v: [Double], scale: Double,
    isVersion2: Bool
  ) -> Double {
    var (u, v) = (u, v)
    let first = matrix.startIndex
    func product(_ v: [Double]) -> [Double] {
      (0..<rows).map { row in
        var sum = 0.0
        for column in 0..<columns { sum += Double(matrix[first + row * columns + column]) * v[column] }
        return sum
      }
    }
    func unit(_ x: [Double]) -> [Double] {
      let length = max(x.reduce(0) { $0 + $1 * $1 }.squareRoot(), epsilon)
      return x.map { $0 / length }
    }
    for _ in 0..<steps {
      u = unit(product(v))
      var sums = [Double](repeating: 0, count: columns)
      for row in 0..<rows {
        for column in 0..<columns { sums[column] += Double(matrix[first + row * columns + column]) * u[row] }
      }
      v = unit(sums)
    }
    let sigma = zip(u, product(v)).reduce(0) { $0 + $1.0 * $1.1 } + epsilon
    return (isVersion2 ? log1p(exp(scale)) + 0.05 : scale) / sigma
  }
}
