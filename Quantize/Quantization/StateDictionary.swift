// Flattening what a pickle built into dotted tensor names.

import System

/// Walks dictionaries, lists and modules and names every tensor by its path: `teacher.backbone.norm.weight`.
///
/// - Memory: the names. A table that many others share is walked once for each path to it, and names every
///   tensor below it anew, so steps and names are bounded.
/// - Errors: `limitExceeded` past `depthLimit` levels (which ends cycles too), `stepLimit` values,
///   `TensorDirectory.tensorLimit` tensors or `nameTotal` bytes of names; `noTensors` for a lone tensor,
///   which has no name.
struct StateDictionary {
  static let depthLimit = 64
  static let stepLimit = 4 << 20
  static let nameLimit = 1024
  static let nameTotal = 16 << 20

  private let pickle: RestrictedPickle
  private let file: InputFile
  private var steps = 0
  private var nameByteCount = 0
  private(set) var tensors: [(name: String, tensor: PickleTensor)] = []
  /// Types of those that nothing here reads, by name.
  private(set) var unreadable: [String: String] = [:]

  init(pickle: RestrictedPickle, root: Int32) throws(QuantizationError) {
    self.pickle = pickle
    file = pickle.reader.file
    try visit(root, name: "", depth: 0)
  }

  private mutating func visit(_ reference: Int32, name: String, depth: Int) throws(QuantizationError) {
    try step(1, name)
    switch pickle.node(reference) {
    case .tensor(let index):
      try count(name)
      tensors.append((name, pickle.tensors[index]))
    case .unread(let type):
      try count(name)
      unreadable[name] = type
    case .dictionary(let index), .module(let index):
      try step(pickle.tables[index].count, name)
      for (key, value) in pickle.tables[index] {
        guard holdsTensors(value) else { continue }
        guard let part = pickle.text(key) ?? pickle.integer(key).map(String.init) else { continue }
        try visit(value, name: try join(name, part, depth: depth), depth: depth + 1)
      }
    case .list(let index), .tuple(let index):
      try step(pickle.sequences[index].count, name)
      for (position, value) in pickle.sequences[index].enumerated() where holdsTensors(value) {
        try visit(value, name: try join(name, String(position), depth: depth), depth: depth + 1)
      }
    default: break
    }
  }

  /// Counts values, looked at or passed over.
  private mutating func step(_ count: Int, _ name: String) throws(QuantizationError) {
    steps += count
    if steps > Self.stepLimit {
      throw file.error(
        .limitExceeded(what: "values to walk", limit: Self.stepLimit, found: steps), name: name)
    }
  }

  /// Counts one more tensor of a name.
  private mutating func count(_ name: String) throws(QuantizationError) {
    if name.isEmpty { throw file.error(.noTensors) }
    let found = tensors.count + unreadable.count
    if found >= TensorDirectory.tensorLimit {
      throw file.error(
        .limitExceeded(what: "tensors", limit: TensorDirectory.tensorLimit, found: found + 1))
    }
    nameByteCount += name.utf8.count
    if nameByteCount > Self.nameTotal {
      throw file.error(
        .limitExceeded(what: "bytes of names", limit: Self.nameTotal, found: nameByteCount), name: name)
    }
  }

  /// Scalars and opaque values need no name.
  private func holdsTensors(_ reference: Int32) -> Bool {
    switch pickle.node(reference) {
    case .tensor, .unread: return true
    case .dictionary(let index), .module(let index): return !pickle.tables[index].isEmpty
    case .list(let index), .tuple(let index): return !pickle.sequences[index].isEmpty
    default: return false
    }
  }

  private func join(_ name: String, _ part: String, depth: Int) throws(QuantizationError) -> String {
    if depth >= Self.depthLimit {
      throw file.error(
        .limitExceeded(what: "levels of nesting", limit: Self.depthLimit, found: depth + 1), name: name)
    }
    let count = name.utf8.count + part.utf8.count + 1
    if count > Self.nameLimit {
      throw file.error(.limitExceeded(what: "name bytes", limit: Self.nameLimit, found: count), name: part)
    }
    return name.isEmpty ? part : name + "." + part
  }
}
