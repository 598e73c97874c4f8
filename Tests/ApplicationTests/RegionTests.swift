// Connected regions and their outlines, against a plain flood fill and a plain point-in-polygon test.
import Application
import Testing

@Suite struct RegionTests {
  /// A map of few labels in blots, so that regions have holes, touch at corners and reach the borders.
  private static func map(_ seed: UInt64, width: Int, height: Int, labels: UInt16) -> [UInt16] {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    func next() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
    var map = (0..<width * height).map { _ in UInt16(next() % UInt64(labels)) }
    for index in map.indices where index >= width && next() % 3 == 0 { map[index] = map[index - width] }
    for index in map.indices where index > 0 && next() % 3 == 0 { map[index] = map[index - 1] }
    return map
  }

  private static func regions(_ map: [UInt16], width: Int) -> LabelRegions {
    var regions = LabelRegions()
    map.withUnsafeBufferPointer {
      for y in 0..<map.count / width { regions.add(y, $0.baseAddress! + y * width, width: width) }
    }
    regions.end()
    return regions
  }

  /// Numbers by class, then first pixel, as `LabelRegions` has them.
  private static func flooded(_ map: [UInt16], width: Int) -> [Int] {
    var found = [Int](repeating: -1, count: map.count)
    var count = 0
    for label in Set(map).sorted() {
      for start in map.indices where map[start] == label && found[start] < 0 {
        var open = [start]
        found[start] = count
        while let index = open.popLast() {
          let x = index % width
          let near =
            [index - width, index + width] + (x > 0 ? [index - 1] : []) + (x + 1 < width ? [index + 1] : [])
          for other in near where map.indices.contains(other) && map[other] == label && found[other] < 0 {
            found[other] = count
            open.append(other)
          }
        }
        count += 1
      }
    }
    return found
  }

  /// Whether the centre of a pixel is inside, by the even-odd rule.
  private static func covers(_ ring: [Corner], _ x: Int, _ y: Int) -> Bool {
    var isInside = false
    for index in ring.indices {
      let (a, b) = (ring[index], ring[(index + 1) % ring.count])
      guard (a.y <= y) != (b.y <= y) else { continue }
      let crossing = Double(a.x) + (Double(y) + 0.5 - Double(a.y)) * Double(b.x - a.x) / Double(b.y - a.y)
      if crossing > Double(x) + 0.5 { isInside.toggle() }
    }
    return isInside
  }

  @Test(arguments: [(1, 1), (1, 9), (9, 1), (7, 5), (23, 17)]) func outlinesCoverTheirPixels(
    _ size: (Int, Int)
  ) {
    let (width, height) = size
    for seed in 1..<20 {
      let map = Self.map(UInt64(seed), width: width, height: height, labels: UInt16(2 + seed % 3))
      let regions = Self.regions(map, width: width)
      let wanted = Self.flooded(map, width: width)
      #expect(map.indices.allSatisfy { regions.region(row: $0 / width, column: $0 % width) == wanted[$0] })
      #expect(regions.labels.count == (wanted.max() ?? -1) + 1)
      regions.forEachRegion { region, runs in
        let outline = Outline(runs)
        let rings = [outline.outer] + outline.holes
        #expect(!outline.outer.isEmpty && rings.allSatisfy { $0.count >= 4 })
        #expect(regions.extents[region].pixelCount == wanted.count { $0 == region })
        for index in map.indices {
          let (x, y) = (index % width, index / width)
          let isThere = wanted[index] == region
          #expect((rings.count { Self.covers($0, x, y) } % 2 == 1) == isThere)
          #expect(Self.covers(outline.joined, x, y) == isThere)
        }
      }
    }
  }
}
