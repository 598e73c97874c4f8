// What is measured, and how it is told: shapes of products, repeats of one measurement.
import Compute
import Segmentation
import System

/// FNV-1a, 64 bits.
struct Digest {
  private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325
  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
  }
}

/// One matrix product: [rows, depth] times [outputs, depth] transposed.
package struct ProductShape {
  var rows: Int
  var outputs: Int
  var depth: Int
  var name: String
  var activation = Activation.none

  package static let standard = [
    ProductShape(rows: 442, outputs: 2304, depth: 768, name: "window qkv"),
    ProductShape(rows: 4096, outputs: 2304, depth: 768, name: "sam qkv"),
    ProductShape(rows: 4096, outputs: 768, depth: 768, name: "sam out"),
    ProductShape(rows: 4096, outputs: 3072, depth: 768, name: "sam mlp in, GELU", activation: .gelu),
    ProductShape(rows: 4096, outputs: 768, depth: 3072, name: "sam mlp out"),
  ]

  private static let activations: [String: Activation] = [
    "gelu": .gelu, "quickgelu": .quickGELU, "gelu_tanh": .tanhGELU, "relu": .relu,
  ]

  /// Reads a shape file.
  ///
  /// - Errors: `.usage`, with the line.
  package static func read(_ path: String) throws(SegmentationError) -> [ProductShape] {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try FileBytes.read(path, limit: 1 << 20)
    } catch {
      throw SegmentationError(.usage(error.reason.description), path: path)
    }
    return try parse(String(decoding: bytes, as: UTF8.self), path: path)
  }

  static func parse(_ text: String, path: String) throws(SegmentationError) -> [ProductShape] {
    var shapes: [ProductShape] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let parts = line.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
      let words = (parts.first ?? "").split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\r" })
      if words.isEmpty { continue }
      let sizes = words.compactMap { Int($0) }
      let activation = words.count == 4 ? activations[String(words[3])] : Activation.none
      guard sizes.count == 3, words.count <= 4, let activation,
        sizes.allSatisfy({ (1...65_536).contains($0) })
      else {
        let wanted = "not 'M N K', each 1 to 65536, with gelu, quickgelu, gelu_tanh, relu or nothing behind"
        throw SegmentationError(.usage(wanted), path: path, line: index + 1)
      }
      let name = parts.count > 1 ? parts[1].drop { $0 == " " } : ""
      shapes.append(
        ProductShape(
          rows: sizes[0], outputs: sizes[1], depth: sizes[2], name: String(name), activation: activation))
    }
    return shapes
  }
}

/// Repeats of one measurement.
package struct BenchResult {
  package let name: String
  /// Multiply-accumulates of a repeat; 0: not counted.
  let macs: Double
  private(set) var seconds: [Double] = []
  private(set) var digest: UInt64 = 0
  package private(set) var isSteady = true

  init(name: String, macs: Double) {
    self.name = name
    self.macs = macs
  }

  mutating func add(_ time: Double, _ answer: UInt64) {
    if !seconds.isEmpty && answer != digest { isSteady = false }
    digest = answer
    seconds.append(time)
  }

  private var sorted: [Double] { seconds.sorted() }
  private var median: Double { sorted[seconds.count / 2] }
  private var digestText: String {
    let text = String(digest, radix: 16)
    return String(repeating: "0", count: 16 - text.count) + text
  }

  package static let head =
    padded("", 42) + padded("median ms", 10, right: true) + padded("spread", 8, right: true)
    + padded("GMAC/s", 8, right: true) + padded("of peak", 8, right: true) + "  digest"

  package func line(peak: Double) -> String {
    let rate = macs / median
    let spread = (sorted[sorted.count - 1] - sorted[0]) / median * 100
    return padded(name, 42) + padded(fixed(median * 1e3, 2), 10, right: true)
      + padded(fixed(spread, 0) + " %", 8, right: true)
      + padded(macs > 0 ? fixed(rate / 1e9, 0) : "-", 8, right: true)
      + padded(macs > 0 ? fixed(rate / peak * 100, 0) + " %" : "-", 8, right: true)
      + "  \(digestText)\(isSteady ? "" : " CHANGED")"
  }

  var json: JSON {
    .object([
      ("name", .string(name)), ("median_seconds", .number(median)), ("least_seconds", .number(sorted[0])),
      ("most_seconds", .number(sorted[sorted.count - 1])), ("macs", .number(macs)),
      ("macs_per_second", .number(macs / median)), ("digest", .string(digestText)),
      ("steady", .bool(isSteady)),
    ])
  }
}
