// INT8 products: scalar against exact integers, every path against scalar, rows split in any way.

import CKernels
import TestSupport
import Testing

@Suite struct ProductTests {
  private func run(
    _ path: Path, _ a: GuardedBuffer<Int8>, _ scale: GuardedBuffer<Float>, rows: Range<Int>, _ panels: Panels,
    firstPanel: Int, _ epilogue: ck_epilogue, into out: GuardedBuffer<Float>
  ) {
    PathCoverage.record(path.description)
    var view = panels.view
    var last = epilogue
    let stride = panels.channels - 16 * firstPanel
    let stored = turned(a, for: path.table)
    path.table.gemm_s8(
      stored.pointer + rows.lowerBound * panels.depth, panels.depth, scale.pointer + rows.lowerBound,
      rows.count, &view,
      firstPanel, panels.panelCount, panels.channels, &last, out.pointer + rows.lowerBound * stride, stride)
  }

  @Test func scalarMatchesIntegers() {
    var random = SeededRandom(seed: 11)
    for (rows, channels, columns) in [(1, 1, 1), (3, 17, 64), (5, 31, 127), (2, 48, 200)] {
      let panels = Panels(channels: channels, columns: columns, bias: true, random: &random)
      let narrow = (0..<rows * columns).map { _ in random.int8() }
      let a = GuardedBuffer<Int8>(count: rows * panels.depth)
      for r in 0..<rows { for k in 0..<columns { a.pointer[r * panels.depth + k] = narrow[r * columns + k] } }
      let scale = floats(rows, 0.001, 0.02, &random)
      let out = GuardedBuffer<Float>(count: rows * channels)
      run(.scalar, a, scale, rows: 0..<rows, panels, firstPanel: 0, ck_epilogue(), into: out)
      let exact = NaiveMath.product(narrow, panels.rows, rows: rows, columns: channels, depth: columns)
      let expected = (0..<rows * channels).map { index -> Float in
        let (r, c) = (index / channels, index % channels)
        let factor = scale.pointer[r] * panels.scale.pointer[c]
        let product = Float(exact[index]) * factor
        return product + panels.bias!.pointer[c]
      }
      expectClose(out.elements, expected, "\(rows)x\(channels)k\(columns)")
    }
  }

  @Test(arguments: Path.fast) func matchesScalar(path: Path) {
    var random = SeededRandom(seed: 12)
    var shapes = (1...25).map { ($0, 1 + Int(random.next() % 70), 1 + Int(random.next() % 260)) }
    shapes += [(31, 32, 64), (32, 33, 128), (33, 31, 192), (13, 16, 256), (11, 257, 64), (37, 41, 1216)]
    shapes += [(3, 768, 768), (25, 32, 3072), (2, 17, 4224), (9, 512, 64)]
    let activations = (0...CK_ACTIVATION_GELU_TANH.rawValue).map { ck_activation($0) }
    for (index, (rows, channels, columns)) in shapes.enumerated() {
      let panels = Panels(channels: channels, columns: columns, bias: index % 3 != 0, random: &random)
      let a = bytes(rows * panels.depth, &random)
      let scale = floats(rows, 0.001, 0.02, &random)
      let half = panels.panelCount / 2
      for (firstPanel, accumulate) in [(0, 0), (0, 1), (half, 0), (half, 1)] {
        let epilogue = ck_epilogue(
          activation: activations[index % activations.count], accumulate: Int32(accumulate))
        let initial = floats(rows * (channels - 16 * firstPanel), -1, 1, &random)
        let expected = GuardedBuffer(initial.elements)
        let actual = GuardedBuffer(initial.elements)
        run(.scalar, a, scale, rows: 0..<rows, panels, firstPanel: firstPanel, epilogue, into: expected)
        run(path, a, scale, rows: 0..<rows, panels, firstPanel: firstPanel, epilogue, into: actual)
        let label =
          "\(path) \(rows)x\(channels)k\(columns) from panel \(firstPanel), accumulate \(accumulate)"
        expectClose(actual.elements, expected.elements, label)
      }
    }
  }

  @Test(arguments: Path.all) func splittingRowsChangesNothing(path: Path) {
    var random = SeededRandom(seed: 13)
    for columns in [64, 300] {
      let panels = Panels(channels: 50, columns: columns, bias: true, random: &random)
      let rows = 41
      let a = bytes(rows * panels.depth, &random)
      let scale = floats(rows, 0.001, 0.02, &random)
      let epilogue = ck_epilogue(activation: CK_ACTIVATION_GELU, accumulate: 0)
      let whole = GuardedBuffer<Float>(count: rows * 50)
      let parts = GuardedBuffer<Float>(count: rows * 50)
      run(path, a, scale, rows: 0..<rows, panels, firstPanel: 0, epilogue, into: whole)
      for (begin, end) in [(0, 1), (1, 8), (8, 21), (21, 40), (40, 41)] {
        run(path, a, scale, rows: begin..<end, panels, firstPanel: 0, epilogue, into: parts)
      }
      #expect(whole.elements == parts.elements, "\(path) depth \(columns)")
    }
  }

  @Test(arguments: Path.all) func peaksDoWhatTheyAreAsked(path: Path) {
    PathCoverage.record(path.description)
    for macs: UInt64 in [1, 1_000, 1_000_000] {
      let done = path.table.peak_s8(macs)
      #expect(done >= macs && done < macs + 100_000, "\(path)")
    }
  }

  @Test(arguments: Path.fast) func blocksMatchScalar(path: Path) {
    var random = SeededRandom(seed: 14)
    for (rows, channels, keys, block) in [
      (1, 1, 1, 64), (5, 64, 196, 64), (33, 64, 1000, 256), (17, 80, 441, 128),
    ] {
      let panels = Panels(channels: channels, columns: keys, bias: false, random: &random)
      let count = (panels.depth + block - 1) / block
      let a = bytes(rows * panels.depth, &random)
      for index in 0..<rows * panels.depth { a.pointer[index] = abs(a.pointer[index]) }
      let scale = floats(rows * count, 0.001, 0.02, &random)
      let factor = floats(rows, 0.5, 2, &random)
      let outs = [Path.scalar, path].map { path -> [Float] in
        let out = GuardedBuffer<Float>(count: rows * channels)
        var view = panels.view
        path.table.gemm_s8_blocks(
          a.pointer, panels.depth, scale.pointer, block, count, keys, rows, &view, channels,
          rows % 2 == 0 ? nil : factor.pointer, out.pointer, channels)
        return out.elements
      }
      expectClose(outs[1], outs[0], "\(path) \(rows)x\(channels), \(keys) keys in blocks of \(block)")
    }
  }
}
