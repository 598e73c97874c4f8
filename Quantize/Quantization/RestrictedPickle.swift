// A pickle machine that can build tables of tensors and nothing else.

import System

/// A value on the machine's stack. Containers are indices, so that neither cycles nor depth cost anything.
enum PickleNode {
  case none
  case bool(Bool)
  case integer(Int)
  /// More than 64 bits, as decimal text or as little-endian hexadecimal with prefix 0x.
  case bigInteger(String)
  case float(Double)
  case text(String)
  case tuple(Int)
  case list(Int)
  case dictionary(Int)
  case global(Int)
  case storage(Int)
  case tensor(Int)
  /// A storage or tensor of numbers that nothing here reads, by their type.
  case unread(String)
  /// A TorchScript module: a table of attributes.
  case module(Int)
  /// Attributes of an `argparse.Namespace`: what a training run was told.
  case namespace(Int)
  /// Something that holds no weights we could use: a numpy number, bytes, a set, an object of an unknown
  /// class.
  case opaque
}

/// What a persistent id says about a storage.
///
/// - Units: `elementCount`, `viewOffset` and `viewCount` in elements of `elementType`; bytes when that is
///   nil.
struct PickleStorage {
  var key: String
  var elementType: ElementType?
  var elementCount: Int
  var viewOffset = 0
  var viewCount: Int?
}

/// The arguments of a tensor's rebuild function.
struct PickleTensor {
  var storage: Int
  var offset: Int
  var shape: [Int]
  var strides: [Int]
  var elementType: ElementType
  /// Whether the numbers meant are those of the storage with the other sign.
  var isNegated = false
}

/// Runs one or more pickles of protocols 1 to 5 over a range of a file.
///
/// Opcodes are an allow-list: whatever is not needed to describe tensors stops the run. No name is looked up,
/// no object is made, nothing is called; REDUCE and BUILD only interpret the few functions of `PickleGlobal`.
/// Any other global is a placeholder: what it makes holds nothing, and a tensor that depends on it is not
/// there.
///
/// - Memory: at most `nodeLimit` values of 24 bytes and as many references; texts, at most `byteLimit` in
///   all.
/// - Errors: `opcodeNotAllowed`, `malformed`, `truncated`, `limitExceeded`, each with its
///   byte.
/// - Source: CPython Lib/pickletools.py for the opcodes; PyTorch torch/_utils.py for the functions.
final class RestrictedPickle {
  static let byteLimit = 64 << 20
  static let nodeLimit = 2 << 20
  static let stepLimit = 8 << 20
  static let stackLimit = 1 << 20
  static let textLimit = 16 << 20

  let reader: FileCursor<QuantizationError>
  /// Archive entry named in errors.
  let entryName: String?
  /// TorchScript: classes below `__torch__` stand for modules.
  let allowsModules: Bool

  var nodes: [PickleNode] = []
  var sequences: [[Int32]] = []
  var tables: [[(key: Int32, value: Int32)]] = []
  var globals: [PickleGlobal] = []
  var storages: [PickleStorage] = []
  var tensors: [PickleTensor] = []
  /// Storages of element types that nothing here reads, with their bytes; nil where those are not known.
  var unreadStorages: [String: Int?] = [:]
  /// Class of the root module, for provenance.
  var rootClass: String?

  var stack: [Int32] = []
  var marks: [Int] = []
  var memo: [Int: Int32] = [:]
  var opcodeOffset = 0
  var copiedPairs = 0

  init(reader: FileCursor<QuantizationError>, entryName: String?, allowsModules: Bool) {
    self.reader = reader
    self.entryName = entryName
    self.allowsModules = allowsModules
  }

  /// Runs to the next STOP and returns its value; values of earlier runs stay valid.
  func run() throws(QuantizationError) -> Int32 {
    stack.removeAll()
    marks.removeAll()
    memo.removeAll()
    let start = reader.position
    var steps = 0
    while true {
      opcodeOffset = reader.position
      let code = try reader.byte()
      if code == 0x2e { break }
      steps += 1
      if steps > Self.stepLimit { throw limit("pickle steps", Self.stepLimit, steps) }
      if reader.position - start > Self.byteLimit {
        throw limit("pickle bytes", Self.byteLimit, reader.position - start)
      }
      if try runConstant(code) { continue }
      if try runContainer(code) { continue }
      if try runObject(code) { continue }
      throw fault(.opcodeNotAllowed(code))
    }
    let root = try pop()
    if !marks.isEmpty || !stack.isEmpty { throw malformed("the pickle stops with values left over") }
    return root
  }

  // MARK: Errors

  func fault(_ reason: QuantizationError.Reason) -> QuantizationError {
    reader.file.error(reason, at: opcodeOffset, name: entryName)
  }

  func malformed(_ what: String) -> QuantizationError { fault(.malformed(what)) }

  func limit(_ what: String, _ limit: Int, _ found: Int) -> QuantizationError {
    fault(.limitExceeded(what: what, limit: limit, found: found))
  }

  // MARK: Stack

  func push(_ node: PickleNode) throws(QuantizationError) {
    if nodes.count >= Self.nodeLimit { throw limit("pickle values", Self.nodeLimit, nodes.count + 1) }
    nodes.append(node)
    try pushReference(Int32(nodes.count - 1))
  }

  func pushReference(_ reference: Int32) throws(QuantizationError) {
    if stack.count >= Self.stackLimit { throw limit("pickle stack", Self.stackLimit, stack.count + 1) }
    stack.append(reference)
  }

  /// Takes the top value; values below the last mark are out of reach.
  func pop() throws(QuantizationError) -> Int32 {
    if stack.count <= (marks.last ?? 0) { throw malformed("the pickle's stack is empty") }
    return stack.removeLast()
  }

  func top() throws(QuantizationError) -> Int32 {
    guard stack.count > (marks.last ?? 0), let last = stack.last else {
      throw malformed("the pickle's stack is empty")
    }
    return last
  }

  func popToMark() throws(QuantizationError) -> [Int32] {
    guard let mark = marks.popLast() else { throw malformed("no mark on the pickle's stack") }
    let items = Array(stack[mark...])
    stack.removeSubrange(mark...)
    return items
  }

  func pushTuple(_ items: [Int32]) throws(QuantizationError) {
    sequences.append(items)
    try push(.tuple(sequences.count - 1))
  }

  func pushTable() throws(QuantizationError) {
    tables.append([])
    try push(.dictionary(tables.count - 1))
  }

  // MARK: Looking at values

  func node(_ reference: Int32) -> PickleNode { nodes[Int(reference)] }

  func text(_ reference: Int32) -> String? {
    if case .text(let text) = node(reference) { return text }
    return nil
  }

  func integer(_ reference: Int32) -> Int? {
    if case .integer(let value) = node(reference) { return value }
    return nil
  }

  /// The items of a tuple or list.
  func items(_ reference: Int32) -> [Int32]? {
    switch node(reference) {
    case .tuple(let index), .list(let index): return sequences[index]
    default: return nil
    }
  }

  func integers(_ reference: Int32) -> [Int]? {
    guard let items = items(reference), items.count <= 64 else { return nil }
    var numbers: [Int] = []
    for item in items {
      guard let number = integer(item) else { return nil }
      numbers.append(number)
    }
    return numbers
  }
}
