// The globals that mean something here, and what calling them means.

import System

/// What a global that a checkpoint names stands for.
enum PickleGlobal {
  /// nil: a storage of bare bytes.
  case storageType(ElementType?)
  /// A storage of numbers that nothing here reads: their type as PyTorch calls it, bytes of each.
  case unreadStorage(String, Int)
  case rebuildTensor
  case rebuildTensorTyped
  case rebuildParameter
  case rebuildFromType
  case orderedDictionary
  /// Its first argument makes what is missing; the pairs come behind it.
  case defaultDictionary
  /// A list, or what derives from one.
  case list
  case size
  /// Returns its first argument: type tags and list builders of TorchScript.
  case firstArgument
  case elementType(ElementType)
  /// One that nothing here reads.
  case unreadType(String)
  /// Attributes, as `argparse` keeps them.
  case namespace
  /// A class or function whose result holds no weights.
  case inert
  case module(String)

  /// What a name means; anything unknown is inert.
  static func named(_ module: String, _ name: String, allowsModules: Bool) -> PickleGlobal {
    if allowsModules && (module == "__torch__" || module.hasPrefix("__torch__.")) {
      return .module(module + "." + name)
    }
    switch module {
    case "torch", "torch.cuda", "torch.storage":
      if let type = storageTypes[name] { return .storageType(type) }
      if let found = unreadStorageTypes[name] { return .unreadStorage(found.type, found.size) }
      if name == "UntypedStorage" { return .storageType(nil) }
      if module == "torch", let type = dtypes[name] { return .elementType(type) }
      if module == "torch", unreadTypes.contains(name) { return .unreadType(name) }
    default: break
    }
    // Python 2 called modules otherwise.
    let home = Self.oldModules[module] ?? module
    return exact[home + " " + name] ?? .inert
  }

  private static let oldModules = [
    "__builtin__": "builtins", "UserDict": "collections", "UserList": "collections", "exceptions": "builtins",
  ]

  private static let storageTypes: [String: ElementType] = [
    "FloatStorage": .float32, "HalfStorage": .float16, "BFloat16Storage": .bfloat16,
    "DoubleStorage": .float64,
    "LongStorage": .int64, "IntStorage": .int32, "ShortStorage": .int16, "CharStorage": .int8,
    "ByteStorage": .uint8, "BoolStorage": .bool,
  ]

  private static let unreadStorageTypes: [String: (type: String, size: Int)] = [
    "ComplexFloatStorage": ("complex64", 8), "ComplexDoubleStorage": ("complex128", 16),
    "QInt8Storage": ("qint8", 1), "QUInt8Storage": ("quint8", 1), "QInt32Storage": ("qint32", 4),
    "QUInt4x2Storage": ("quint4x2", 1), "QUInt2x4Storage": ("quint2x4", 1),
  ]

  /// Source: PyTorch torch/csrc/utils/tensor_dtypes.cpp.
  private static let unreadTypes: Set<String> = [
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
    "float4_e2m1fn_x2", "uint16", "uint32", "uint64", "complex32", "complex64", "complex128", "qint8",
    "quint8", "qint32", "quint4x2", "quint2x4",
  ]

  private static let dtypes: [String: ElementType] = [
    "float32": .float32, "float16": .float16, "bfloat16": .bfloat16, "float64": .float64, "int64": .int64,
    "int32": .int32, "int16": .int16, "int8": .int8, "uint8": .uint8, "bool": .bool,
  ]

  private static let exact: [String: PickleGlobal] = {
    var table: [String: PickleGlobal] = [
      "torch._utils _rebuild_tensor": .rebuildTensor,
      "torch._utils _rebuild_tensor_v2": .rebuildTensor,
      "torch._utils _rebuild_tensor_v3": .rebuildTensorTyped,
      // Its storage is of quantized numbers, which nothing here reads.
      "torch._utils _rebuild_qtensor": .rebuildTensor,
      "torch._utils _rebuild_parameter": .rebuildParameter,
      "torch._utils _rebuild_parameter_with_state": .rebuildParameter,
      "torch._tensor _rebuild_from_type_v2": .rebuildFromType,
      "torch _rebuild_from_type_v2": .rebuildFromType,
      "collections OrderedDict": .orderedDictionary,
      "collections Counter": .orderedDictionary,
      "collections UserDict": .orderedDictionary,
      "collections defaultdict": .defaultDictionary,
      "builtins dict": .orderedDictionary,
      "builtins list": .list,
      "collections deque": .list,
      "torch Size": .size,
      "torch.jit._pickle restore_type_tag": .firstArgument,
      "torch.jit._pickle build_intlist": .firstArgument,
      "torch.jit._pickle build_tensorlist": .firstArgument,
      "torch.jit._pickle build_doublelist": .firstArgument,
      "torch.jit._pickle build_boollist": .firstArgument,
    ]
    for name in ["argparse Namespace", "types SimpleNamespace"] { table[name] = .namespace }
    return table
  }()
}

extension RestrictedPickle {
  /// GLOBAL, persistent ids, REDUCE, NEWOBJ, BUILD; false when `code` is not one of them.
  func runObject(_ code: UInt8) throws(QuantizationError) -> Bool {
    switch code {
    case 0x63:  // GLOBAL
      let module = try line()
      try pushGlobal(module, try line())
    case 0x93:  // STACK_GLOBAL
      let name = try pop()
      guard let module = text(try pop()), let name = text(name) else {
        throw malformed("a global's name is not a text")
      }
      try pushGlobal(module, name)
    case 0x51: try pushStorage(try pop())  // BINPERSID
    case 0x52:  // REDUCE
      let arguments = try pop()
      let function = try pop()
      guard case .tuple(let index) = node(arguments) else { throw malformed("arguments are not a tuple") }
      try call(function, sequences[index])
    case 0x81:  // NEWOBJ
      let arguments = try pop()
      let type = try pop()
      guard case .tuple(let index) = node(arguments) else { throw malformed("arguments are not a tuple") }
      try call(type, sequences[index])
    case 0x92:  // NEWOBJ_EX
      _ = try pop()
      let arguments = try pop()
      let type = try pop()
      guard case .tuple(let index) = node(arguments) else { throw malformed("arguments are not a tuple") }
      try call(type, sequences[index])
    case 0x62: try build(state: try pop())  // BUILD
    default: return false
    }
    return true
  }

  private func pushGlobal(_ module: String, _ name: String) throws(QuantizationError) {
    globals.append(PickleGlobal.named(module, name, allowsModules: allowsModules))
    try push(.global(globals.count - 1))
  }

  /// ("storage", type, key, location, element count), and in legacy files a view (key, offset, count) or
  /// None.
  private func pushStorage(_ identifier: Int32) throws(QuantizationError) {
    guard let parts = items(identifier), parts.count == 5 || parts.count == 6, text(parts[0]) == "storage",
      let key = text(parts[2]), let count = integer(parts[4]), count >= 0
    else { throw malformed("a persistent id that is not a storage") }
    let named: PickleGlobal
    switch node(parts[1]) {
    case .global(let index): named = globals[index]
    case .opaque: named = .inert
    default: throw malformed("a persistent id that is not a storage")
    }
    // Complex numbers, quantized ones: whatever hangs on them is not there, and known to be.
    switch named {
    case .unreadStorage(let type, let size):
      unreadStorages[key] = checkedProduct([count, size])
      return try push(.unread(type))
    case .inert: unreadStorages[key] = .some(nil)
    default: break
    }
    if unreadStorages[key] != nil { return try push(.opaque) }
    guard case .storageType(let type) = named else {
      throw malformed("a persistent id that is not a storage")
    }
    var storage = PickleStorage(key: key, elementType: type, elementCount: count)
    if parts.count == 6, let view = items(parts[5]) {
      guard view.count == 3, let offset = integer(view[1]), let viewCount = integer(view[2]),
        let end = checkedSum(offset, viewCount), end <= count
      else { throw malformed("a storage view outside its storage") }
      storage.viewOffset = offset
      storage.viewCount = viewCount
    }
    storages.append(storage)
    try push(.storage(storages.count - 1))
  }

  private func call(_ function: Int32, _ arguments: [Int32]) throws(QuantizationError) {
    // What an unknown class answers, too, is unknown.
    if case .opaque = node(function) { return try push(.opaque) }
    guard case .global(let index) = node(function) else {
      throw malformed("a call of something that is not a known function")
    }
    switch globals[index] {
    case .rebuildTensor: try pushTensor(arguments, typed: false)
    case .rebuildTensorTyped: try pushTensor(arguments, typed: true)
    case .rebuildParameter:
      guard let first = arguments.first else { throw malformed("a parameter without its tensor") }
      switch node(first) {
      case .tensor, .unread, .opaque: try pushReference(first)
      // A parameter that holds none, as libraries with lazy ones write it.
      case .none: try push(.opaque)
      default: throw malformed("a parameter without its tensor")
      }
    case .rebuildFromType:
      // (function, type, arguments, state): a tensor that carries Python attributes.
      if arguments.count >= 3, case .opaque = node(arguments[2]) { return try push(.opaque) }
      guard arguments.count >= 3, case .global(let inner) = node(arguments[0]),
        let innerArguments = items(arguments[2])
      else { throw malformed("a tensor subclass without its tensor") }
      switch globals[inner] {
      case .rebuildTensor: try pushTensor(innerArguments, typed: false)
      case .rebuildTensorTyped: try pushTensor(innerArguments, typed: true)
      default: try push(.opaque)
      }
    case .orderedDictionary: try pushDictionary(arguments)
    case .defaultDictionary: try pushDictionary(Array(arguments.dropFirst()))
    case .list:
      guard let first = arguments.first, let items = items(first) else {
        sequences.append([])
        return try push(.list(sequences.count - 1))
      }
      try chargeCopies(items.count)
      sequences.append(items)
      try push(.list(sequences.count - 1))
    case .size:
      guard let first = arguments.first, items(first) != nil else {
        throw malformed("a size without numbers")
      }
      try pushReference(first)
    case .firstArgument:
      guard let first = arguments.first else { throw malformed("a call without arguments") }
      try pushReference(first)
    case .namespace:
      tables.append([])
      try push(.namespace(tables.count - 1))
    case .inert: try push(.opaque)
    case .module(let name):
      if rootClass == nil { rootClass = name }
      tables.append([])
      try push(.module(tables.count - 1))
    case .storageType, .unreadStorage, .elementType, .unreadType:
      throw malformed("a call of something that is not a function")
    }
  }

  /// (storage, offset, shape, strides, two that mean nothing here, what else is told); the typed form has the
  /// element type at index 6.
  private func pushTensor(_ arguments: [Int32], typed: Bool) throws(QuantizationError) {
    switch arguments.first.map({ node($0) }) {
    case .opaque?: return try push(.opaque)
    case .unread(let type)?: return try push(.unread(type))
    default: break
    }
    guard arguments.count >= (typed ? 7 : 4), case .storage(let storage) = node(arguments[0]),
      let offset = integer(arguments[1]), let shape = integers(arguments[2]),
      let strides = integers(arguments[3])
    else { throw malformed("a tensor without storage, offset, shape and strides") }
    var type = storages[storage].elementType ?? .uint8
    if typed {
      switch node(arguments[6]) {
      case .opaque: return try push(.opaque)
      case .global(let index):
        if case .inert = globals[index] { return try push(.opaque) }
        if case .unreadType(let type) = globals[index] { return try push(.unread(type)) }
        guard case .elementType(let declared) = globals[index] else {
          throw malformed("a tensor without its element type")
        }
        type = declared
      default: throw malformed("a tensor without its element type")
      }
    }
    var tensor = PickleTensor(
      storage: storage, offset: offset, shape: shape, strides: strides, elementType: type)
    // Conjugation, the other thing that is told there, changes no real number.
    let place = typed ? 7 : 6
    if arguments.count > place, let value = member("neg", of: arguments[place]),
      case .bool(true) = node(value)
    {
      tensor.isNegated = true
    }
    tensors.append(tensor)
    try push(.tensor(tensors.count - 1))
  }

  /// Empty, or a list of pairs as Python 2 wrote it.
  private func pushDictionary(_ arguments: [Int32]) throws(QuantizationError) {
    try pushTable()
    guard let first = arguments.first, let pairs = items(first) else { return }
    try chargeCopies(pairs.count)
    for pair in pairs {
      guard let pair = items(pair), pair.count == 2 else {
        throw malformed("a dictionary of things not pairs")
      }
      tables[tables.count - 1].append((key: pair[0], value: pair[1]))
    }
  }

  /// Copying one large table over and over is the only way to outgrow the input; it is bounded here.
  private func chargeCopies(_ count: Int) throws(QuantizationError) {
    copiedPairs += count
    if copiedPairs > Self.nodeLimit { throw limit("copied pairs", Self.nodeLimit, copiedPairs) }
  }

  private func build(state: Int32) throws(QuantizationError) {
    switch node(try top()) {
    case .module(let index):
      // A module with its own __getstate__ may give anything; only attributes can hold parameters.
      if case .dictionary(let source) = node(state) {
        try chargeCopies(tables[source].count)
        tables[index].append(contentsOf: tables[source])
      }
    case .namespace(let index):
      if case .dictionary(let source) = node(state) {
        try chargeCopies(tables[source].count)
        tables[index].append(contentsOf: tables[source])
      }
    case .dictionary, .list, .tuple, .opaque, .unread, .tensor, .storage, .global: break
    default: throw malformed("a state for something that has none")
    }
  }
}
