// Archives and headers that lie; files cut anywhere; files with any byte changed.

import Foundation
import Quantization
import TestSupport
import Testing

@Suite struct ReadersHostileFileTests {
  private var honest: [ZipPart] { archiveParts(PickleBytes.single(shape: [4], strides: [1])) }

  // MARK: Zip

  @Test func lyingArchives() throws {
    #expect(try reason(zipFile(honest)) == nil)
    var parts = honest
    parts[0].checksum = 1
    let computed = crc32(parts[0].body)
    #expect(try reason(zipFile(parts)) == .checksumMismatch(stored: 1, computed: computed))
    parts = honest
    parts[0].flags = 1
    guard case .unsupported = try reason(zipFile(parts)) else { throw Unexpected() }
    parts = honest
    parts[1].method = 12
    guard case .unsupported = try reason(zipFile(parts)) else { throw Unexpected() }
    parts = honest
    parts[1].byteCount = 1 << 30
    guard case .malformed = try reason(zipFile(parts)) else { throw Unexpected() }
    parts = honest
    parts[1].headerOffset = 0
    guard case .malformed = try reason(zipFile(parts)) else { throw Unexpected() }
    parts = honest
    parts[1].localName = "m/data/1"
    guard case .malformed = try reason(zipFile(parts)) else { throw Unexpected() }
    parts = honest + [honest[1]]
    #expect(try reason(zipFile(parts)) == .duplicateName)
    parts = honest
    parts[1].name = "m/data/1"
    guard case .malformed = try reason(zipFile(parts)) else { throw Unexpected() }
    guard case .unsupported = try reason(zipFile(honest, disk: 1)) else { throw Unexpected() }
    guard case .limitExceeded = try reason(zipFile(honest, entryCount: 60_000)) else { throw Unexpected() }
    guard case .unknownFormat = try reason(zipFile([honest[1]])) else { throw Unexpected() }
    parts = honest + [ZipPart(name: "n/data.pkl", body: honest[0].body)]
    guard case .malformed = try reason(zipFile(parts)) else { throw Unexpected() }
  }

  /// Deflate that promises more than deflate can give, gives more than it promised, or is no deflate.
  @Test func bombs() throws {
    // One deflate block: a hundred thousand zeros in 118 bytes, made by zlib at level 9 without a frame.
    let packed = try deflated("bomb")
    for (promise, isMalformed) in [(1 << 30, true), (10, true), (200_000, false)] {
      var parts = honest
      parts.append(ZipPart(name: "m/big", body: packed, method: 8, byteCount: promise))
      let file = try ScratchFile(zipFile(parts))
      guard case .failure(let error) = verify(file.path) else { throw Unexpected() }
      if case .malformed = error.reason { #expect(isMalformed) } else { #expect(!isMalformed) }
    }
    var parts = honest
    parts[1] = ZipPart(name: "m/data/0", body: [0xff, 0xff, 0xff, 0xff], method: 8, byteCount: 16)
    guard case .malformed = try reason(zipFile(parts)) else { throw Unexpected() }
  }

  private func verify(_ path: String) -> Result<Void, QuantizationError> {
    do throws(QuantizationError) {
      try TensorDirectory.open(path: path).verifyChecksums()
      return .success(())
    } catch {
      return .failure(error)
    }
  }

  /// Zeros as fixed-Huffman deflate: one literal 0, then copies of length 258 at distance 1.
  private func deflated(_ label: String) throws -> [UInt8] {
    var bits: [UInt8] = [1, 1, 0]  // last block, fixed codes
    bits += [0, 0, 1, 1, 0, 0, 0, 0]  // literal 0 is code 0x30
    for _ in 0..<387 { bits += [1, 1, 0, 0, 0, 1, 0, 1] + [0, 0, 0, 0, 0] }  // length 285, distance 0
    bits += [0, 0, 0, 0, 0, 0, 0]  // end of block
    while bits.count % 8 != 0 { bits.append(0) }
    return stride(from: 0, to: bits.count, by: 8).map { start in
      bits[start..<start + 8].reversed().reduce(UInt8(0)) { byte, bit in byte << 1 | bit }
    }
  }

  // MARK: Safetensors

  @Test func lyingHeaders() throws {
    func one(_ fields: String, bodyCount: Int = 8) throws -> QuantizationError.Reason? {
      try reason(safetensorsFile("{\"a\":{" + fields + "}}", bodyCount: bodyCount))
    }
    #expect(try one(#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#) == nil)
    for fields in [
      #""dtype":"F32","shape":[3],"data_offsets":[0,8]"#, #""dtype":"F32","shape":[2],"data_offsets":[4,12]"#,
      #""dtype":"F32","shape":[2],"data_offsets":[8,0]"#, #""dtype":"F32","shape":[-2],"data_offsets":[0,8]"#,
      #""dtype":"F32","shape":[2],"data_offsets":[0]"#, #""dtype":"F32","shape":[2.0],"data_offsets":[0,8]"#,
      #""dtype":"F32","shape":[2]"#, #""dtype":"F32","shape":2,"data_offsets":[0,8]"#,
      #""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]"#,
      #""dtype":"F32","shape":[2],"data_offsets":[0,8],"extra":1"#,
    ] { #expect(try one(fields) != nil, "\(fields)") }
    // Numbers that nobody here reads are no reason to refuse the others; where there are no others they are.
    let unread = "element type F8_E4M3 is not supported; save it as float16 or float32"
    #expect(
      try one(#""dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]"#) == .unsupported(unread))
    let mixed =
      #"{"a":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[0,4]},"#
      + #""b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#
    #expect(try reason(safetensorsFile(mixed, bodyCount: 8)) == nil)
    #expect(try reason(safetensorsFile(mixed, bodyCount: 9)) != nil)
    guard case .malformed = try one(#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#, bodyCount: 9) else {
      throw Unexpected()
    }
    guard case .truncated = try one(#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#, bodyCount: 7) else {
      throw Unexpected()
    }
  }

  @Test(arguments: [[0, 4, 4, 12], [0, 4, 2, 6], [0, 4, 8, 12], [0, 4, 0, 4]])
  func tiling(offsets: [Int]) throws {
    let count = offsets[3] - offsets[2]
    let header =
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[\(offsets[0]),\(offsets[1])]},"
      + "\"b\":{\"dtype\":\"U8\",\"shape\":[\(count)],\"data_offsets\":[\(offsets[2]),\(offsets[3])]}}"
    let found = try reason(safetensorsFile(header, bodyCount: offsets[3]))
    if offsets == [0, 4, 4, 12] {
      #expect(found == nil)
    } else {
      guard case .malformed = found else { throw Unexpected() }
    }
  }

  @Test func brokenJSON() throws {
    for header in [
      "{", "{}x", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":01}", "{\"a\":\"\u{1}\"}",
      "{\"a\":\"\\ud800\"}",
      "{\"a\":nul}", "{\"__metadata__\":{\"a\":1}}", "{\"a\":1e}", "{\"a\":-}", "{\"a\":\"\\x\"}",
    ] { #expect(try reason(safetensorsFile(header, bodyCount: 0)) != nil, "\(header)") }
    let tensor = #"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#
    #expect(
      try reason(safetensorsFile("{\"a\":\(tensor),\"a\":\(tensor)}", bodyCount: 0)) == .duplicateName)
    let deep = "{\"a\":" + String(repeating: "[", count: 1_000_000) + "}"
    guard case .limitExceeded = try reason(safetensorsFile(deep, bodyCount: 0)) else { throw Unexpected() }
  }

  // MARK: Not checkpoints at all

  @Test func wrongKindsOfFile() throws {
    #expect(reason("/nonexistent/a.pt") == .cannotOpen(errno: ENOENT))
    #expect(reason(NSTemporaryDirectory()) == .notARegularFile(kind: "a directory"))
    #expect(reason("/dev/null") == .notARegularFile(kind: "a device"))
    #expect(try reason([UInt8]()) == .emptyFile)
    let pipe = NSTemporaryDirectory() + "readers-" + UUID().uuidString
    #expect(mkfifo(pipe, 0o600) == 0)
    defer { unlink(pipe) }
    #expect(reason(pipe) == .notARegularFile(kind: "a pipe"))
    let link = NSTemporaryDirectory() + "readers-" + UUID().uuidString
    #expect(symlink(checkpoint("tiny.pt"), link) == 0)
    defer { unlink(link) }
    #expect(reason(link) == nil)
    for text in ["<!DOCTYPE html>", "version https://git-lfs.github.com/spec/v1", "GGUF....", "hello"] {
      guard case .unknownFormat = try reason(Array(text.utf8)) else { throw Unexpected() }
    }
  }

  /// A file that shrinks after it was opened.
  @Test func shrinkingFile() throws {
    let file = try ScratchFile(try contents("tiny.safetensors"))
    let directory = try TensorDirectory.open(path: file.path)
    #expect(truncate(file.path, 20) == 0)
    do {
      _ = try directory.readFloat("b")
      Issue.record("read bytes that are gone")
    } catch {
      guard case .truncated = error.reason else { throw Unexpected() }
    }
  }

  // MARK: Damage

  @Test(arguments: ["tiny.pt", "tiny-legacy.pth", "tiny.safetensors", "legacy-view.pth"])
  func cutAtEveryLength(name: String) throws {
    let whole = try contents(name)
    let file = try ScratchFile()
    for count in Effort.sample(0..<whole.count) {
      try file.replace(Array(whole[0..<count]))
      #expect(reason(file.path) != nil, "\(count) bytes")
    }
  }

  /// Changed, copied, inserted and removed bytes: an answer or an error, never a crash.
  @Test(arguments: [
    "tiny.pt", "tiny-legacy.pth", "tiny.safetensors", "dino-full-legacy.pth", "script.pt", "zip64.pt",
  ])
  func mutations(name: String) throws {
    let whole = try contents(name)
    var source = MutationSource(state: 20_250_101)
    let file = try ScratchFile()
    var refused = 0
    for _ in Effort.sample(0..<1_500) {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...4, using: &source) {
        let index = Int.random(in: 0..<bytes.count, using: &source)
        switch Int.random(in: 0..<6, using: &source) {
        case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &source)
        case 1: bytes[index] = [0, 0xff, 0x7f, 0x80, 0x28, 0x2e].randomElement(using: &source) ?? 0
        case 2: bytes.insert(UInt8.random(in: 0...255, using: &source), at: index)
        case 3 where bytes.count > 1: bytes.remove(at: index)
        case 4: bytes[index] = bytes.randomElement(using: &source) ?? 0
        default:
          let end = min(bytes.count, index + Int.random(in: 1...8, using: &source))
          for position in index..<end { bytes[position] = 0xff }
        }
      }
      // Archives are found out by their checksum; mend it so that the pickle machine sees the damage too.
      if name == "tiny.pt", Bool.random(using: &source) { bytes = mended(bytes) }
      try file.replace(bytes)
      if reason(file.path) != nil { refused += 1 }
    }
    #expect(refused > 0, "seed 20250101")
  }

  /// The archive with the checksum that its damaged first entry now has.
  private func mended(_ bytes: [UInt8]) -> [UInt8] {
    func number(_ index: Int, _ width: Int) -> Int {
      bytes[index..<index + width].reversed().reduce(0) { value, byte in value << 8 | Int(byte) }
    }
    guard let header = (0..<(bytes.count - 46)).first(where: { number($0, 4) == 0x0201_4b50 }) else {
      return bytes
    }
    let offset = number(header + 42, 4)
    let count = number(header + 20, 4)
    guard offset < bytes.count - 30 else { return bytes }
    let body = offset + 30 + number(offset + 26, 2) + number(offset + 28, 2)
    guard body + count <= bytes.count else { return bytes }
    var result = bytes
    result.replaceSubrange(
      (header + 16)..<(header + 20), with: little(Int(crc32(Array(bytes[body..<(body + count)]))), 4))
    return result
  }
}
