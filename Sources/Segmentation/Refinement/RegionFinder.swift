// Connected regions of a label map that arrives row by row and is never held.
import Compute

/// A pixel, in row-major order.
package struct RegionPlace: Equatable, Comparable, Sendable {
  package var x: Int32
  package var y: Int32

  package init(_ x: Int32, _ y: Int32) { (self.x, self.y) = (x, y) }

  package static func < (a: RegionPlace, b: RegionPlace) -> Bool { (a.y, a.x) < (b.y, b.x) }
}

/// One 8-connected region of a class on the half-size copy.
///
/// - Units: half-size pixels; box corners inclusive.
package struct Region: Equatable, Sendable {
  package var label: UInt16
  package var area: Int32
  /// The box's corner at the upper left.
  package var low: RegionPlace
  /// The box's corner at the lower right.
  package var high: RegionPlace
  /// The first pixel.
  package var first: RegionPlace
  /// Where the class is most probable, the first such pixel.
  package var best: RegionPlace
  /// The class's probability there.
  package var probability: Float

  package init(
    label: UInt16, area: Int32, low: RegionPlace, high: RegionPlace, first: RegionPlace, best: RegionPlace,
    probability: Float
  ) {
    (self.label, self.area) = (label, area)
    (self.low, self.high) = (low, high)
    (self.first, self.best, self.probability) = (first, best, probability)
  }

  /// Takes in a part of the same region.
  mutating func merge(_ other: Region) {
    area += other.area
    low = RegionPlace(min(low.x, other.low.x), min(low.y, other.low.y))
    high = RegionPlace(max(high.x, other.high.x), max(high.y, other.high.y))
    first = min(first, other.first)
    if other.probability > probability || (other.probability == probability && other.best < best) {
      (best, probability) = (other.best, other.probability)
    }
  }

  /// Class by class, then by first pixel.
  static func precedes(_ a: Region, _ b: Region) -> Bool {
    a.label == b.label ? a.first < b.first : a.label < b.label
  }
}

/// Streaming component labelling over runs.
///
/// - Shapes: rows of [width] labels and probabilities, top to bottom.
/// - Memory: about 250 bytes a column and 44 bytes a kept region; nothing that grows with rows.
/// - Errors: none; of more than `capacity` regions the smallest are left out and counted in `dropped`.
/// - Source: regions as skimage `measure.label(connectivity: 2)` numbers them, boxes as torchvision
///   `masks_to_boxes`.
package struct RegionFinder {
  private struct Run {
    var start: Int32
    var end: Int32
    var label: UInt16
    var part: Int32
  }

  package let width: Int
  package let capacity: Int
  package let minimalArea: Int
  package private(set) var count = 0
  package private(set) var dropped = 0

  private var runs: UnsafeMutablePointer<Run>
  private var previousRuns: UnsafeMutablePointer<Run>
  private var previousCount = 0
  private var parts: UnsafeMutablePointer<Region>
  private var nextParts: UnsafeMutablePointer<Region>
  private var partCount = 0
  private let parent: UnsafeMutablePointer<Int32>
  private let renamed: UnsafeMutablePointer<Int32>
  private let kept: UnsafeMutablePointer<Region>
  private var y: Int32 = 0

  /// `kept` [capacity]: where the regions go; it outlives the finder's other scratch.
  package init(
    _ arena: Arena, width: Int, minimalArea: Int, kept: UnsafeMutablePointer<Region>, capacity: Int
  ) throws(ComputeError) {
    self.width = width
    self.minimalArea = minimalArea
    self.kept = kept
    self.capacity = capacity
    runs = try arena.reserve(Run.self, width)
    previousRuns = try arena.reserve(Run.self, width)
    parts = try arena.reserve(Region.self, 2 * width)
    nextParts = try arena.reserve(Region.self, width)
    parent = try arena.reserve(Int32.self, 2 * width)
    renamed = try arena.reserve(Int32.self, 2 * width)
  }

  /// The regions found so far; in order once `finish` was called.
  package var regions: UnsafeMutableBufferPointer<Region> {
    UnsafeMutableBufferPointer(start: kept, count: count)
  }

  /// Takes the next row.
  package mutating func add(row labels: UnsafePointer<UInt16>, probabilities: UnsafePointer<Float>) {
    var runCount = 0
    var first = 0
    var x = 0
    while x < width {
      let label = labels[x]
      var end = x + 1
      while end < width && labels[end] == label { end += 1 }
      if label != LabelRows.noClass {
        let part = addRun(x, end - 1, label, probabilities, &first)
        runs[runCount] = Run(start: Int32(x), end: Int32(end - 1), label: label, part: part)
        runCount += 1
      }
      x = end
    }
    settle(runCount)
    y += 1
  }

  /// Joins a run with the runs above that touch it, corners included; returns its part.
  private mutating func addRun(
    _ start: Int, _ end: Int, _ label: UInt16, _ probabilities: UnsafePointer<Float>, _ first: inout Int
  ) -> Int32 {
    var best = start
    for x in start...end where probabilities[x] > probabilities[best] { best = x }
    let line = Region(
      label: label, area: Int32(end - start + 1), low: RegionPlace(Int32(start), y),
      high: RegionPlace(Int32(end), y), first: RegionPlace(Int32(start), y),
      best: RegionPlace(Int32(best), y), probability: probabilities[best])
    while first < previousCount && Int(previousRuns[first].end) < start - 1 { first += 1 }
    var root: Int32 = -1
    var above = first
    while above < previousCount && Int(previousRuns[above].start) <= end + 1 {
      if previousRuns[above].label == label {
        let other = find(previousRuns[above].part)
        if root < 0 {
          root = other
        } else if other != root {
          parts[Int(root)].merge(parts[Int(other)])
          parent[Int(other)] = root
        }
      }
      above += 1
    }
    if root >= 0 {
      parts[Int(root)].merge(line)
      return root
    }
    parts[partCount] = line
    parent[partCount] = Int32(partCount)
    partCount += 1
    return Int32(partCount - 1)
  }

  private func find(_ part: Int32) -> Int32 {
    var part = part
    while parent[Int(part)] != part {
      parent[Int(part)] = parent[Int(parent[Int(part)])]
      part = parent[Int(part)]
    }
    return part
  }

  /// Ends the row: parts that no run of it belongs to are complete, the others are renumbered by their first
  /// run.
  private mutating func settle(_ runCount: Int) {
    for part in 0..<partCount { renamed[part] = -1 }
    var nextCount = 0
    for run in 0..<runCount {
      let root = Int(find(runs[run].part))
      if renamed[root] < 0 {
        renamed[root] = Int32(nextCount)
        nextParts[nextCount] = parts[root]
        nextCount += 1
      }
      runs[run].part = renamed[root]
    }
    for part in 0..<partCount where parent[part] == Int32(part) && renamed[part] < 0 { keep(parts[part]) }
    // `parts` holds twice a row, `nextParts` one: copied back, not swapped.
    parts.update(from: nextParts, count: nextCount)
    partCount = nextCount
    for part in 0..<partCount { parent[part] = Int32(part) }
    swap(&runs, &previousRuns)
    previousCount = runCount
  }

  private mutating func keep(_ region: Region) {
    if Int(region.area) < minimalArea { return }
    if count < capacity {
      kept[count] = region
      count += 1
      return
    }
    dropped += 1
    var smallest = 0
    for index in 1..<max(capacity, 1) {
      let a = kept[index]
      let b = kept[smallest]
      if a.area < b.area || (a.area == b.area && Region.precedes(b, a)) { smallest = index }
    }
    let least = kept[smallest]
    if region.area > least.area || (region.area == least.area && Region.precedes(region, least)) {
      kept[smallest] = region
    }
  }

  /// Completes what touches the last row, leaves out regions that `isWanted` refuses, and orders the others.
  package mutating func finish(_ isWanted: (UInt16) -> Bool) {
    settle(0)
    var wanted = 0
    for index in 0..<count where isWanted(kept[index].label) {
      kept[wanted] = kept[index]
      wanted += 1
    }
    count = wanted
    var gap = count / 2
    while gap > 0 {
      for index in gap..<max(count, gap) {
        let region = kept[index]
        var place = index
        while place >= gap && Region.precedes(region, kept[place - gap]) {
          kept[place] = kept[place - gap]
          place -= gap
        }
        kept[place] = region
      }
      gap = gap == 2 ? 1 : gap * 5 / 11
    }
  }
}
