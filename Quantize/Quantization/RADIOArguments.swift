// What a C-RADIO checkpoint says of itself beside its tensors.

/// The settings of the training run, `args`, each checked when it is asked for.
///
/// - Errors: `unsupportedModel` with the key of a setting that is there and cannot be read.
struct RADIOArguments {
  private let root: CheckpointValue?
  private let path: String

  init(_ directory: TensorDirectory) { (root, path) = (directory.arguments, directory.path) }

  /// Whether there are any that can be read.
  var isTold: Bool { if case .table? = root { true } else { false } }

  /// Why something has to be taken for granted.
  var gap: String {
    if isTold { return "the checkpoint's args do not tell" }
    return root == nil ? "the checkpoint has no args" : "the checkpoint's args cannot be read"
  }

  func refuse(_ key: String, _ what: String) -> QuantizationError {
    QuantizationError(.unsupportedModel(what), path: path, name: "args." + key)
  }

  /// The setting of a dotted name; nil for one that is not there or None.
  func value(_ key: String) throws(QuantizationError) -> CheckpointValue? {
    guard isTold else { return nil }
    var found = root
    var name = ""
    for part in key.split(separator: ".").map(String.init) {
      if let value = found, case .table = value {} else { throw refuse(name, "no table of settings") }
      name += name.isEmpty ? part : "." + part
      switch found?[part] {
      case nil, .nothing?: return nil
      case .unreadable?: throw refuse(name, "this setting cannot be read; save it as a plain value")
      case let next?: found = next
      }
    }
    return found
  }

  func integer(_ key: String) throws(QuantizationError) -> Int? {
    guard let value = try value(key) else { return nil }
    guard let number = value.integer else { throw refuse(key, "a whole number is expected") }
    return number
  }

  func text(_ key: String) throws(QuantizationError) -> String? {
    guard let value = try value(key) else { return nil }
    guard let text = value.text else { throw refuse(key, "a text is expected") }
    return text
  }

  func flag(_ key: String) throws(QuantizationError) -> Bool? {
    switch try value(key) {
    case nil: return nil
    case .bool(let value): return value
    case .integer(0): return false
    case .integer(1): return true
    default: throw refuse(key, "True or False is expected")
    }
  }

  // MARK: Sizes

  /// Heads and depth of an architecture at its usual width.
  ///
  /// - Source: timm `vision_transformer.py`.
  private static let known: [(stem: String, width: Int, heads: Int, depth: Int)] = [
    ("vit_base", 768, 12, 12), ("vit_large", 1024, 16, 24), ("vit_so400m", 1152, 16, 27),
    ("vit_huge", 1280, 16, 32), ("vit_giant", 1536, 24, 40),
  ]

  private func architecture(_ width: Int) throws(QuantizationError) -> (heads: Int, depth: Int)? {
    let name = try text("model") ?? ""
    let found = Self.known.first { name.hasPrefix($0.stem) && $0.width == width }
    return found.map { ($0.heads, $0.depth) }
  }

  /// Attention heads, as told or as the architecture has; nil where neither is known.
  func heads(width: Int) throws(QuantizationError) -> Int? {
    if let told = try integer("model_kwargs.num_heads") { return told }
    return try architecture(width)?.heads
  }

  /// Blocks, as told or as the architecture has; nil where neither is known.
  func depth(width: Int) throws(QuantizationError) -> Int? {
    if let told = try integer("model_kwargs.depth") { return told }
    return try architecture(width)?.depth
  }

  // MARK: Teachers

  struct Teacher {
    let index: Int
    let name: String
    let type: String
    /// Nil where that is not told.
    let model: String?
  }

  /// None where they are not told.
  func teachers() throws(QuantizationError) -> [Teacher] {
    guard let value = try value("teachers") else { return [] }
    guard case .list(let items) = value else { throw refuse("teachers", "a list is expected") }
    var teachers: [Teacher] = []
    for (index, item) in items.enumerated() {
      guard case .table = item else { throw refuse("teachers.\(index)", "no table of settings") }
      let name = item["name"]?.text ?? ""
      teachers.append(
        Teacher(index: index, name: name, type: item["type"]?.text ?? name, model: item["model"]?.text))
    }
    return teachers
  }

  // MARK: Spectral norm

  /// How a spectral norm is computed; whether that is told.
  ///
  /// - Source: RADIO's loader: heads, and a backbone whose setting is no table, have 1e-6.
  func spectralNorm(isHead: Bool) throws(QuantizationError) -> (norm: SpectralNorm, isTold: Bool) {
    let usual = SpectralNorm(epsilon: 1e-6, steps: 1)
    if isHead { return (usual, true) }
    let key = "spectral_reparam"
    guard let value = try value(key) else { return (usual, false) }
    guard case .table = value else {
      _ = try flag(key)
      return (usual, true)
    }
    var norm = SpectralNorm(epsilon: 1e-12, steps: 1)
    if let number = try self.value(key + ".eps") {
      guard let epsilon = number.number, epsilon.isFinite, epsilon >= 0 else {
        throw refuse(key + ".eps", "a number is expected")
      }
      norm.epsilon = epsilon
    }
    norm.steps = min(max(try integer(key + ".n_power_iterations") ?? 1, 1), 64)
    return (norm, true)
  }
}
