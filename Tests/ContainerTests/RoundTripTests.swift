// Writer then reader is identity; the writer leaves no litter; an independent reader agrees.
import Container
import Foundation
import TestSupport
import Testing

@Suite struct RoundTripTests {
  private let temporaryFiles = TemporaryFiles()

  @Test func valuesAndTensorsComeBack() throws {
    let folder = TemporaryFolder()
    let path = folder.file("m.gguf")
    try Sample.write(to: path)
    let model = try MappedModel(path: path)
    for (key, value) in Sample.values { #expect(try model.value(key) == value, "\(key)") }
    #expect(model.keys.first == "general.alignment")
    #expect(model.keys.last == "trident.header_crc32")
    #expect(try model.string("general.name") == "sample, with ümlauts")
    #expect(try model.uint("sample.u8") == 200)
    #expect(try model.uint("sample.u64") == 1 << 40)
    #expect(try model.float("sample.f32") == 1.5)
    #expect(try model.float("sample.f64") == 0.25)
    #expect(try model.uints("sample.counts") == [2, 5, 8])
    #expect(try model.count("sample.merges") == 3)
    var merges: [String] = []
    try model.strings("sample.merges") { index, text in
      #expect(index == merges.count)
      merges.append(String(decoding: text, as: UTF8.self))
    }
    #expect(merges == ["a b", "", "c d"])
    for (index, declared) in Sample.tensors.enumerated() {
      let pointer = try model.bytes(declared.name, type: declared.type, dimensions: declared.dimensions)
      #expect(Int(bitPattern: pointer) % 64 == 0)
      let record = try model.tensor(declared.name)
      #expect([UInt8](UnsafeRawBufferPointer(start: pointer, count: record.byteCount)) == Sample.bytes(index))
    }
    try model.verify { done, total in #expect(done <= total) }
    try model.verifyTensor("third")
    try model.checkUnchanged()
    #expect(model.residentByteCount() > 0)
    model.advise(0..<Int.max, .willNeed)
    model.advise(-5..<model.byteCount, .dontNeed)
    #expect(try model.string("trident.model_id").count == 64)
  }

  @Test func sameInputsSameBytesWhateverThePieces() throws {
    let folder = TemporaryFolder()
    try Sample.write(to: folder.file("a"), pieces: 1)
    try Sample.write(to: folder.file("b"), pieces: 100_000)
    #expect(folder.read("a") == folder.read("b"))
    #expect(folder.names == ["a", "b"])
  }

  @Test func existingFilesAreKeptUnlessToldOtherwise() throws {
    let folder = TemporaryFolder()
    let path = folder.write([1, 2, 3], "m")
    #expect(throws: ContainerError(.alreadyExists, path: path)) { try Sample.write(to: path) }
    #expect(folder.read("m") == [1, 2, 3])
    try Sample.write(to: path, overwrite: true)
    _ = try MappedModel(path: path)
    #expect(folder.names == ["m"])
  }

  @Test func unfinishedWritersLeaveNothing() throws {
    let folder = TemporaryFolder()
    let path = folder.file("m")
    do {
      let writer = try ModelWriter(path: path, values: [], tensors: Sample.tensors, overwrite: false)
      try Sample.bytes(0).withUnsafeBytes { try writer.append($0) }
      #expect(folder.names.count == 1 && folder.names[0].hasSuffix(".part"))
      #expect(throws: ContainerError.self) { try writer.finish() }
    }
    #expect(folder.names.isEmpty)
    let writer = try ModelWriter(path: path, values: [], tensors: Sample.tensors, overwrite: false)
    #expect(throws: ContainerError(.wrongByteCount(expected: 12, found: 13), path: path, name: "first")) {
      try [UInt8](repeating: 0, count: 13).withUnsafeBytes { try writer.append($0) }
    }
    writer.discard()
    #expect(folder.names.isEmpty)
    #expect(throws: ContainerError.self) {
      try ModelWriter(path: folder.file("no/such/m"), values: [], tensors: [], overwrite: false)
    }
  }

  /// Whoever ends last is whole; files that others call so are nobody's temporary ones.
  @Test func twoWritersAtOnce() throws {
    let folder = TemporaryFolder()
    let path = folder.file("m")
    for name in ["m.partial", "m.uncalibrated"] { _ = folder.write([1, 2, 3], name) }
    let first = try ModelWriter(path: path, values: [], tensors: Sample.tensors, overwrite: true)
    try Sample.write(to: path)
    #expect(throws: ContainerError(.alreadyExists, path: path)) { try Sample.write(to: path) }
    first.discard()
    _ = try MappedModel(path: path)
    #expect(folder.names.sorted() == ["m", "m.partial", "m.uncalibrated"])
    #expect(folder.read("m.partial") == [1, 2, 3] && folder.read("m.uncalibrated") == [1, 2, 3])
  }

  @Test func linksAreFollowedAndOthersRefused() throws {
    let folder = TemporaryFolder()
    _ = folder.write([1], "m")
    symlink("m", folder.file("link"))
    try Sample.write(to: folder.file("link"), overwrite: true)
    _ = try MappedModel(path: folder.file("m"))
    var status = stat()
    lstat(folder.file("link"), &status)
    #expect(status.st_mode & S_IFMT == S_IFLNK)
    mkfifo(folder.file("pipe"), 0o600)
    mkdir(folder.file("folder"), 0o700)
    for name in ["pipe", "folder"] {
      #expect(throws: ContainerError(.notRegularFile, path: folder.file(name))) {
        try Sample.write(to: folder.file(name), overwrite: true)
      }
    }
    symlink("nowhere", folder.file("broken"))
    #expect(
      throws: ContainerError(.io(operation: "follow the link", code: ENOENT), path: folder.file("broken"))
    ) {
      try Sample.write(to: folder.file("broken"), overwrite: true)
    }
    #expect(folder.names.sorted() == ["broken", "folder", "link", "m", "pipe"])
  }

  @Test func declarationsAreChecked() {
    func encode(_ tensors: [TensorDeclaration], _ values: [(key: String, value: GGUFValue)] = []) throws {
      _ = try GGUFHeader.encode(values: values, tensors: tensors)
    }
    let one = TensorDeclaration(name: "a", type: .f32, dimensions: [1])
    #expect(throws: ContainerError(.duplicateTensor, name: "a")) { try encode([one, one]) }
    #expect(throws: ContainerError(.duplicateKey, name: "k")) {
      try encode([], [("k", .bool(true)), ("k", .bool(true))])
    }
    #expect(throws: ContainerError(.invalidDimension(0), name: "z")) {
      try encode([TensorDeclaration(name: "z", type: .f32, dimensions: [3, 0])])
    }
    #expect(throws: ContainerError(.overflow(what: "tensor size"), name: "z")) {
      try encode([TensorDeclaration(name: "z", type: .f32, dimensions: [Int.max, 2])])
    }
    let long = String(repeating: "n", count: 64)
    #expect(throws: ContainerError(.tooLarge(what: "tensor name length", found: 64, limit: 63), name: long)) {
      try encode([TensorDeclaration(name: long, type: .f32, dimensions: [1])])
    }
  }

  @Test(.enabled(if: Judge.isAvailable, "needs python3 with the gguf package"))
  func theJudgeListsTheSame() throws {
    let folder = TemporaryFolder()
    let path = folder.file("m.gguf")
    try Sample.write(to: path)
    let model = try MappedModel(path: path)
    let listing = try #require(Judge.list(path))
    let lines = listing.split(separator: "\n").map(String.init)
    let tensors = lines.filter { $0.hasPrefix("tensor ") }
    let checksums = try model.uints("trident.tensor_crc32")
    let expected = model.tensors.enumerated().map { index, record in
      let shape = record.dimensions.map { String($0) }.joined(separator: ",")
      let place = "\(record.byteCount) \(record.offset) \(checksums[index])"
      return "tensor \(record.name) \(record.type) \(shape) \(place)"
    }
    #expect(tensors == expected)
    let keys = lines.filter { $0.hasPrefix("key ") }.map { $0.split(separator: " ")[1] }
    #expect(keys.map(String.init) == model.keys)
    #expect(lines.contains("key sample.i32 INT32 -70000"))
    #expect(lines.contains("key sample.merges ARRAY/STRING 3 items"))
  }
}

/// The PyPI package as an independent reader.
enum Judge {
  static let script = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Fixtures/gguf-judge.py")
    .path

  static let isAvailable = run("--probe") != nil

  static func list(_ path: String) -> String? { run(path) }

  private static func run(_ argument: String) -> String? {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", script, argument]
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return nil }
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return process.terminationStatus == 0 ? String(decoding: output, as: UTF8.self) : nil
  }
}
