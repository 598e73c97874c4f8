// Pickles that want to run something, exhaust something, or lie about tensors.

import Quantization
import Testing

@Suite struct ReadersHostilePickleTests {
  private func legacyReason(_ pickle: [UInt8]) throws -> QuantizationError.Reason? {
    try reason(legacyFile(pickle))
  }

  @Test func honestOneIsRead() throws {
    let pickle = PickleBytes.single(shape: [2, 2], strides: [2, 1])
    for bytes in [legacyFile(pickle), zipFile(archiveParts(pickle))] {
      let file = try ScratchFile(bytes)
      #expect(try TensorDirectory.open(path: file.path).readFloat("a") == [1, 2, 3, 4])
    }
  }

  @Test(arguments: [
    ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("__builtin__", "getattr"),
    ("torch", "load"), ("torch.hub", "load"), ("numpy", "load"), ("__torch__", "Clip"),
    ("torch.storage", "_load_from_bytes"), ("collections", "namedtuple"), ("", ""),
  ])
  func otherGlobalsMakeNothing(module: String, name: String) throws {
    var pickle = PickleBytes()
    pickle.global(module, name)
    pickle.text("echo owned")
    pickle.op(0x85, 0x52, 0x2e)
    #expect(try reason(zipFile(archiveParts(pickle.bytes))) == .noTensors)
    var stacked = PickleBytes()
    stacked.text(module)
    stacked.text(name)
    stacked.op(0x93, 0x2e)
    #expect(try reason(zipFile(archiveParts(stacked.bytes))) == .noTensors)
  }

  /// A tensor beside something else, which `build` pushes.
  private func read(_ build: (inout PickleBytes) -> Void) throws -> [Float] {
    var pickle = PickleBytes()
    pickle.op(0x7d)
    pickle.text("other")
    build(&pickle)
    pickle.op(0x73)
    pickle.text("a")
    pickle.tensor(shape: [4], strides: [1])
    pickle.op(0x73, 0x2e)
    let file = try ScratchFile(zipFile(archiveParts(pickle.bytes)))
    return try TensorDirectory.open(path: file.path).readFloat("a")
  }

  /// Objects with a state, items appended to and set on one; lists and dictionaries by name, in Python 2's
  /// spelling, too.
  @Test(
    arguments: [
      ("my.project", "Thing"), ("collections", "deque"), ("__builtin__", "list"), ("__builtin__", "dict"),
      ("collections", "Counter"), ("numpy.core.multiarray", "scalar"), ("__builtin__", "set"),
      ("__builtin__", "complex"), ("builtins", "list"),
    ])
  func whatNobodyNeedsIsInert(_ module: String, _ name: String) throws {
    func object(_ pickle: inout PickleBytes) {
      pickle.global(module, name)
      pickle.op(0x29, 0x52)
    }
    let states: [(inout PickleBytes) -> Void] = [
      { $0.op(0x7d, 0x62) },
      { pickle in
        pickle.integer(1)
        pickle.op(0x61)
      },
      { pickle in
        pickle.text("k")
        pickle.integer(1)
        pickle.op(0x73)
      },
    ]
    for (index, state) in states.enumerated() {
      let found = try read { pickle in
        object(&pickle)
        state(&pickle)
      }
      #expect(found == [1, 2, 3, 4], "\(name), \(index)")
    }
    // defaultdict(NAME), with an item set on it.
    let found = try read { pickle in
      pickle.global("collections", "defaultdict")
      pickle.global(module, name)
      pickle.op(0x85, 0x52)
      pickle.text("key")
      pickle.integer(1)
      pickle.op(0x73)
    }
    #expect(found == [1, 2, 3, 4])
  }

  /// Tensors of numbers that nothing here reads.
  @Test(arguments: ["ComplexFloatStorage", "ComplexDoubleStorage", "QInt8Storage", "NewStorage"])
  func unreadNumbersAreLeftOut(_ type: String) throws {
    #expect(try read { $0.tensor(key: "9", shape: [4], strides: [1], type: type) } == [1, 2, 3, 4])
  }

  /// INST, OBJ, EXT1..4, PERSID, NEXT_BUFFER, READONLY_BUFFER, STRING, UNICODE, DUP and what no protocol has.
  @Test(arguments: [0x69, 0x6f, 0x82, 0x83, 0x84, 0x50, 0x97, 0x98, 0x53, 0x56, 0x32, 0x00, 0xff] as [UInt8])
  func opcodesOutsideTheList(code: UInt8) throws {
    #expect(try legacyReason([0x80, 2, code, 0x2e]) == .opcodeNotAllowed(code))
  }

  @Test func errorsSayWhere() throws {
    var pickle = PickleBytes()
    pickle.op(0x69, 0x2e)
    let file = try ScratchFile(zipFile(archiveParts(pickle.bytes)))
    guard case .failure(let error) = outcome(file.path) else { throw Unexpected() }
    #expect(error.name == "m/data.pkl" && error.offset == 30 + 10 + 2)
    #expect(error.description.hasPrefix("\(file.path): 'm/data.pkl' at byte 42: "))
  }

  /// Ten million levels: of lists in lists by opcode, of marks, and of tuples.
  @Test(arguments: [[0x5d], [0x28], [0x29, 0x85], [0x4e]] as [[UInt8]])
  func tenMillionDeep(unit: [UInt8]) throws {
    var bytes: [UInt8] = [0x80, 2]
    bytes.reserveCapacity(10_000_003)
    while bytes.count < 10_000_000 { bytes += unit }
    bytes.append(0x2e)
    guard case .limitExceeded = try legacyReason(bytes) else { throw Unexpected() }
  }

  /// A list appended into a list a hundred thousand times has a value, and no depth that hurts.
  @Test func deepButLegalIsBounded() throws {
    let depth = 100_000
    let bytes: [UInt8] =
      [0x80, 2] + [UInt8](repeating: 0x5d, count: depth) + [UInt8](repeating: 0x61, count: depth - 1) + [0x2e]
    guard case .limitExceeded(let what, _, _) = try legacyReason(bytes) else { throw Unexpected() }
    #expect(what == "levels of nesting")
  }

  @Test func cyclesEnd() throws {
    // a = []; a.append(a)   and   d = {}; d["d"] = d
    let list: [UInt8] = [0x80, 2, 0x5d, 0x71, 0, 0x68, 0, 0x61, 0x2e]
    var table = PickleBytes()
    table.op(0x7d, 0x71, 0)
    table.text("d")
    table.op(0x68, 0, 0x73, 0x2e)
    for bytes in [list, table.bytes] {
      guard case .limitExceeded = try legacyReason(bytes) else { throw Unexpected() }
    }
  }

  /// Each level holds the one below ten times: 10^40 paths from a few hundred bytes.
  @Test func sharedLevelsAreBounded() throws {
    var bytes: [UInt8] = [0x80, 2, 0x5d, 0x4e, 0x61, 0x71, 0]
    for level in 1..<40 {
      bytes += [0x5d, 0x28]
      for _ in 0..<10 { bytes += [0x68, UInt8(level - 1)] }
      bytes += [0x65, 0x71, UInt8(level)]
    }
    // Drop everything below the top.
    bytes += [0x85]
    for _ in 1..<40 { bytes += [0x86] }
    bytes.append(0x2e)
    guard case .limitExceeded = try legacyReason(bytes) else { throw Unexpected() }
  }

  /// A wide table without tensors that a list holds thousands of times: no level is deep, no value is copied.
  @Test func sharedWidthIsBounded() throws {
    var pickle = PickleBytes()
    pickle.op(0x7d, 0x28)
    for index in 0..<2_100 {
      pickle.integer(index)
      pickle.op(0x4e)
    }
    pickle.op(0x75, 0x71, 0, 0x30, 0x5d, 0x28)
    for _ in 0..<2_100 { pickle.op(0x68, 0) }
    pickle.op(0x65, 0x2e)
    guard case .limitExceeded(let what, _, _) = try legacyReason(pickle.bytes) else { throw Unexpected() }
    #expect(what == "values to walk")
  }

  /// One tensor below 130 times 130 places of a key of a thousand bytes: names many times the size of the
  /// file.
  @Test func namesAreBoundedInAll() throws {
    var pickle = PickleBytes()
    pickle.tensor(shape: [4], strides: [1])
    pickle.op(0x71, 0, 0x30)
    for level in 1...2 {
      pickle.op(0x5d, 0x28)
      for _ in 0..<130 { pickle.op(0x68, UInt8(level - 1)) }
      pickle.op(0x65, 0x71, UInt8(level), 0x30)
    }
    pickle.op(0x7d)
    pickle.text(String(repeating: "k", count: 1_000))
    pickle.op(0x68, 2, 0x73, 0x2e)
    guard case .limitExceeded(let what, _, _) = try legacyReason(pickle.bytes) else { throw Unexpected() }
    #expect(what == "bytes of names")
  }

  /// Twenty views of one number, four megabytes each.
  @Test func tensorsAreBoundedInAll() throws {
    var pickle = PickleBytes()
    pickle.op(0x7d)
    for index in 0..<20 {
      pickle.text("t\(index)")
      pickle.tensor(shape: [1_000_000], strides: [0])
      pickle.op(0x73)
    }
    pickle.op(0x2e)
    guard case .limitExceeded(let what, _, _) = try legacyReason(pickle.bytes) else { throw Unexpected() }
    #expect(what == "bytes of tensors")
  }

  /// One state of many attributes copied into a module over and over.
  @Test func repeatedBuildIsBounded() throws {
    var pickle = PickleBytes()
    pickle.op(0x7d, 0x28)
    for index in 0..<2_000 {
      pickle.integer(index)
      pickle.op(0x4e)
    }
    pickle.op(0x75, 0x71, 0, 0x30)
    pickle.global("__torch__", "M")
    pickle.op(0x29, 0x81)
    for _ in 0..<2_000 { pickle.op(0x68, 0, 0x62) }
    pickle.op(0x2e)
    let parts = archiveParts(pickle.bytes) + [ZipPart(name: "m/constants.pkl", body: [0x29, 0x2e])]
    guard case .limitExceeded(let what, _, _) = try reason(zipFile(parts)) else { throw Unexpected() }
    #expect(what == "copied pairs")
  }

  @Test func hugeDeclaredCounts() throws {
    for opcode in [[0x58], [0x54], [0x42]] as [[UInt8]] {
      let bytes = [0x80, 2] + opcode + little(0x7fff_ffff, 4) + [0x2e]
      guard case .truncated = try legacyReason(bytes) else { throw Unexpected() }
    }
    for opcode in [0x8d, 0x8e, 0x96] as [UInt8] {
      let bytes = [0x80, 4, opcode] + little(-1, 8) + [0x2e]
      guard case .truncated = try legacyReason(bytes) else { throw Unexpected() }
    }
  }

  @Test(
    arguments: [
      [0x2e], [0x30, 0x2e], [0x61, 0x2e], [0x65, 0x2e], [0x74, 0x2e], [0x75, 0x2e], [0x52, 0x2e],
      [0x62, 0x2e],
      [0x68, 5, 0x2e], [0x71, 5, 0x2e], [0x4e, 0x28, 0x85, 0x2e], [0x4e, 0x4e, 0x2e], [0x4e, 0x51, 0x2e],
      [0x7d, 0x28, 0x4e, 0x75, 0x2e], [0x4e, 0x4e, 0x61, 0x2e], [0x4e, 0x29, 0x52, 0x2e], [0x28, 0x2e],
      [0x4e, 0x4e, 0x93, 0x2e], [0x4e, 0x4e, 0x62, 0x2e], [0x31, 0x2e], [0x81, 0x2e], [0x92, 0x2e],
    ] as [[UInt8]])
  func misusedStack(body: [UInt8]) throws {
    guard case .malformed = try legacyReason([0x80, 2] + body) else { throw Unexpected() }
  }

  // MARK: Tensors that lie

  private struct Lie: Sendable {
    var elements = 4
    var offset = 0
    var shape: [Int]
    var strides: [Int]
    var type = "FloatStorage"
  }

  @Test func tensorsOutsideTheirStorage() throws {
    let lies = [
      Lie(shape: [5], strides: [1]), Lie(offset: 1, shape: [4], strides: [1]),
      Lie(shape: [2, 2], strides: [3, 1]),
      Lie(offset: -1, shape: [1], strides: [1]), Lie(offset: 5, shape: [0], strides: [1]),
      Lie(shape: [2], strides: [0x7fff_ffff]), Lie(shape: [2], strides: [-1]), Lie(shape: [-2], strides: [1]),
      Lie(shape: [2], strides: [1, 1]), Lie(elements: 5, shape: [4], strides: [1]),
      Lie(elements: -1, shape: [], strides: []), Lie(shape: [3], strides: [1], type: "DoubleStorage"),
      Lie(shape: [0x7fff_ffff, 0x7fff_ffff, 0x7fff_ffff], strides: [0, 0, 0]),
      Lie(shape: [0x7fff_ffff], strides: [0]),
      Lie(shape: [Int](repeating: 1, count: 17), strides: [Int](repeating: 1, count: 17)),
      Lie(elements: 0x7fff_ffff, shape: [4], strides: [1]),
    ]
    for lie in lies {
      let pickle = PickleBytes.single(
        elements: lie.elements, offset: lie.offset, shape: lie.shape, strides: lie.strides, type: lie.type)
      #expect(try legacyReason(pickle) != nil, "legacy, \(lie)")
      #expect(try reason(zipFile(archiveParts(pickle))) != nil, "zip, \(lie)")
    }
    #expect(
      try legacyReason(PickleBytes.single(shape: [5], strides: [1]))
        == .tensorOutsideStorage(lastElement: 4, storageElements: 4))
    #expect(try legacyReason(PickleBytes.single(shape: [2], strides: [-1])) == .negativeStride(-1))
    #expect(
      try legacyReason(PickleBytes.single(shape: [2], strides: [1, 1])) == .malformed("1 sizes and 2 strides")
    )
  }

  @Test func duplicateNames() throws {
    var pickle = PickleBytes()
    pickle.op(0x7d)
    for _ in 0..<2 {
      pickle.text("a")
      pickle.tensor(shape: [4], strides: [1])
      pickle.op(0x73)
    }
    pickle.op(0x2e)
    #expect(try legacyReason(pickle.bytes) == .duplicateName)
    var nested = PickleBytes()
    nested.op(0x7d)
    nested.text("a.b")
    nested.tensor(shape: [4], strides: [1])
    nested.op(0x73)
    nested.text("a")
    nested.op(0x7d)
    nested.text("b")
    nested.tensor(shape: [4], strides: [1])
    nested.op(0x73, 0x73, 0x2e)
    #expect(try legacyReason(nested.bytes) == .duplicateName)
  }

  @Test func noTensorsInside() throws {
    #expect(try legacyReason([0x80, 2, 0x7d, 0x2e]) == .noTensors)
    var lone = PickleBytes()
    lone.tensor(shape: [4], strides: [1])
    lone.op(0x2e)
    #expect(try legacyReason(lone.bytes) == .noTensors)
  }

  @Test func bigEndianIsRefused() throws {
    let pickle = PickleBytes.single(shape: [4], strides: [1])
    guard case .unsupported = try reason(legacyFile(pickle, littleEndian: false)) else { throw Unexpected() }
    let parts = archiveParts(pickle) + [ZipPart(name: "m/byteorder", body: Array("big".utf8))]
    guard case .unsupported = try reason(zipFile(parts)) else { throw Unexpected() }
  }
}

struct Unexpected: Error {}
