// The outline of a region as polygons along the edges of its pixels, so that the polygon covers exactly them.

/// A corner of pixels: (0, 0) is the upper left corner of the photo, (width, height) the lower right one.
package struct Corner: Hashable {
  package let x: Int
  package let y: Int
}

/// The outer ring of a region and the rings of its holes.
///
/// Every pixel edge between inside and outside is walked once with the inside on the right: rings around the
/// region run clockwise, those around holes the other way. Edges of a run: its left and right end, and what
/// of its top and bottom no other run of the region covers. Where two pixels touch by a corner alone the walk
/// turns right and stays with its own pixel, since regions hold together by edges.
///
/// - Memory: 40 bytes an edge, some 60 in the table of where edges begin.
package struct Outline {
  package private(set) var outer: [Corner] = []
  package private(set) var holes: [[Corner]] = []

  private struct Edge {
    let from: Corner
    let to: Corner
    /// 0 east, 1 south, 2 west, 3 north.
    let direction: Int
    var isWalked = false
  }

  /// `runs`: of one region, row by row, from the left.
  package init(_ runs: ArraySlice<LabelRegions.Run>) {
    var edges = Self.edges(runs)
    var starts: [Corner: (first: Int, second: Int?)] = [:]
    starts.reserveCapacity(edges.count)
    for index in edges.indices {
      if starts[edges[index].from] == nil {
        starts[edges[index].from] = (index, nil)
      } else {
        starts[edges[index].from]?.second = index
      }
    }
    for index in edges.indices where !edges[index].isWalked {
      let ring = Self.ring(from: index, &edges, starts)
      if Self.isClockwise(ring) { outer = ring } else { holes.append(ring) }
    }
  }

  /// Corners where the walk that begins with an edge turns.
  private static func ring(
    from first: Int, _ edges: inout [Edge], _ starts: [Corner: (first: Int, second: Int?)]
  ) -> [Corner] {
    var ring: [Corner] = []
    var index = first
    repeat {
      edges[index].isWalked = true
      let edge = edges[index]
      guard let next = starts[edge.to] else { break }
      index = next.first
      if let second = next.second, edges[second].direction == (edge.direction + 1) % 4 { index = second }
      if edges[index].direction != edge.direction { ring.append(edge.to) }
    } while index != first
    return ring
  }

  private static func edges(_ runs: ArraySlice<LabelRegions.Run>) -> [Edge] {
    var edges: [Edge] = []
    func add(_ x0: UInt32, _ y0: UInt32, _ x1: UInt32, _ y1: UInt32, _ direction: Int) {
      edges.append(
        Edge(
          from: Corner(x: Int(x0), y: Int(y0)), to: Corner(x: Int(x1), y: Int(y1)), direction: direction))
    }
    var above = runs.startIndex..<runs.startIndex
    var row = runs.startIndex
    while row < runs.endIndex {
      let y = runs[row].row
      let end = runs[row...].firstIndex { $0.row != y } ?? runs.endIndex
      if above.isEmpty || runs[above.lowerBound].row + 1 != y { above = row..<row }
      for run in runs[row..<end] {
        add(run.columns.lowerBound, y + 1, run.columns.lowerBound, y, 3)
        add(run.columns.upperBound, y, run.columns.upperBound, y + 1, 1)
        forEachGap(run.columns, runs[above]) { add($0, y, $1, y, 0) }
      }
      for run in runs[above] {
        forEachGap(run.columns, runs[row..<end]) { add($1, y, $0, y, 2) }
      }
      above = row..<end
      row = end
      let isLast = end == runs.endIndex || runs[end].row != y + 1
      if isLast {
        for run in runs[above] { add(run.columns.upperBound, y + 1, run.columns.lowerBound, y + 1, 2) }
      }
    }
    return edges
  }

  /// What of `columns` no run of a row covers.
  private static func forEachGap(
    _ columns: Range<UInt32>, _ row: ArraySlice<LabelRegions.Run>, _ body: (UInt32, UInt32) -> Void
  ) {
    var start = columns.lowerBound
    for run in row where run.columns.overlaps(columns) {
      if run.columns.lowerBound > start { body(start, run.columns.lowerBound) }
      start = max(start, run.columns.upperBound)
    }
    if start < columns.upperBound { body(start, columns.upperBound) }
  }

  private static func isClockwise(_ ring: [Corner]) -> Bool {
    var sum = 0
    for index in ring.indices {
      let (a, b) = (ring[index], ring[index + 1 == ring.count ? 0 : index + 1])
      sum += a.x * b.y - b.x * a.y
    }
    return sum > 0
  }

  /// One ring for formats without holes: each hole is joined to the ring by a cut that is walked there and
  /// back, from its leftmost corner to the nearest corner of what is joined already.
  package var joined: [Corner] {
    var ring = outer
    for hole in holes {
      guard let first = hole.indices.min(by: { (hole[$0].x, hole[$0].y) < (hole[$1].x, hole[$1].y) }) else {
        continue
      }
      func distance(_ corner: Corner) -> Int {
        let (x, y) = (corner.x - hole[first].x, corner.y - hole[first].y)
        return x * x + y * y
      }
      guard let near = ring.indices.min(by: { distance(ring[$0]) < distance(ring[$1]) }) else { continue }
      let cut = Array(hole[first...] + hole[..<first]) + [hole[first], ring[near]]
      ring.insert(contentsOf: cut, at: near + 1)
    }
    return ring
  }
}
