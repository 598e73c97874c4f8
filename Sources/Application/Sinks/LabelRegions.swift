// Connected regions of one label in a label map, from rows of it.

/// Runs of equal labels, joined to regions: pixels of one class that touch by an edge.
///
/// A row's runs are compared with those of the row above, from the left. Two of one label that lie over each
/// other belong together; a union-find remembers which.
///
/// - Memory: 20 bytes a run and 4 a region that began on its own.
package struct LabelRegions {
  /// Pixels side by side with one label.
  package struct Run {
    let row: UInt32
    let columns: Range<UInt32>
    let label: UInt16
    fileprivate(set) var region: UInt32
  }

  /// Row by row, from the left; each knows its region only after `end`.
  private(set) var runs: [Run] = []
  /// The first run of each row; after `end` also that behind the last.
  private(set) var firstRun: [Int] = []
  /// [regions]: by class, then by their first pixel. Empty before `end`.
  package private(set) var extents: [ClassExtent] = []
  /// [regions]
  package private(set) var labels: [Int] = []
  private var parent: [UInt32] = []

  package init() {}

  /// Rows come top to bottom.
  package mutating func add(_ y: Int, _ labels: UnsafePointer<UInt16>, width: Int) {
    var above = firstRun.last ?? 0
    let end = runs.count
    firstRun.append(end)
    forEachRun(labels, width: width) { label, columns in
      var run = Run(
        row: UInt32(y), columns: UInt32(columns.lowerBound)..<UInt32(columns.upperBound),
        label: UInt16(label), region: .max)
      while above < end {
        let upper = runs[above]
        if upper.label == run.label && upper.columns.overlaps(run.columns) {
          run.region = run.region == .max ? root(upper.region) : join(run.region, upper.region)
        }
        // The next run of this row may lie under it, too.
        if upper.columns.upperBound > run.columns.upperBound { break }
        above += 1
      }
      if run.region == .max {
        run.region = UInt32(parent.count)
        parent.append(run.region)
      }
      runs.append(run)
    }
  }

  private mutating func root(_ region: UInt32) -> UInt32 {
    var region = region
    while parent[Int(region)] != region {
      parent[Int(region)] = parent[Int(parent[Int(region)])]
      region = parent[Int(region)]
    }
    return region
  }

  private mutating func join(_ one: UInt32, _ other: UInt32) -> UInt32 {
    let (one, other) = (root(one), root(other))
    parent[Int(max(one, other))] = min(one, other)
    return min(one, other)
  }

  /// Numbers the regions.
  package mutating func end() {
    firstRun.append(runs.count)
    var number = [UInt32](repeating: .max, count: parent.count)
    let roots = runs.indices.filter { isFirst($0, &number) }
    let order = roots.sorted { (runs[$0].label, $0) < (runs[$1].label, $1) }
    for (region, index) in order.enumerated() { number[Int(root(runs[index].region))] = UInt32(region) }
    labels = order.map { Int(runs[$0].label) }
    extents = Array(repeating: ClassExtent(), count: order.count)
    for index in runs.indices {
      let region = number[Int(root(runs[index].region))]
      runs[index].region = region
      extents[Int(region)].add(
        Int(runs[index].row), Int(runs[index].columns.lowerBound)..<Int(runs[index].columns.upperBound))
    }
    parent = []
  }

  /// A region's first run; `seen` marks its root.
  private mutating func isFirst(_ index: Int, _ seen: inout [UInt32]) -> Bool {
    let root = Int(root(runs[index].region))
    defer { seen[root] = 0 }
    return seen[root] == .max
  }

  /// The region of a pixel, after `end`.
  package func region(row: Int, column: Int) -> Int {
    var low = firstRun[row]
    var high = firstRun[row + 1]
    while high - low > 1 {
      let middle = (low + high) / 2
      if Int(runs[middle].columns.lowerBound) <= column { low = middle } else { high = middle }
    }
    return Int(runs[low].region)
  }

  /// The runs of each region, row by row, after `end`.
  package func forEachRegion(_ body: (_ region: Int, _ runs: ArraySlice<Run>) throws -> Void) rethrows {
    let sorted = runs.sorted {
      ($0.region, $0.row, $0.columns.lowerBound) < ($1.region, $1.row, $1.columns.lowerBound)
    }
    var rest = sorted[...]
    while let region = rest.first?.region {
      let mine = rest.prefix { $0.region == region }
      try body(Int(region), mine)
      rest = rest.dropFirst(mine.count)
    }
  }
}
