// Plain values of a checkpoint that are not tensors: what a training run was told.

/// A number, a text, or a container of them.
indirect enum CheckpointValue {
  case nothing
  case bool(Bool)
  case integer(Int)
  case float(Double)
  case text(String)
  case list([CheckpointValue])
  /// A dictionary or a namespace.
  case table([String: CheckpointValue])
  /// An object of a class that means nothing here, or a container larger or deeper than any settings are.
  case unreadable

  subscript(name: String) -> CheckpointValue? {
    if case .table(let members) = self { return members[name] }
    return nil
  }
  var text: String? { if case .text(let value) = self { value } else { nil } }
  /// A whole number, however it is written.
  var integer: Int? {
    switch self {
    case .integer(let value): value
    case .float(let value): Int(exactly: value)
    default: nil
    }
  }
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
  private static let valueLimit = 400_000
  /// Values of one setting, and items of one container.
  private static let settingLimit = 20_000
  private static let itemLimit = 4096
  private static let depthLimit = 8

  /// A member of a dictionary by its name.
  func member(_ name: String, of reference: Int32) -> Int32? {
    guard case .dictionary(let index) = node(reference) else { return nil }
    return tables[index].last { text($0.key) == name }?.value
  }

  /// A plain copy of settings, each of which is unreadable by itself.
  func settings(_ reference: Int32) -> CheckpointValue {
    guard case .dictionary(let index) = node(reference) else {
      guard case .namespace(let index) = node(reference) else { return .unreadable }
      return settings(table: index)
    }
    return settings(table: index)
  }

  private func settings(table index: Int) -> CheckpointValue {
    var left = Self.valueLimit
    var members: [String: CheckpointValue] = [:]
    for pair in tables[index] {
      guard let name = text(pair.key) else { continue }
      let share = min(left, Self.settingLimit)
      var rest = share
      members[name] = value(pair.value, depth: 1, &rest)
      left -= share - rest
    }
    return .table(members)
  }

  private func value(_ reference: Int32, depth: Int, _ left: inout Int) -> CheckpointValue {
    guard left > 0, depth < Self.depthLimit else { return .unreadable }
    left -= 1
    switch node(reference) {
    case .none: return .nothing
    case .bool(let value): return .bool(value)
    case .integer(let value): return .integer(value)
    case .float(let value): return .float(value)
    case .text(let value): return .text(value)
    case .list(let index), .tuple(let index):
      guard sequences[index].count <= Self.itemLimit else { return .unreadable }
      var items: [CheckpointValue] = []
      for item in sequences[index] { items.append(value(item, depth: depth + 1, &left)) }
      return .list(items)
    case .dictionary(let index), .namespace(let index):
      guard tables[index].count <= Self.itemLimit else { return .unreadable }
      var members: [String: CheckpointValue] = [:]
      for pair in tables[index] {
        if let name = text(pair.key) { members[name] = value(pair.value, depth: depth + 1, &left) }
      }
      return .table(members)
    default: return .unreadable
    }
  }
}
