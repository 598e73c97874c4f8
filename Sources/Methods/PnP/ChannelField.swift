// Class maps of a few hundred patches as channels of pixels: enlarged with aligned corners, blurred, brought
// to 0...1. Enlarging and blurring are one matrix an axis, so that a channel is the product of two such
// matrices with its map and no channel of the whole photo ever exists. The background is 1 where every class
// is exactly 0, which depends on the patches a pixel lies between and on nothing else: it is such a product,
// too, over all patch rows and all gaps between them.
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What the pixels along one side draw from the patches.
private struct ChannelAxis {
  /// Shares of patch rows. Shapes: [pixels, grid].
  let cells: Rows
  /// Shares of patch rows and of the gaps between them, in order. Shapes: [pixels, 2 * grid - 1].
  let bands: Rows

  /// - Parameter sigma: of the blur, pixels; 0: none.
  init(_ run: RunContext, pixels: Int, grid: Int, sigma: Double) throws(ComputeError) {
    cells = try run.arena.rows(pixels, grid)
    bands = try run.arena.rows(pixels, 2 * grid - 1)
    if run.isPlanning { return }
    let radius = Int(4 * sigma + 0.5)
    var kernel: [Double] = []
    for offset in 0...radius {
      kernel.append(radius == 0 ? 1 : exp(-0.5 * Double(offset * offset) / (sigma * sigma)))
    }
    let sum = kernel[0] + 2 * kernel.dropFirst().reduce(0, +)
    var line = [Double](repeating: 0, count: 3 * grid - 1)
    for pixel in 0..<pixels {
      for index in line.indices { line[index] = 0 }
      for offset in -radius...radius {
        let at = Self.mirrored(pixel + offset, pixels)
        let share = kernel[abs(offset)] / sum
        // The position times (pixels - 1), a whole number.
        let place = at * (grid - 1)
        let (lower, rest) = place.quotientAndRemainder(dividingBy: max(pixels - 1, 1))
        let fraction = Double(rest) / Double(max(pixels - 1, 1))
        line[lower] += share * (1 - fraction)
        if rest > 0 { line[lower + 1] += share * fraction }
        line[grid + 2 * lower + (rest > 0 ? 1 : 0)] += share
      }
      for cell in 0..<grid { cells.row(pixel)[cell] = Float(line[cell]) }
      for band in 0..<2 * grid - 1 { bands.row(pixel)[band] = Float(line[grid + band]) }
    }
  }

  /// Beyond an end the samples come back, the one at the end twice.
  private static func mirrored(_ index: Int, _ count: Int) -> Int {
    let turn = ((index % (2 * count)) + 2 * count) % (2 * count)
    return turn < count ? turn : 2 * count - 1 - turn
  }
}

/// Channels of the classes that are there; all others are far below.
///
/// - Shapes: grid rows and columns are pixels of the photo, or of a copy with a long side of 512.
/// - Units: 0...1 where blurred; else what the maps hold, and 1 for the background.
/// - Memory: (height + width) * 3 grid floats, and grid * grid floats a class.
/// - Source: PnP-OVSS's public code (torch `interpolate`, scipy `gaussian_filter`). Differs: a constant
///   channel becomes 0.
struct ChannelField: ScoreField {
  let grid: ScoreGrid
  private let side: Int
  private let labels: [Int]
  private let hasBackground: Bool
  /// Of classes that are not there.
  private var absent = ScoreGrid.padding
  /// As the maps came, before anything was taken out of them.
  let isFinite: Bool
  private let down: ChannelAxis
  private let across: ChannelAxis
  /// Maps with all below the threshold taken out. Shapes: [classes, cells].
  private let maps: Rows
  /// 1 where every class is 0. Shapes: [2 * side - 1, 2 * side - 1].
  private let empty: Rows
  /// [channels]: what is taken off, and what is multiplied by then.
  private let low: UnsafeMutablePointer<Float>
  private let factor: UnsafeMutablePointer<Float>

  /// Channels; the background's comes first.
  private var channels: Int { labels.count + (hasBackground ? 1 : 0) }

  /// - Shapes: `maps` [classes, cells], of the classes `labels`; changed in place.
  /// - Parameters:
  ///   - capacity: classes that a plan reserves for.
  ///   - isBlurred: blurred and brought to 0...1; otherwise as the maps are.
  init(
    _ run: RunContext, _ maps: Rows, labels: [Int], classCount: Int, size: (height: Int, width: Int),
    _ options: SegmentOptions, hasBackground: Bool, isBlurred: Bool
  ) throws {
    side = Int(Double(maps.width).squareRoot())
    (self.labels, self.hasBackground) = (labels, hasBackground)
    let sigma = isBlurred ? Double(options.blur) * Double(max(size.height, size.width)) : 0
    grid = try ScoreGrid(
      run.arena, rows: size.height, columns: size.width, phraseClass: Array(0..<classCount))
    down = try ChannelAxis(run, pixels: size.height, grid: side, sigma: sigma)
    across = try ChannelAxis(run, pixels: size.width, grid: side, sigma: sigma)
    self.maps = maps
    isFinite = run.isPlanning || maps.prefix(labels.count).isFinite
    empty = try run.arena.rows(2 * side - 1, 2 * side - 1)
    low = try run.arena.floats(maps.count + 1)
    factor = try run.arena.floats(maps.count + 1)
    if run.isPlanning {
      if isBlurred { try rescale(run) }
      return
    }
    cut(below: options.mapThreshold)
    findEmpty()
    low.update(repeating: 0, count: channels)
    factor.update(repeating: 1, count: channels)
    if isBlurred { try rescale(run) }
  }

  /// Takes out what is below a share of each map's range.
  private func cut(below threshold: Float) {
    for index in labels.indices {
      let map = maps.row(index)
      var (least, most) = (map[0], map[0])
      for cell in 0..<maps.width { (least, most) = (min(least, map[cell]), max(most, map[cell])) }
      let range = most - least
      for cell in 0..<maps.width {
        let share = range > 0 ? (map[cell] - least) / range : 0
        if share < threshold || range <= 0 { map[cell] = 0 }
      }
    }
  }

  /// A pixel is empty where all patches it lies between are.
  private func findEmpty() {
    func isEmpty(_ row: Int, _ column: Int) -> Bool {
      labels.indices.allSatisfy { maps.row($0)[row * side + column] == 0 }
    }
    for y in 0..<2 * side - 1 {
      for x in 0..<2 * side - 1 {
        let rows = [y / 2, (y + 1) / 2]
        let columns = [x / 2, (x + 1) / 2]
        let isOpen = rows.contains { row in columns.contains { !isEmpty(row, $0) } }
        empty.row(y)[x] = isOpen ? 0 : 1
      }
    }
  }

  /// Every channel to 0...1 over all pixels.
  private func rescale(_ run: RunContext) throws {
    let engine = run.engine
    try run.scope {
      let scratch = try engine.perWorker { () throws(ComputeError) in
        try run.arena.floats(scratchCount(maps.count + 1))
      }
      let limits = try engine.perWorker { () throws(ComputeError) in
        try run.arena.floats(2 * (maps.count + 1))
      }
      if run.isPlanning { return }
      let count = channels
      for own in limits {
        own.update(repeating: .infinity, count: count)
        (own + count).update(repeating: -.infinity, count: count)
      }
      engine.pool.run(count: grid.rows, chunk: 8) { range, worker in
        let own = limits[worker]
        for y in range {
          let line = values(engine, y, scratch[worker])
          for x in 0..<grid.columns {
            for channel in 0..<count {
              own[channel] = min(own[channel], line.row(x)[channel])
              own[count + channel] = max(own[count + channel], line.row(x)[channel])
            }
          }
        }
      }
      for channel in 0..<count {
        let least = limits.reduce(Float.infinity) { min($0, $1[channel]) }
        let range = limits.reduce(-Float.infinity) { max($0, $1[count + channel]) } - least
        (low[channel], factor[channel]) = (least, range > 0 ? 1 / range : 0)
      }
    }
  }

  /// Keeps one row of pixels where somebody wants to see it, a row a channel.
  func record(_ name: String, _ run: RunContext) {
    guard let taps = run.taps, !run.isPlanning else { return }
    var scratch = [Float](repeating: 0, count: scratchCount)
    scratch.withUnsafeMutableBufferPointer { room in
      guard let base = room.baseAddress else { return }
      let line = values(run.engine, grid.rows / 3, base)
      for channel in 0..<channels {
        var row = (0..<grid.columns).map { (line.row($0)[channel] - low[channel]) * factor[channel] }
        row.withUnsafeMutableBufferPointer {
          taps.record(name, Rows($0.baseAddress!, count: 1, width: grid.columns), at: channel)
        }
      }
    }
  }

  /// The same with absent classes just below the least that a channel has, which is 0.
  var fading: ChannelField {
    var field = self
    field.absent = -0.001
    return field
  }

  // MARK: Rows

  private func scratchCount(_ channels: Int) -> Int {
    channels * (grid.columns + side) + 2 * side - 1
  }
  var scratchCount: Int { scratchCount(maps.count + 1) }

  var rowWork: Double { Double(channels) * Double(side) * Double(side + grid.columns) }

  /// Channels of one row of pixels, before they are brought to 0...1.
  ///
  /// - Shapes: the result [columns, channels], in `scratch`.
  private func values(_ engine: Engine, _ y: Int, _ scratch: UnsafeMutablePointer<Float>) -> Rows {
    let first = hasBackground ? 1 : 0
    let out = Rows(scratch, count: grid.columns, width: channels)
    let mixed = Rows(scratch + grid.columns * channels, count: labels.count, width: side)
    for index in labels.indices {
      engine.productNN(
        down.cells[y..<y + 1], Rows(maps.row(index), count: side, width: side), into: mixed[index..<index + 1]
      )
    }
    engine.productNT(across.cells, mixed, into: out.columns(first..<channels))
    guard hasBackground else { return out }
    let band = Rows(mixed.base + labels.count * side, count: 1, width: 2 * side - 1)
    engine.productNN(down.bands[y..<y + 1], empty, into: band)
    engine.productNT(across.bands, band, into: out.columns(0..<1))
    return out
  }

  func row(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    let line = values(engine, index, scratch)
    out.update(repeating: absent, count: grid.rowLength)
    let places = (hasBackground ? [0] : []) + labels
    for (channel, label) in places.enumerated() {
      let (least, factor) = (low[channel], factor[channel])
      for x in 0..<grid.columns {
        out[x * grid.lanes * 8 + label] = (line.row(x)[channel] - least) * factor
      }
    }
  }
}

/// Class maps as they are reported; classes that are not there are 0.
struct MapScores: ScoreField {
  let grid: ScoreGrid
  private let maps: Rows
  private let labels: [Int]

  /// - Shapes: `maps` [classes, side * side], copied.
  init(_ run: RunContext, _ maps: Rows, labels: [Int], classCount: Int, side: Int) throws {
    grid = try ScoreGrid(run.arena, rows: side, columns: side, phraseClass: Array(0..<classCount))
    self.maps = try run.arena.rows(maps.count, maps.width)
    self.labels = labels
    if !run.isPlanning { self.maps.update(from: maps) }
  }

  var scratchCount: Int { 0 }
  var rowWork: Double { Double(grid.columns * labels.count) }
  var isFinite: Bool { maps.prefix(labels.count).isFinite }

  func row(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    out.update(repeating: ScoreGrid.padding, count: grid.rowLength)
    for column in 0..<grid.columns {
      let cell = out + column * grid.lanes * 8
      cell.update(repeating: 0, count: grid.classCount)
      for (place, label) in labels.enumerated() {
        cell[label] = maps.row(place)[index * grid.columns + column]
      }
    }
  }
}
