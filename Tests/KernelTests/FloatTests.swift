// Float products, activations and half precision.

import CKernels
import TestSupport
import Testing

@Suite struct FloatTests {
  @Test func activationsAreCloseToDouble() {
    let x = (-30000...30000).map { Float($0) * 0.0005 }
    // Functions in tuples of a list stop the compiler of Swift 6.0.3.
    for activation in [CK_ACTIVATION_GELU, CK_ACTIVATION_QUICKGELU, CK_ACTIVATION_GELU_TANH] {
      let expected = x.map {
        switch activation {
        case CK_ACTIVATION_GELU: NaiveMath.gelu($0)
        case CK_ACTIVATION_QUICKGELU: NaiveMath.quickGELU($0)
        default: NaiveMath.tanhGELU($0)
        }
      }
      let y = GuardedBuffer(x)
      Path.scalar.table.activate(y.pointer, x.count, activation)
      // Phi to 5e-7, times |x| up to 5.1.
      expectClose(y.elements, expected, ulps: 4, absolute: 2.6e-6)
    }
    let far = GuardedBuffer<Float>([-1000, -5.2, 5.2, 1000])
    Path.scalar.table.activate(far.pointer, 4, CK_ACTIVATION_GELU)
    #expect(far.elements == [0, 0, 5.2, 1000])
    let further = GuardedBuffer<Float>([-1e30, -1000, 0, 1000, 1e30])
    Path.scalar.table.activate(further.pointer, 5, CK_ACTIVATION_GELU_TANH)
    expectClose(further.elements, [0, 0, 0, 1000, 1e30], absolute: 1e-3)
  }

  @Test(arguments: Path.fast) func productsMatchScalar(path: Path) {
    PathCoverage.record(path.description)
    var random = SeededRandom(seed: 31)
    var shapes = (1...17).map { ($0, 18 - $0, 1 + Int(random.next() % 40)) }
    shapes += [(7, 130, 64), (5, 65, 101), (64, 4, 256)]
    for (rows, columns, depth) in shapes {
      let (a, b) = (floats(rows * depth, -1, 1, &random), floats(columns * depth, -1, 1, &random))
      let (bias, initial) = (floats(columns, -1, 1, &random), floats(rows * columns, -1, 1, &random))
      let results = [Path.scalar, path].map { path -> [Float] in
        let (x, y) = (GuardedBuffer(initial.elements), GuardedBuffer(initial.elements))
        path.table.gemm_f32_nt(
          a.pointer, depth, rows, b.pointer, depth, columns, depth, rows % 2 == 0 ? nil : bias.pointer,
          Int32(rows % 3 / 2), x.pointer, columns)
        path.table.gemm_f32_nn(
          a.pointer, depth, rows, b.pointer, columns, columns, depth, Int32(rows % 2), y.pointer, columns)
        return x.elements + y.elements
      }
      expectClose(results[1], results[0], "\(path) \(rows)x\(columns)k\(depth)")
    }
  }

  @Test func scalarProductIsCloseToDouble() {
    var random = SeededRandom(seed: 32)
    let (rows, columns, depth) = (3, 5, 200)
    let (a, b) = (floats(rows * depth, -1, 1, &random), floats(columns * depth, -1, 1, &random))
    let out = GuardedBuffer<Float>(count: rows * columns)
    Path.scalar.table.gemm_f32_nt(
      a.pointer, depth, rows, b.pointer, depth, columns, depth, nil, 0, out.pointer, columns)
    var expected: [Float] = []
    for index in 0..<rows * columns {
      let (left, right) = (a.pointer + index / columns * depth, b.pointer + index % columns * depth)
      var sum = 0.0
      for place in 0..<depth { sum += Double(left[place]) * Double(right[place]) }
      expected.append(Float(sum))
    }
    expectClose(out.elements, expected, ulps: 8, absolute: 1e-5)
  }

  @Test(arguments: Path.fast) func activationsMatchScalar(path: Path) {
    var random = SeededRandom(seed: 33)
    let activations = (0...CK_ACTIVATION_GELU_TANH.rawValue).map { ck_activation($0) }
    for count in Array(1...17) + [63, 64, 65, 1009] {
      let x = floats(count, -20, 20, &random)
      for activation in activations {
        let (expected, actual) = (GuardedBuffer(x.elements), GuardedBuffer(x.elements))
        Path.scalar.table.activate(expected.pointer, count, activation)
        path.table.activate(actual.pointer, count, activation)
        expectClose(actual.elements, expected.elements, "\(path) activation \(activation.rawValue), \(count)")
      }
    }
  }

  /// All 65,536 halves, and floats around every rounding boundary.
  @Test(arguments: Path.all) func halfIsExact(path: Path) {
    let halves = GuardedBuffer((0...UInt16.max).map { $0 })
    let wide = GuardedBuffer<Float>(count: 65536)
    path.table.from_half(halves.pointer, 65536, wide.pointer)
    let back = GuardedBuffer<UInt16>(count: 65536)
    path.table.to_half(wide.pointer, 65536, back.pointer)
    for index in 0..<65536 where !wide.pointer[index].isNaN {
      if back.pointer[index] != UInt16(index) {
        Issue.record("\(path): half \(index) came back as \(back.pointer[index])")
        return
      }
    }
    var random = SeededRandom(seed: 34)
    let x = GuardedBuffer(
      (0..<3001).map { _ in Float(bitPattern: UInt32(truncatingIfNeeded: random.next())) })
    let (expected, actual) = (GuardedBuffer<UInt16>(count: 3001), GuardedBuffer<UInt16>(count: 3001))
    Path.scalar.table.to_half(x.pointer, 3001, expected.pointer)
    path.table.to_half(x.pointer, 3001, actual.pointer)
    #expect(expected.elements == actual.elements, "\(path)")
  }

  @Test(arguments: Path.all) func distancesAreThoseOfDifferences(path: Path) {
    var random = SeededRandom(seed: 36)
    for (rows, columns, depth) in [(1, 1, 1), (3, 5, 15), (4, 9, 16), (5, 4, 33), (9, 17, 100)] {
      let (a, b) = (floats(rows * depth, 9, 10, &random), floats(columns * depth, 9, 10, &random))
      let (out, scalar) = (
        GuardedBuffer<Float>(count: rows * columns), GuardedBuffer<Float>(count: rows * columns)
      )
      path.table.squared_distances(
        a.pointer, depth, rows, b.pointer, depth, columns, depth, out.pointer, columns)
      Path.scalar.table.squared_distances(
        a.pointer, depth, rows, b.pointer, depth, columns, depth, scalar.pointer, columns)
      let expected = (0..<rows * columns).map { index -> Float in
        var sum = 0.0
        for k in 0..<depth {
          let difference =
            Double(a.pointer[index / columns * depth + k]) - Double(b.pointer[index % columns * depth + k])
          sum += difference * difference
        }
        return Float(sum)
      }
      expectClose(out.elements, expected, ulps: 8, absolute: 1e-6)
      #expect(out.elements == scalar.elements, "\(path) \(rows)x\(columns)k\(depth)")
    }
  }

  @Test(arguments: Path.all) func linesAreBlurredAlike(path: Path) {
    var random = SeededRandom(seed: 37)
    let taps = floats(5, 0, 1, &random)
    for (count, step, radius) in [(8, 8, 4), (72, 8, 4), (64, 64, 2), (200, 8, 1), (7, 1, 3), (3, 5, 0)] {
      let line = floats(count + 2 * radius * step, -1, 1, &random)
      let out = GuardedBuffer<Float>(count: count)
      let x = line.pointer + radius * step
      path.table.blur_line(x, step, count, taps.pointer, radius, out.pointer)
      for place in 0..<count {
        var sum = x[place]
        for d in 1..<radius + 1 {
          let both = x[place - d * step] + x[place + d * step]
          let part = both * taps.pointer[d]
          sum += part
        }
        #expect(out.pointer[place] == sum, "\(path) \(count), step \(step), radius \(radius)")
      }
    }
  }

  @Test func unpackingInvertsPacking() {
    var random = SeededRandom(seed: 35)
    let panels = Panels(channels: 19, columns: 70, bias: false, random: &random)
    for path in Path.all {
      let out = GuardedBuffer<Float>(count: 5 * 70)
      var view = panels.view
      path.table.unpack_rows(&view, 14, 19, 70, out.pointer, 70)
      let expected = (0..<5 * 70).map {
        Float(panels.rows[(14 + $0 / 70) * 70 + $0 % 70]) * panels.scale.pointer[14 + $0 / 70]
      }
      #expect(out.elements == expected, "\(path)")
    }
  }

  @Test func dispatchIsConsistent() {
    #expect(ck_path_supported(CK_PATH_SCALAR) == 1)
    #expect(ck_path_supported(ck_path_best()) == 1)
    for raw in 0..<CK_PATH_COUNT.rawValue {
      let path = ck_path(raw)
      #expect((ck_table_for(path) != nil) == (ck_path_built(path) != 0))
      if let table = ck_table_for(path) {
        #expect(String(cString: table.pointee.name) == String(cString: ck_path_name(path)))
      }
    }
    for path in Path.all { PathCoverage.record(path.description) }
  }
}
