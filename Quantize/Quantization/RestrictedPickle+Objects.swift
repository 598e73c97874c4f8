// The allowed globals, and what calling them means here.

/// A global that a checkpoint may name.
enum PickleGlobal {
  /// nil: a storage of bare bytes.
  case storageType(ElementType?)
  case rebuildTensor
  case rebuildTensorTyped
  case rebuildParameter
  case rebuildFromType
  case orderedDictionary
  case size
  /// Returns its first argument: type tags and list builders of TorchScript.
  case firstArgument
  case elementType(ElementType)
  /// A class or function whose result holds no weights.
  case inert
  case module(String)

  /// The allow-list.
  static func named(_ module: String, _ name: String, allowsModules: Bool) -> PickleGlobal? {
    if allowsModules && (module == "__torch__" || module.hasPrefix("__torch__.")) {
      return .module(module + "." + name)
    }
    switch module {
    case "torch", "torch.cuda", "torch.storage":
      if let type = storageTypes[name] { return .storageType(type) }
      if name == "UntypedStorage" { return .storageType(nil) }
      if module == "torch", let type = dtypes[name] { return .elementType(type) }
    default: break
    }
    return exact[module + " " + name]
  }

  private static let storageTypes: [String: ElementType] = [
    "FloatStorage": .float32, "HalfStorage": .float16, "BFloat16Storage": .bfloat16,
    "DoubleStorage": .float64,
    "LongStorage": .int64, "IntStorage": .int32, "ShortStorage": .int16, "CharStorage": .int8,
    "ByteStorage": .uint8, "BoolStorage": .bool,
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
      "torch._utils _rebuild_parameter": .rebuildParameter,
      "torch._utils _rebuild_parameter_with_state": .rebuildParameter,
      "torch._tensor _rebuild_from_type_v2": .rebuildFromType,
      "torch _rebuild_from_type_v2": .rebuildFromType,
      "collections OrderedDict": .orderedDictionary,
      "collections Counter": .orderedDictionary,
      "torch Size": .size,
      "torch.jit._pickle restore_type_tag": .firstArgument,
      "torch.jit._pickle build_intlist": .firstArgument,
      "torch.jit._pickle build_tensorlist": .firstArgument,
      "torch.jit._pickle build_doublelist": .firstArgument,
      "torch.jit._pickle build_boollist": .firstArgument,
    ]
    for name in inertNames { table[name] = .inert }
    return table
  }()

  /// Found in the arguments, optimizer and random state of training checkpoints.
  private static let inertNames = [
    "argparse Namespace", "types SimpleNamespace", "torch device", "torch Tensor",
    "torch.nn.parameter Parameter",
    "torch.nn.parameter Buffer", "torch._C _disabled_torch_function_impl", "collections defaultdict",
    "numpy dtype", "numpy ndarray", "numpy.core.multiarray scalar", "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray scalar", "numpy._core.multiarray _reconstruct", "_codecs encode",
    "builtins set", "builtins frozenset", "builtins bytearray", "builtins complex", "builtins range",
    "builtins slice", "builtins dict", "builtins list", "__builtin__ set", "__builtin__ frozenset",
    "__builtin__ bytearray", "pathlib PosixPath", "pathlib PurePosixPath", "pathlib WindowsPath",
    "pathlib PureWindowsPath", "pathlib._local PosixPath", "pathlib._local WindowsPath", "datetime datetime",
    "datetime timedelta", "datetime date",
  ]
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
    guard let global = PickleGlobal.named(module, name, allowsModules: allowsModules) else {
      throw fault(.globalNotAllowed(module + "." + name))
    }
    globals.append(global)
    try push(.global(globals.count - 1))
  }

  /// ("storage", type, key, location, element count), and in legacy files a view (key, offset, count) or
  /// None.
  private func pushStorage(_ identifier: Int32) throws(QuantizationError) {
    guard let parts = items(identifier), parts.count == 5 || parts.count == 6, text(parts[0]) == "storage",
      case .global(let index) = node(parts[1]), case .storageType(let type) = globals[index],
      let key = text(parts[2]), let count = integer(parts[4]), count >= 0
    else { throw malformed("a persistent id that is not a storage") }
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
    guard case .global(let index) = node(function) else {
      throw malformed("a call of something that is not a known function")
    }
    switch globals[index] {
    case .rebuildTensor: try pushTensor(arguments, typed: false)
    case .rebuildTensorTyped: try pushTensor(arguments, typed: true)
    case .rebuildParameter:
      guard let first = arguments.first, case .tensor = node(first) else {
        throw malformed("a parameter without its tensor")
      }
      try pushReference(first)
    case .rebuildFromType:
      // (function, type, arguments, state): a tensor that carries Python attributes.
      guard arguments.count >= 3, case .global(let inner) = node(arguments[0]),
        let innerArguments = items(arguments[2])
      else { throw malformed("a tensor subclass without its tensor") }
      switch globals[inner] {
      case .rebuildTensor: try pushTensor(innerArguments, typed: false)
      case .rebuildTensorTyped: try pushTensor(innerArguments, typed: true)
      default: throw malformed("a tensor subclass without its tensor")
      }
    case .orderedDictionary: try pushDictionary(arguments)
    case .size:
      guard let first = arguments.first, items(first) != nil else {
        throw malformed("a size without numbers")
      }
      try pushReference(first)
    case .firstArgument:
      guard let first = arguments.first else { throw malformed("a call without arguments") }
      try pushReference(first)
    case .inert: try push(.opaque)
    case .module(let name):
      if rootClass == nil { rootClass = name }
      tables.append([])
      try push(.module(tables.count - 1))
    case .storageType, .elementType: throw malformed("a call of something that is not a function")
    }
  }

  /// (storage, offset, shape, strides, ...); the typed form has the element type at index 6.
  private func pushTensor(_ arguments: [Int32], typed: Bool) throws(QuantizationError) {
    guard arguments.count >= (typed ? 7 : 4), case .storage(let storage) = node(arguments[0]),
      let offset = integer(arguments[1]), let shape = integers(arguments[2]),
      let strides = integers(arguments[3])
    else { throw malformed("a tensor without storage, offset, shape and strides") }
    var type = storages[storage].elementType ?? .uint8
    if typed {
      guard case .global(let index) = node(arguments[6]), case .elementType(let declared) = globals[index]
      else {
        throw malformed("a tensor without its element type")
      }
      type = declared
    }
    tensors.append(
      PickleTensor(storage: storage, offset: offset, shape: shape, strides: strides, elementType: type))
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
    case .dictionary, .opaque, .tensor: break
    default: throw malformed("a state for something that has none")
    }
  }
}
