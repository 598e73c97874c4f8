// Every flavour of checkpoint gives the names, shapes and values that PyTorch put in.

import Foundation
import Quantization
import Testing

private struct ExpectedFile: Decodable {
  struct Tensor: Decodable {
    let name: String
    let shape: [Int]
    let type: String
    let values: [Double]
  }
  let format: String
  let tensors: [Tensor]
}

private func expectations() throws -> [String: ExpectedFile] {
  let bytes = try Data(contentsOf: URL(fileURLWithPath: checkpoint("expected.json")))
  return try JSONDecoder().decode([String: ExpectedFile].self, from: bytes)
}

private let flavours = [
  "zip.pt", "zip-protocol4.pt", "zip64.pt", "deflated.pt", "legacy.pth", "legacy-protocol5.pth",
  "legacy-view.pth", "script.pt", "dino-full.pth", "dino-full-legacy.pth", "tiny.pt", "tiny-legacy.pth",
  "tiny.safetensors", "all.safetensors",
]

@Suite struct ReadersRoundTripTests {
  @Test func everyFixtureIsListed() throws {
    #expect(Set(try expectations().keys) == Set(flavours))
  }

  @Test(arguments: flavours) func flavour(_ name: String) throws {
    let expected = try #require(try expectations()[name])
    let directory = try TensorDirectory.open(path: checkpoint(name))
    #expect(directory.format.rawValue == expected.format)
    #expect(directory.names.count == Set(directory.names).count)
    let ours = directory.names.filter { $0 != "special" }
    #expect(Set(ours) == Set(expected.tensors.map(\.name)))
    // Safetensors files are ordered by their writer; the others keep the dictionary's order.
    if directory.format != .safetensors { #expect(ours == expected.tensors.map(\.name)) }
    for tensor in expected.tensors {
      let record = try #require(directory.record(tensor.name))
      #expect(record.shape == tensor.shape, "\(tensor.name)")
      #expect(record.elementType.rawValue == tensor.type, "\(tensor.name)")
      #expect(record.elementCount == tensor.values.count, "\(tensor.name)")
      let whole = try directory.readFloat(tensor.name)
      #expect(whole == tensor.values.map { Float($0) }, "\(tensor.name)")
      // Any split into rows gives the same values.
      let rows = tensor.shape.first ?? 1
      let width = rows == 0 ? 0 : tensor.values.count / rows
      var joined = [Float](repeating: .nan, count: tensor.values.count)
      for row in 0..<rows {
        try joined.withUnsafeMutableBufferPointer { floats in
          guard let base = floats.baseAddress else { return }
          try directory.readFloat(tensor.name, rows: row..<(row + 1), into: base + row * width)
        }
      }
      #expect(joined == whole, "\(tensor.name) by rows")
    }
    try directory.verifyChecksums()
  }

  @Test func sharedStoragesAreShared() throws {
    for name in ["zip.pt", "legacy.pth"] {
      let directory = try TensorDirectory.open(path: checkpoint(name))
      let whole = try #require(directory.record("views.whole"))
      let slice = try #require(directory.record("views.slice"))
      let expanded = try #require(directory.record("views.expanded"))
      #expect(whole.storage == slice.storage)
      #expect(slice.storageOffset == 10 && slice.strides == [8, 1])
      #expect(expanded.strides == [0, 1])
    }
  }

  @Test func specialHalves() throws {
    let directory = try TensorDirectory.open(path: checkpoint("zip.pt"))
    let values = try directory.readFloat("special")
    #expect(values[0] == .infinity && values[1] == -.infinity && values[4] == 65504)
    #expect(values[2] == Float(sign: .plus, exponent: -24, significand: 1))
    #expect(abs(values[3] + 6e-5) < 3e-8)
  }

  /// Every binary16 value against the standard library's own conversion.
  @Test func everyHalf() throws {
    let body = (0..<65_536).flatMap { little($0, 2) }
    let header = #"{"h":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]}}"#
    let file = try ScratchFile(little(header.utf8.count, 8) + Array(header.utf8) + body)
    let values = try TensorDirectory.open(path: file.path).readFloat("h")
    for (bits, value) in values.enumerated() {
      let expected = Float(Float16(bitPattern: UInt16(bits)))
      #expect(value == expected || (value.isNaN && expected.isNaN), "\(bits)")
    }
  }

  /// Rows longer than a window, and a transposed view of them.
  @Test func largeRows() throws {
    let columns = 40_000
    let values = (0..<(3 * columns)).map { Float($0) }
    let floats = values.flatMap { little(Int($0.bitPattern), 4) }
    var parts = archiveParts(
      PickleBytes.single(elements: 3 * columns, shape: [columns, 3], strides: [1, columns]))
    parts[1].body = floats
    let file = try ScratchFile(zipFile(parts))
    let directory = try TensorDirectory.open(path: file.path)
    let transposed = try directory.readFloat("a")
    #expect(transposed[3 * 17 + 2] == Float(2 * columns + 17) && transposed.count == 3 * columns)
    parts[0].body = PickleBytes.single(elements: 3 * columns, shape: [3, columns], strides: [columns, 1])
    let dense = try ScratchFile(zipFile(parts))
    #expect(try TensorDirectory.open(path: dense.path).readFloat("a") == values)
  }

  /// Matrices too large to hold: turned, and a slice of every second channel.
  @Test func largeViews() throws {
    let (rows, columns) = (9000, 1000)
    let values = (0..<rows * columns).map { Float($0) }
    let bytes = values.withUnsafeBytes { Array($0) }
    func open(_ shape: [Int], _ strides: [Int]) throws -> (ScratchFile, TensorDirectory) {
      let pickle = PickleBytes.single(elements: values.count, shape: shape, strides: strides)
      let file = try ScratchFile(legacyFile(pickle, storages: [(count: values.count, bytes: bytes)]))
      return (file, try TensorDirectory.open(path: file.path))
    }
    let (turned, directory) = try open([rows, columns], [1, rows])
    var block = [Float](repeating: 0, count: 16 * columns)
    for first in stride(from: 0, to: rows, by: 16) {
      let count = min(16, rows - first)
      try directory.readFloat("a", rows: first..<first + count, into: &block)
      let isRight = (0..<count * columns).allSatisfy { index in
        block[index] == Float(index % columns * rows + first + index / columns)
      }
      #expect(isRight, "rows from \(first)")
    }
    let whole = try directory.readFloat("a")
    #expect(whole[columns * 8999 + 17] == Float(17 * rows + 8999) && whole.count == values.count)
    let (sliced, other) = try open([rows, columns / 2], [columns, 2])
    try other.readFloat("a", rows: 8000..<8016, into: &block)
    #expect(block[499] == Float(8000 * columns + 998) && block[500] == Float(8001 * columns))
    withExtendedLifetime((turned, sliced)) {}
  }

  @Test func metadata() throws {
    let safetensors = try TensorDirectory.open(path: checkpoint("all.safetensors"))
    #expect(safetensors.metadata == ["format": "pt", "note": "\u{e9}\n\"quoted\""])
    let script = try TensorDirectory.open(path: checkpoint("script.pt"))
    #expect(script.metadata["root_class"]?.hasSuffix(".Clip") == true)
  }

  @Test func digest() throws {
    var seen = 0
    let directory = try TensorDirectory.open(path: checkpoint("tiny.pt"))
    #expect(try directory.sha256Hex { seen = $0 }.count == 64)
    #expect(seen == directory.byteCount)
  }

  @Test func rowsOutOfRange() throws {
    let directory = try TensorDirectory.open(path: checkpoint("tiny.pt"))
    var floats = [Float](repeating: 0, count: 16)
    #expect(
      throws: QuantizationError(
        .rowsOutOfRange(lower: 1, upper: 3, rows: 2), path: checkpoint("tiny.pt"), name: "a.weight")
    ) { try directory.readFloat("a.weight", rows: 1..<3, into: &floats) }
    #expect(throws: QuantizationError(.noSuchTensor, path: checkpoint("tiny.pt"), name: "c")) {
      try directory.readFloat("c")
    }
  }
}
