// One minimal file per error, truncation at every length, and flipped bits.
import Container
import Foundation
import TestSupport
import Testing

@Suite struct HostileFileTests {
  private let temporaryFiles = TemporaryFiles()

  private func expect(
    _ reason: ContainerError.Reason, at offset: Int?, name: String? = nil, _ build: () -> RawFile,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(throws: ContainerError(reason, offset: offset, name: name), sourceLocation: sourceLocation) {
      _ = try build().decode()
    }
  }

  private func file(tensors: UInt64 = 0, keys: UInt64 = 0, _ fill: (inout RawFile) -> Void) -> RawFile {
    var file = RawFile(tensors: tensors, keys: keys)
    fill(&file)
    return file
  }

  @Test func badPreamble() {
    expect(.badMagic(found: 7), at: 0) { RawFile(magic: 7) }
    expect(.unsupportedVersion(found: 2, supported: 3), at: 4) { RawFile(version: 2) }
    expect(.tooLarge(what: "tensor count", found: .max, limit: 65_536), at: 8) { RawFile(tensors: .max) }
    expect(.tooLarge(what: "key count", found: 5000, limit: 4096), at: 16) { RawFile(keys: 5000) }
  }

  @Test func badKeys() {
    expect(.tooLarge(what: "key length", found: 1 << 40, limit: 65_535), at: 24) {
      file(keys: 1) { $0.add(UInt64(1) << 40) }
    }
    expect(.truncated(needed: 100, available: 0), at: 32) { file(keys: 1) { $0.add(UInt64(100)) } }
    expect(.invalidUTF8, at: 32) {
      file(keys: 1) {
        $0.add(UInt64(1))
        $0.add(UInt8(0xFF))
      }
    }
    expect(.unknownValueType(13), at: 33, name: "k") {
      file(keys: 1) {
        $0.add(text: "k")
        $0.add(UInt32(13))
      }
    }
    expect(.duplicateKey, at: 41, name: "k") {
      file(keys: 2) {
        $0.key("k", 1)
        $0.key("k", 2)
      }
    }
    expect(.invalidBool(2), at: 37, name: "k") {
      file(keys: 1) {
        $0.add(text: "k")
        $0.add(UInt32(7))
        $0.add(UInt8(2))
      }
    }
    for bad in [0, 4, 24, 131_072] as [UInt32] {
      expect(.invalidAlignment(found: UInt64(bad)), at: 53, name: "general.alignment") {
        file(keys: 1) { $0.key("general.alignment", bad) }
      }
    }
  }

  @Test func badArrays() {
    func array(_ type: UInt32, _ count: UInt64) -> RawFile {
      file(keys: 1) {
        $0.add(text: "k")
        $0.add(UInt32(9))
        $0.add(type)
        $0.add(count)
      }
    }
    expect(.truncated(needed: 4 << 40, available: 0), at: 49, name: "k") { array(4, 1 << 40) }
    expect(.overflow(what: "array size"), at: 49, name: "k") { array(10, UInt64(Int.max)) }
    expect(.tooLarge(what: "array length", found: .max, limit: UInt64(Int.max)), at: 41, name: "k") {
      array(4, .max)
    }
    expect(.truncated(needed: 8, available: 0), at: 49, name: "k") { array(8, 1 << 40) }
    expect(.tooLarge(what: "array depth", found: 5, limit: 4), at: 97, name: "k") {
      var file = array(9, 1)
      for _ in 0..<4 {
        file.add(UInt32(9))
        file.add(UInt64(1))
      }
      return file
    }
  }

  @Test func badTensors() {
    expect(.tooLarge(what: "tensor name length", found: 64, limit: 63), at: 24) {
      file(tensors: 1) { $0.add(UInt64(64)) }
    }
    expect(.tooLarge(what: "dimension count", found: 5, limit: 4), at: 33, name: "t") {
      file(tensors: 1) { $0.tensor("t", [1, 1, 1, 1, 1]) }
    }
    expect(.tooLarge(what: "dimension count", found: 0, limit: 4), at: 24, name: "t") {
      file(tensors: 1) { $0.tensor("t", []) }
    }
    for bad in [0, UInt64(1) << 63] {
      expect(.invalidDimension(bad), at: 37, name: "t") { file(tensors: 1) { $0.tensor("t", [bad]) } }
    }
    expect(.unknownTensorType(2), at: 45, name: "t") { file(tensors: 1) { $0.tensor("t", [32], type: 2) } }
    expect(.overflow(what: "tensor size"), at: 24, name: "t") {
      file(tensors: 1) { $0.tensor("t", [1 << 40, 1 << 40]) }
    }
    expect(.duplicateTensor, at: 57, name: "t") {
      file(tensors: 2) {
        $0.tensor("t", [1])
        $0.tensor("t", [1])
      }
    }
    expect(.misplacedTensor(found: 64, expected: 0), at: 24, name: "t") {
      file(tensors: 1) {
        $0.tensor("t", [1], offset: 64)
        $0.pad(plus: 128)
      }
    }
    expect(.misplacedTensor(found: 0, expected: 32), at: 57, name: "u") {
      file(tensors: 2) {
        $0.tensor("t", [1])
        $0.tensor("u", [1])
        $0.pad(plus: 64)
      }
    }
    expect(.truncated(needed: 8, available: 4), at: 64, name: "t") {
      file(tensors: 1) {
        $0.tensor("t", [2])
        $0.pad(plus: 4)
      }
    }
    expect(.trailingBytes(count: 60), at: 68) {
      file(tensors: 1) {
        $0.tensor("t", [1])
        $0.pad(plus: 64)
      }
    }
  }

  @Test func truncationAtEveryLength() throws {
    let whole = Sample.file()
    let folder = TemporaryFolder()
    let last = try MappedModel(path: folder.write(whole, "whole")).tensors.last!.range.upperBound
    for count in Effort.sample(0..<whole.count) {
      let path = folder.write(Array(whole[0..<count]), "cut")
      // Cutting padding behind the last tensor leaves a shorter, valid file.
      if count == last { continue }
      #expect(throws: ContainerError.self, "length \(count)") { try MappedModel(path: path) }
    }
  }

  @Test func everyFlippedBitIsFound() throws {
    let whole = Sample.file()
    let folder = TemporaryFolder()
    for index in Effort.sample(whole.indices) {
      var bytes = whole
      bytes[index] ^= 1 << UInt8(index % 8)
      let path = folder.write(bytes, "flipped")
      #expect(throws: ContainerError.self, "byte \(index)") {
        try MappedModel(path: path).verify { _, _ in }
      }
      // Behind the checksums: damage may pass, but only as an error or a readable header.
      var options = MappedModel.DecodeOptions()
      options.ignoreChecksums = true
      if let model = try? MappedModel(path: path, options: options) {
        for key in model.keys { _ = try? model.value(key) }
      }
    }
  }

  @Test func wrongQuestionsAreAnsweredClearly() throws {
    let folder = TemporaryFolder()
    let path = folder.file("m.gguf")
    try Sample.write(to: path)
    let model = try MappedModel(path: path)
    #expect(throws: ContainerError(.missingKey, path: path, name: "none")) { try model.uint("none") }
    #expect(throws: ContainerError(.missingTensor, path: path, name: "none")) { try model.tensor("none") }
    let wrongType = ContainerError.Reason.wrongValueType(expected: "string", found: "float32")
    #expect(throws: ContainerError(wrongType, path: path, name: "sample.f32")) {
      try model.string("sample.f32")
    }
    for key in ["sample.i8", "sample.i64", "sample.f32", "sample.merges", "sample.flag", "general.name"] {
      #expect(throws: ContainerError.self, "\(key)") { try model.uint(key) }
    }
    for key in ["sample.u8", "sample.merges", "sample.nested"] {
      #expect(throws: ContainerError.self, "\(key)") { try model.uints(key) }
      #expect(throws: ContainerError.self, "\(key)") { try model.float(key) }
    }
    #expect(throws: ContainerError.self) { try model.strings("sample.counts") { _, _ in } }
    do {
      _ = try model.bytes("second.weight", type: .f32, dimensions: [16, 64])
      Issue.record("a wrong shape was accepted")
    } catch {
      #expect(
        error.description == "\(path): second.weight: expected F32 [16, 64], found I8 [64, 16]")
    }
  }

  @Test func longArraysAreNotCopied() throws {
    let folder = TemporaryFolder()
    var raw = file(keys: 1) {
      $0.add(text: "k")
      $0.add(UInt32(9))
      $0.add(UInt32(0))
      $0.add(UInt64(70_000))
      $0.pad(to: 1, plus: 70_000)
    }
    raw.pad()
    var options = MappedModel.DecodeOptions()
    options.anyArchitecture = true
    let path = folder.write(raw.bytes, "long")
    let reason = ContainerError.Reason.tooLarge(what: "array length", found: 70_000, limit: 65_536)
    #expect(throws: ContainerError(reason, path: path, name: "k")) {
      try MappedModel(path: path, options: options).uints("k")
    }
  }

  @Test func onlyRegularFilesOfOurKind() throws {
    let folder = TemporaryFolder()
    #expect(throws: ContainerError(.notRegularFile, path: folder.path)) { try MappedModel(path: folder.path) }
    let pipe = folder.file("pipe")
    mkfifo(pipe, 0o600)
    #expect(throws: ContainerError(.notRegularFile, path: pipe)) { try MappedModel(path: pipe) }
    let empty = folder.write([], "empty")
    #expect(throws: ContainerError.self) { try MappedModel(path: empty) }
    #expect(throws: ContainerError.self) { try MappedModel(path: folder.file("missing")) }
    let other = folder.file("other")
    let writer = try ModelWriter(
      path: other, values: [("general.architecture", .string("llama"))], tensors: [], overwrite: false)
    try writer.finish()
    let reason = ContainerError.Reason.valueOutOfRange(expected: "\"trident\"", found: "\"llama\"")
    #expect(throws: ContainerError(reason, path: other, name: "general.architecture")) {
      try MappedModel(path: other)
    }
  }

  @Test func newerFormatsAreRefused() throws {
    let folder = TemporaryFolder()
    let path = folder.file("new")
    var values = Sample.values
    let newest = UInt32(MappedModel.formatVersion)
    values[2].value = .uint32(newest + 1)
    try ModelWriter(path: path, values: values, tensors: [], overwrite: false).finish()
    let reason = ContainerError.Reason.unsupportedVersion(found: newest + 1, supported: newest)
    #expect(throws: ContainerError(reason, path: path, name: "trident.format_version")) {
      try MappedModel(path: path)
    }
  }

  @Test func aFileThatChangesIsNoticed() throws {
    let folder = TemporaryFolder()
    let path = folder.file("m.gguf")
    try Sample.write(to: path)
    let model = try MappedModel(path: path)
    let handle = try #require(FileHandle(forWritingAtPath: path))
    try handle.truncate(atOffset: UInt64(model.byteCount - 64))
    try handle.close()
    #expect(throws: ContainerError(.changedWhileOpen, path: path)) { try model.checkUnchanged() }
    #expect(throws: ContainerError(.changedWhileOpen, path: path)) { try model.verify { _, _ in } }
  }
}
