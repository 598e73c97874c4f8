import Quantization
// The arithmetic of one row, against the worked example of docs/quantization.md and a slow restatement.
import TestSupport
import Testing

@Suite struct QuantizerRowTests {
  /// Quantizes a row after padding it to 16 values.
  private func quantize(_ values: [Float]) -> (row: RowQuantizer.Row, integers: [Int8], tally: ErrorTally)? {
    let count = (values.count + 15) / 16 * 16
    let padded = values + [Float](repeating: 0, count: count - values.count)
    var integers = [Int8](repeating: 99, count: count)
    var tally = ErrorTally()
    guard let row = RowQuantizer.quantize(padded, count: count, into: &integers, tally: &tally) else {
      return nil
    }
    #expect(integers[values.count...].allSatisfy { $0 == 0 })
    tally.elementCount = values.count
    return (row, Array(integers.prefix(values.count)), tally)
  }

  /// docs/quantization.md, "A worked example".
  @Test func workedExample() throws {
    let result = try #require(quantize([0.5, -0.25, 0.1, -1.27, 0.034]))
    #expect(result.row.scale == Float(1.27) / 127)
    #expect(result.integers == [50, -25, 10, -127, 3])
    #expect(result.row.sum == -89)
    #expect(abs(result.tally.maxError - 0.004) < 1e-7)
  }

  @Test func tiesGoToTheEvenNeighbour() throws {
    // A largest magnitude of 127 makes the scale exactly 1.
    let result = try #require(quantize([127, 0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, 125.5, 126.5, -126.5]))
    #expect(result.row.scale == 1)
    #expect(result.integers == [127, 0, 2, 2, 4, 0, -2, -2, 126, 126, -126])
  }

  @Test func zeroAndVanishingRows() throws {
    let zero = try #require(quantize([0, -0, 0]))
    #expect(zero.row == RowQuantizer.Row(scale: 1, sum: 0))
    #expect(zero.integers == [0, 0, 0])
    let vanishing = try #require(quantize([Float.leastNonzeroMagnitude]))
    #expect(vanishing.row == RowQuantizer.Row(scale: 1, sum: 0))
    for steps in [64, 100, 190, 400] as [Float] {
      let tiny = try #require(quantize([Float.leastNonzeroMagnitude * steps, 0]))
      #expect((1...127).contains(tiny.integers[0]), "\(steps) steps")
    }
    let huge = try #require(quantize([Float.greatestFiniteMagnitude, -Float.greatestFiniteMagnitude]))
    #expect(huge.integers == [127, -127])
  }

  @Test func nonFiniteValuesAreFound() {
    for bad in [Float.nan, .infinity, -.infinity, -Float.nan] {
      for index in 0..<17 {
        var values = [Float](repeating: 1, count: 17)
        values[index] = bad
        #expect(quantize(values) == nil, "\(bad) at \(index)")
      }
    }
  }

  @Test func agreesWithTheSlowForm() throws {
    var state: UInt64 = 1
    for count in [1, 2, 15, 16, 17, 31, 64, 100] {
      for _ in 0..<50 {
        let values = (0..<count).map { _ in toyRandom(&state) }
        let result = try #require(quantize(values))
        let scale = values.map { abs($0) }.max()! / 127
        #expect(result.row.scale == scale)
        let expected = values.map { Int8(($0 / scale).rounded(.toNearestOrEven)) }
        #expect(result.integers == expected)
        #expect(result.row.sum == expected.reduce(0) { $0 + Int32($1) })
        // The bound of docs/quantization.md: half a step.
        #expect(result.tally.maxError <= scale / 2 * 1.0001)
        #expect(result.tally.rmsError <= Double(result.tally.maxError) * 1.0001)
      }
    }
  }

  @Test func panelsInterleaveFourColumns() {
    let depth = 64
    let rows = (0..<(16 * depth)).map { Int8(truncatingIfNeeded: $0 &* 31) }
    var panel = [Int8](repeating: 0, count: rows.count)
    RowQuantizer.pack(rows, depth: depth, into: &panel)
    for channel in 0..<16 {
      for column in 0..<depth {
        let place = ((column / 4) * 16 + channel) * 4 + column % 4
        #expect(panel[place] == rows[channel * depth + column])
      }
    }
  }
}
