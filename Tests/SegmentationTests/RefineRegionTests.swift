// Streaming regions against a flood fill over the whole map.
import Compute
import Segmentation
import Testing

@Suite struct RefineRegionTests {
  private func flood(_ labels: [UInt16], _ values: [Float], width: Int, minimalArea: Int) -> [Region] {
    let height = labels.count / width
    func place(_ cell: Int) -> RegionPlace { RegionPlace(Int32(cell % width), Int32(cell / width)) }
    var seen = [Bool](repeating: false, count: labels.count)
    var out: [Region] = []
    for start in 0..<labels.count where !seen[start] && labels[start] != LabelRows.noClass {
      var members: [Int] = []
      var stack = [start]
      seen[start] = true
      while let cell = stack.popLast() {
        members.append(cell)
        for dy in -1...1 {
          for dx in -1...1 {
            let (y, x) = (cell / width + dy, cell % width + dx)
            guard y >= 0, y < height, x >= 0, x < width else { continue }
            let next = y * width + x
            if !seen[next] && labels[next] == labels[start] {
              seen[next] = true
              stack.append(next)
            }
          }
        }
      }
      if members.count < minimalArea { continue }
      members.sort()
      var best = members[0]
      for cell in members where values[cell] > values[best] { best = cell }
      let xs = members.map { Int32($0 % width) }
      let ys = members.map { Int32($0 / width) }
      out.append(
        Region(
          label: labels[start], area: Int32(members.count), low: RegionPlace(xs.min()!, ys.min()!),
          high: RegionPlace(xs.max()!, ys.max()!), first: place(start), best: place(best),
          probability: values[best]))
    }
    return out.sorted { ($0.label, $0.first) < ($1.label, $1.first) }
  }

  private func stream(
    _ labels: [UInt16], _ values: [Float], width: Int, minimalArea: Int, capacity: Int = 4096
  ) throws -> (regions: [Region], dropped: Int) {
    let arena = try Arena(capacity: 4 << 20)
    let kept = try arena.reserve(Region.self, capacity)
    var finder = try RegionFinder(
      arena, width: width, minimalArea: minimalArea, kept: kept, capacity: capacity)
    for start in stride(from: 0, to: labels.count, by: width) {
      labels.withUnsafeBufferPointer { labels in
        values.withUnsafeBufferPointer { values in
          finder.add(row: labels.baseAddress! + start, probabilities: values.baseAddress! + start)
        }
      }
    }
    finder.finish { _ in true }
    return (Array(finder.regions), finder.dropped)
  }

  @Test(arguments: 0..<60) func equalsFloodFill(_ seed: Int) throws {
    let numbers = Refine.uniform(seed, 3)
    let width = 1 + Int(abs(numbers[0]) * 40)
    let height = 1 + Int(abs(numbers[1]) * 40)
    let classes = Float(2 + seed % 4)
    let labels = Refine.uniform(seed + 500, width * height).map { value -> UInt16 in
      let label = UInt16((value + 1) / 2 * classes)
      return label == 0 && seed % 2 == 0 ? LabelRows.noClass : label
    }
    // Few values, so that equal maxima happen.
    let values = Refine.uniform(seed + 900, width * height).map { ($0 * 4).rounded() }
    for area in [1, 3] {
      let found = try stream(labels, values, width: width, minimalArea: area)
      let isEqual = found.regions == flood(labels, values, width: width, minimalArea: area)
      #expect(isEqual, "seed \(seed), area \(area)")
      #expect(found.dropped == 0)
    }
  }

  @Test func spiralsAndCombsJoin() throws {
    // Teeth that meet only in the last row, and arms that meet only at corners.
    let width = 9
    var labels = [UInt16](repeating: LabelRows.noClass, count: width * 6)
    for y in 0..<5 { for x in stride(from: 0, to: width, by: 2) { labels[y * width + x] = 3 } }
    for x in stride(from: 1, to: width, by: 2) { labels[5 * width + x] = 3 }
    let values = [Float](repeating: 0.5, count: labels.count)
    let found = try stream(labels, values, width: width, minimalArea: 1)
    let isEqual = found.regions == flood(labels, values, width: width, minimalArea: 1)
    #expect(isEqual)
    #expect(found.regions.count == 1)
  }

  @Test func smallestAreLeftOutWhenFull() throws {
    let labels = Refine.uniform(7, 900).map { UInt16($0 > 0.2 ? 1 : 0) }.map {
      $0 == 0 ? LabelRows.noClass : $0
    }
    let values = [Float](repeating: 1, count: 900)
    let all = try stream(labels, values, width: 30, minimalArea: 1)
    #expect(all.regions.count > 8)
    let some = try stream(labels, values, width: 30, minimalArea: 1, capacity: 5)
    #expect(some.dropped == all.regions.count - 5)
    let largest = all.regions.sorted { ($1.area, $0.first) < ($0.area, $1.first) }
      .prefix(5)
    #expect(
      some.regions.map(\.first.x) == largest.sorted { $0.first < $1.first }.map(\.first.x))
  }
}
