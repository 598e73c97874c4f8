// Row resizers against OpenCV and Pillow, tables against PyTorch, copies in all orientations.

import Raster
import TestSupport
import Testing

/// Resizes a whole picture with one of the two row resizers.
func resize(
  _ rule: String, _ pixels: [UInt8], _ w: Int, _ h: Int, _ tw: Int, _ th: Int,
  _ orientation: Orientation = .upright
) -> [UInt8] {
  var out = [UInt8](repeating: 0, count: 3 * tw * th)
  var next = 0
  func take(_ y: Int, _ row: UnsafePointer<UInt8>) {
    #expect(y == next)
    for i in 0..<3 * tw { out[3 * tw * y + i] = row[i] }
    next += 1
  }
  let bilinear = BilinearRows(
    sourceWidth: w, sourceHeight: h, targetWidth: tw, targetHeight: th, orientation: orientation)
  let antialias = AntialiasRows(
    sourceWidth: w, sourceHeight: h, targetWidth: tw, targetHeight: th, orientation: orientation)
  pixels.withUnsafeBufferPointer { source in
    for y in 0..<h {
      let row = source.baseAddress! + 3 * w * y
      if rule == "bilinear" { bilinear.push(row, emit: take) } else { antialias.push(row, emit: take) }
    }
  }
  #expect(next == th)
  return out
}

@Suite struct ResizeTests {
  @Test func agreesWithOpenCVAndPillow() throws {
    let results = readBytes(fixture("resized.bin"))
    let cases = table("resized.csv")
    try #require(cases.count > 30)
    var worst: [String: Int] = [:]
    for fields in cases {
      let n = fields.dropFirst().map { Int($0)! }
      let golden = Array(results[n[4]..<n[4] + 3 * n[2] * n[3]])
      let out = resize(fields[0], pattern(width: n[0], height: n[1]), n[0], n[1], n[2], n[3])
      let difference = largestDifference(out, golden)
      #expect(difference <= 1, "\(fields): \(difference)")
      worst[fields[0]] = max(worst[fields[0]] ?? 0, difference)
      if difference > 0 {
        let count = zip(out, golden).filter { $0 != $1 }.count
        print("\(fields): \(count) of \(golden.count) differ, by \(difference) at most")
      }
    }
    print("largest differences:", worst)
  }

  @Test func constantsStayConstant() {
    for (w, h, tw, th) in [(1, 1, 9, 9), (17, 5, 3, 31), (100, 100, 7, 7), (5, 1, 4, 1)] {
      for value: UInt8 in [0, 1, 127, 254, 255] {
        for rule in ["bilinear", "antialias"] {
          let out = resize(rule, [UInt8](repeating: value, count: 3 * w * h), w, h, tw, th)
          #expect(out.allSatisfy { $0 == value }, "\(rule) \(w)x\(h) to \(tw)x\(th), \(value)")
        }
      }
    }
  }

  @Test func workspaceIsEnough() {
    for (w, h, tw, th) in [(1, 1, 1, 1), (301, 77, 13, 5), (13, 5, 301, 77)] {
      let count = AntialiasRows.byteCount(sourceWidth: w, sourceHeight: h, targetWidth: tw, targetHeight: th)
      let memory = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 64)
      let rows = AntialiasRows(
        sourceWidth: w, sourceHeight: h, targetWidth: tw, targetHeight: th, workspace: memory)
      let row = [UInt8](repeating: 9, count: 3 * w)
      var emitted = 0
      for _ in 0..<h { rows.push(row) { _, _ in emitted += 1 } }
      #expect(emitted == th)
      memory.deallocate()
      #expect(BilinearRows.byteCount(sourceWidth: w, targetWidth: tw) % 64 == 0 && count % 64 == 0)
    }
  }

  @Test func tablesAgreeWithPyTorch() throws {
    let raw = readBytes(fixture("tables.bin"))
    var worst: Float = 0
    for fields in table("tables.csv") {
      let n = fields.dropFirst().map { Int($0)! }
      let (h, w, th, tw) = (n[0], n[1], n[2], n[3])
      func step(_ source: Int, _ target: Int) -> Double? {
        n[4] == 1 ? 1 / ((Double(target) + 0.1) / Double(source)) : nil
      }
      let rules: [String: ResampleTaps.Rule] = [
        "bilinear": .bilinear, "bicubic": .bicubic, "antialias": .antialiasedBicubic,
      ]
      let rule = try #require(rules[fields[0]])
      let rows = ResampleTaps(rule, source: h, target: th, step: step(h, th))
      let columns = ResampleTaps(rule, source: w, target: tw, step: step(w, tw))
      let source = pattern(width: w, height: h, channels: 2).map { Float($0) / 255 }
      var out = [Float](repeating: .nan, count: 2 * th * tw)
      GridTaps(rows: rows, columns: columns).resample(source, channels: 2, into: &out)
      for i in out.indices {
        let expected = raw.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: n[5] + 4 * i, as: Float.self) }
        worst = max(worst, abs(out[i] - expected))
      }
      #expect(worst <= 1e-5, "\(fields)")
    }
    print("largest difference to PyTorch:", worst)
  }

  @Test func orientationsComeOutUpright() throws {
    let stored = try decode(fixture("files/orientation1.jpg"))
    for orientation in 1...8 {
      let decoder = try PhotoDecoder(path: fixture("files/orientation\(orientation).jpg"))
      let (w, h) = (decoder.width, decoder.height)
      var out = [UInt8](repeating: 0, count: 3 * w * h)
      try out.withUnsafeMutableBufferPointer { buffer in
        let copy = PhotoCopy(stages: [.bilinear(width: w, height: h)], destination: buffer.baseAddress!)
        try PhotoCopies(decoder, [copy]).run(allowWholeImage: false)
      }
      for y in 0..<16 {
        for x in 0..<24 {
          // EXIF's own words: where the stored row 0 and column 0 belong in the seen picture.
          let seen = [
            (x, y), (23 - x, y), (23 - x, 15 - y), (x, 15 - y), (y, x), (15 - y, x), (15 - y, 23 - x),
            (y, 23 - x),
          ][orientation - 1]
          for c in 0..<3 {
            #expect(out[3 * (seen.1 * w + seen.0) + c] == stored[3 * (24 * y + x) + c], "\(orientation)")
          }
        }
      }
    }
  }

  /// Resizing a turned picture gives the turned result of the upright one, bit for bit, in both rules.
  @Test func orientationsResizeAsIfUpright() {
    let sizes = [
      (37, 29, 48, 32), (37, 29, 13, 17), (3, 40, 16, 12), (64, 48, 23, 48), (33, 21, 100, 64),
      (16, 12, 8, 6),
    ]
    for (w, h, tw, th) in sizes {
      let upright = pattern(width: w, height: h)
      for rule in ["bilinear", "antialias"] {
        let expected = resize(rule, upright, w, h, tw, th)
        for value in 1...8 {
          let orientation = Orientation(value)
          let (sw, sh) = orientation.size(width: w, height: h)
          let (stw, sth) = orientation.size(width: tw, height: th)
          let stored = turned(upright, w, sw, sh, orientation)
          let found = resize(rule, stored, sw, sh, stw, sth, orientation)
          #expect(found == turned(expected, tw, stw, sth, orientation), "\(rule) \(w)x\(h), \(value)")
        }
      }
    }
  }

  /// The stored picture of `width` x `height` that is seen as `upright`, of `seenWidth`.
  private func turned(
    _ upright: [UInt8], _ seenWidth: Int, _ width: Int, _ height: Int, _ orientation: Orientation
  ) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: upright.count)
    for y in 0..<height {
      for x in 0..<width {
        let seen = orientation.seen(x: x, y: y, width: width, height: height)
        for c in 0..<3 { out[3 * (y * width + x) + c] = upright[3 * (seen.y * seenWidth + seen.x) + c] }
      }
    }
    return out
  }

  @Test func copiesChain() throws {
    let path = fixture("files/ycc420.jpg")
    let pixels = try decode(path)
    let rounded = resize("bilinear", pixels, 37, 29, 48, 32)
    let golden = resize("antialias", rounded, 48, 32, 20, 13)
    let other = resize("bilinear", pixels, 37, 29, 11, 9)
    var first = [UInt8](repeating: 0, count: golden.count)
    var second = [UInt8](repeating: 0, count: other.count)
    try first.withUnsafeMutableBufferPointer { a in
      try second.withUnsafeMutableBufferPointer { b in
        let copies = [
          PhotoCopy(
            stages: [.bilinear(width: 48, height: 32), .antialias(width: 20, height: 13)],
            destination: a.baseAddress!),
          PhotoCopy(stages: [.bilinear(width: 11, height: 9)], destination: b.baseAddress!),
        ]
        try PhotoCopies(PhotoDecoder(path: path), copies).run(allowWholeImage: false)
      }
    }
    #expect(first == golden)
    #expect(second == other)
  }
}
