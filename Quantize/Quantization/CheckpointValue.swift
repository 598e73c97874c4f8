// Plain values of a checkpoint that are not tensors: what a training run was told.

/// A number, a text, or a container of them.
indirect enum CheckpointValue {
  case bool(Bool)
  case integer(Int)
  case float(Double)
  case text(String)
  case list([CheckpointValue])
  /// A dictionary or a namespace.
  case table([String: CheckpointValue])
  /// Nothing, or an object of a class that means nothing here.
  case other

  subscript(name: String) -> CheckpointValue? {
    if case .table(let members) = self { return members[name] }
    return nil
  }
  var text: String? { if case .text(let value) = self { value } else { nil } }
  var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  var isTrue: Bool { if case .bool(true) = self { true } else { false } }
  var items: [CheckpointValue] { if case .list(let items) = self { items } else { [] } }
  var number: Double? {
    switch self {
    case .float(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }
}

extension RestrictedPickle {
  private static let valueLimit = 20_000
  private static let depthLimit = 8

  /// A member of a dictionary by its name.
  func member(_ name: String, of reference: Int32) -> Int32? {
    guard case .dictionary(let index) = node(reference) else { return nil }
    return tables[index].last { text($0.key) == name }?.value
  }

  /// A plain copy; nil for one that is larger than any settings are.
  func value(_ reference: Int32) -> CheckpointValue? {
    var left = Self.valueLimit
    return value(reference, depth: 0, &left)
  }

  private func value(_ reference: Int32, depth: Int, _ left: inout Int) -> CheckpointValue? {
    left -= 1
    guard left > 0, depth < Self.depthLimit else { return nil }
    switch node(reference) {
    case .bool(let value): return .bool(value)
    case .integer(let value): return .integer(value)
    case .float(let value): return .float(value)
    case .text(let value): return .text(value)
    case .list(let index), .tuple(let index):
      var items: [CheckpointValue] = []
      for item in sequences[index] {
        guard let copy = value(item, depth: depth + 1, &left) else { return nil }
        items.append(copy)
      }
      return .list(items)
    case .dictionary(let index), .namespace(let index):
      var members: [String: CheckpointValue] = [:]
      for pair in tables[index] {
        guard let name = text(pair.key) else { continue }
        guard let copy = value(pair.value, depth: depth + 1, &left) else { return nil }
        members[name] = copy
      }
      return .table(members)
    default: return .other
    }
  }
}
