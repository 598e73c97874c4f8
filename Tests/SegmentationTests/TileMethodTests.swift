// Tiles of RADSeg and PnP-OVSS: what fades into what, and what is decided of a tile or of the raster. Tiles
// are run one by one as photos and put together here once more, in double precision.
import Compute
import Foundation
import Segmentation
import TestSupport
import Testing

/// A raster of made-up fields, and its tiles.
struct TileRaster {
  let width: Int
  let height: Int
  let pixels: [UInt8]
  let across: TileAxis
  let down: TileAxis

  init(width: Int, height: Int, tile: Int, overlap: Int) {
    (self.width, self.height) = (width, height)
    var pixels: [UInt8] = []
    for y in 0..<height {
      for x in 0..<width {
        let shade: Int = (x / 23 * 70) ^ (y / 17 * 50)
        for channel in 0..<3 { pixels.append(UInt8((shade + channel * (40 + x / 31)) & 255)) }
      }
    }
    self.pixels = pixels
    across = TileAxis(length: width, tile: tile, overlap: overlap)
    down = TileAxis(length: height, tile: tile, overlap: overlap)
  }

  func cut(_ row: Int, _ column: Int) -> [UInt8] {
    let left = across.origins[column]
    let (top, count) = (down.origins[row], 3 * across.side)
    var cut: [UInt8] = []
    for y in top..<top + down.side {
      let start = 3 * (y * width + left)
      cut += pixels[start..<start + count]
    }
    return cut
  }

  /// Runs `pixels`, of the raster or of a tile.
  static func run(
    _ session: Session, _ pixels: [UInt8], width: Int, _ wording: Wording, _ options: SegmentOptions,
    within limit: MemoryLimit = .ofRuntime
  ) throws -> GoldenRun {
    try pixels.withUnsafeBufferPointer {
      let photo = PhotoInMemory(
        pixels: $0.baseAddress!, width: width, height: pixels.count / 3 / width)
      let plan = try session.plan(photo, wording, options, scores: true, within: limit)
      return try GoldenRun.run(session, photo, wording, options, plan: plan)
    }
  }

  /// The whole raster.
  func run(
    _ session: Session, _ wording: Wording, _ options: SegmentOptions, within limit: MemoryLimit = .ofRuntime
  ) throws -> GoldenRun {
    try Self.run(session, pixels, width: width, wording, options, within: limit)
  }

  /// Every tile as a photo, by rows of tiles.
  func tiles(_ session: Session, _ wording: Wording, _ options: SegmentOptions) throws -> [[GoldenRun]] {
    var alone = options
    alone.tile = 0
    return try down.origins.indices.map { row in
      try across.origins.indices.map { column in
        try Self.run(session, cut(row, column), width: across.side, wording, alone)
      }
    }
  }
}

/// Values at whole places, read in between them, edges clamped.
private func between(_ position: Double, _ count: Int) -> (lower: Int, upper: Int, fraction: Double) {
  let clamped = min(max(position, 0), Double(count - 1))
  return (Int(clamped), min(Int(clamped) + 1, count - 1), clamped - Double(Int(clamped)))
}

/// Class maps. Shapes: [classes, rows, columns].
private struct Maps {
  let rows: Int
  let columns: Int
  var values: [Double]

  func value(_ label: Int, _ y: Double, _ x: Double) -> Double {
    let (down, across) = (between(y, rows), between(x, columns))
    func at(_ row: Int, _ column: Int) -> Double { values[(label * rows + row) * columns + column] }
    func line(_ row: Int) -> Double {
      at(row, across.lower) * (1 - across.fraction) + at(row, across.upper) * across.fraction
    }
    let (upper, lower) = (line(down.lower), line(down.upper))
    return upper * (1 - down.fraction) + lower * down.fraction
  }
}

@Suite("Tiles by method", .serialized) struct TileMethodTests {
  private static let raster = TileRaster(width: 210, height: 130, tile: 96, overlap: 32)

  private func options(_ options: SegmentOptions) -> SegmentOptions {
    var options = options
    (options.refinement, options.tile, options.overlap) = (.none, 96, 32)
    return options
  }

  // MARK: RADSeg

  /// A class of its own for each phrase: what fades is phrases.
  private func radsegWords(_ test: RADSegCase) throws -> (wording: Wording, count: Int) {
    guard case .vectors(let vectors) = try test.wording().source else { return (try test.wording(), 0) }
    let count = try test.wording().phraseClass.count
    return (Wording(source: .vectors(vectors), phraseClass: Array(0..<count)), count)
  }

  /// Cosines of the tiles, faded into each other.
  private func blended(_ tiles: [[GoldenRun]], _ raster: TileRaster, classes: Int) -> Maps {
    let (tileRows, tileColumns) = (tiles[0][0].report.gridRows, tiles[0][0].report.gridColumns)
    func cells(_ axis: TileAxis, _ count: Int) -> Int { (axis.length * count + axis.side / 2) / axis.side }
    let (rows, columns) = (cells(raster.down, tileRows), cells(raster.across, tileColumns))
    let own = tiles.map { line in
      line.map { Maps(rows: tileRows, columns: tileColumns, values: $0.scores.map { Double($0) }) }
    }
    var maps = Maps(rows: rows, columns: columns, values: [])
    for label in 0..<classes {
      for row in 0..<rows {
        for column in 0..<columns {
          let y = (Double(row) + 0.5) * Double(raster.height) / Double(rows)
          let x = (Double(column) + 0.5) * Double(raster.width) / Double(columns)
          var sum = 0.0
          for down in tiles.indices {
            for across in tiles[down].indices {
              let share = Double(raster.down.share(down, at: y) * raster.across.share(across, at: x))
              if share == 0 { continue }
              let top = y - Double(raster.down.origins[down])
              let left = x - Double(raster.across.origins[across])
              let row = top * Double(tileRows) / Double(raster.down.side) - 0.5
              let column = left * Double(tileColumns) / Double(raster.across.side) - 0.5
              sum += share * own[down][across].value(label, row, column)
            }
          }
          maps.values.append(sum)
        }
      }
    }
    return maps
  }

  /// Probabilities in the cells, read at pixels.
  private func probabilities(_ maps: Maps, classes: Int, scale: Double) -> Maps {
    var out = maps
    let cells = maps.rows * maps.columns
    for cell in 0..<cells {
      let values = (0..<classes).map { maps.values[$0 * cells + cell] * scale }
      let most = values.max() ?? 0
      let shares = values.map { exp($0 - most) }
      let sum = shares.reduce(0, +)
      for label in 0..<classes { out.values[label * cells + cell] = shares[label] / sum }
    }
    return out
  }

  @Test("RADSeg: cosines fade, and the gate looks at the whole raster") func radseg() throws {
    let (test, raster) = (try RADSegCase("square"), Self.raster)
    let (wording, classes) = try radsegWords(test)
    let session = try test.session()
    var options = options(try test.options(.int8))
    options.classGate = 0
    let tiles = try raster.tiles(session, wording, options)
    let maps = blended(tiles, raster, classes: classes)
    let all = probabilities(maps, classes: classes, scale: Double(options.logitScale))
    var pixels = [[Double]](repeating: [], count: classes)
    for label in 0..<classes {
      for y in 0..<raster.height {
        for x in 0..<raster.width {
          let row = (Double(y) + 0.5) * Double(all.rows) / Double(raster.height) - 0.5
          let column = (Double(x) + 0.5) * Double(all.columns) / Double(raster.width) - 0.5
          pixels[label].append(all.value(label, row, column))
        }
      }
    }
    // A gate that half of the classes pass, and none of them everywhere.
    let tops = pixels.map { $0.max() ?? 0 }.sorted()
    options.classGate = Float((tops[classes / 2 - 1] + tops[classes / 2]) / 2)
    let run = try raster.run(session, wording, options)
    #expect(run.report.gridRows == maps.rows && run.report.gridColumns == maps.columns)
    let off = zip(run.scores, maps.values).map { abs(Double($0) - $1) }.max() ?? 1
    #expect(run.scores.count == maps.values.count && off < 1e-5, "cosines are \(off) off")
    let kept = (0..<classes).filter { (pixels[$0].max() ?? 0) >= Double(options.classGate) }
    var same = 0
    for pixel in 0..<raster.width * raster.height {
      let best = kept.max { (pixels[$0][pixel], $1) < (pixels[$1][pixel], $0) }
      if best == Int(run.labels[pixel]) { same += 1 }
    }
    let agreement = Double(same) / Double(raster.width * raster.height)
    print("radseg tiles: cosines \(off) off, gate \(options.classGate), labels \(agreement)")
    #expect(kept.count == classes - classes / 2 && agreement > 0.999)
    #expect(Set(run.labels).count > 1)
  }

  // MARK: PnP-OVSS

  private func pnp(_ name: String, isGiven: Bool) throws -> (options: SegmentOptions, wording: Wording) {
    let test = try PnPCase(name)
    return (options(try test.options(.int8, .none)), try test.wording(isGiven: isGiven))
  }

  @Test("PnP-OVSS: a tile is asked what it shows, the raster shows what any tile does")
  func presence() throws {
    let (session, raster) = (try BLIPToy.session(), Self.raster)
    for isGiven in [false, true] {
      let (options, wording) = try pnp("background", isGiven: isGiven)
      // As photos: of those that were given, each tile is asked.
      var asked = wording
      asked.present = nil
      let tiles = try raster.tiles(session, asked, options).flatMap { $0 }
      let run = try raster.run(session, wording, options)
      let found = try #require(run.report.found)
      #expect(found.rule == .match)
      if let given = wording.present { #expect(found.matches.map(\.label) == given) }
      for match in found.matches {
        let alone = tiles.compactMap { $0.report.found?.matches.first { $0.label == match.label } }
        #expect(alone.count == tiles.count)
        #expect(match.probability == alone.compactMap(\.probability).max(), "class \(match.label)")
        let isSure = (match.probability ?? 0) >= 0.5
        #expect(match.isPresent || !isSure)
        if !isGiven { #expect(match.isPresent == alone.contains(where: \.isPresent)) }
      }
      let present = Set(found.matches.filter(\.isPresent).map { UInt16($0.label) })
      #expect(!present.isEmpty && Set(run.labels).isSubset(of: present.union([0])))
    }
    var (options, wording) = try pnp("background", isGiven: true)
    options.presence = .all
    #expect(try raster.run(session, wording, options).report.found?.rule == .given)
    wording.present = nil
    #expect(try raster.run(session, wording, options).report.found?.rule == .all)
  }

  /// Where one tile is alone its labels are those of the photo that it is; in between nothing jumps.
  @Test("PnP-OVSS: channels fade") func seams() throws {
    let (session, raster) = (try BLIPToy.session(), Self.raster)
    for refinement in [RefinementChoice.none, .crf] {
      var (options, wording) = try pnp("plain", isGiven: false)
      options.refinement = refinement
      options.presence = .all
      let run = try raster.run(session, wording, options)
      if refinement == .crf {
        #expect(Set(run.labels).count > 1)
        continue
      }
      let tiles = try raster.tiles(session, wording, options)
      var (same, count) = (0, 0)
      for y in 0..<raster.height {
        for x in 0..<raster.width {
          let row = raster.down.origins.indices.first { raster.down.share($0, at: Double(y) + 0.5) == 1 }
          let column = raster.across.origins.indices.first {
            raster.across.share($0, at: Double(x) + 0.5) == 1
          }
          guard let row, let column else { continue }
          let place = (y - raster.down.origins[row]) * raster.across.side + x - raster.across.origins[column]
          same += run.labels[y * raster.width + x] == tiles[row][column].labels[place] ? 1 : 0
          count += 1
        }
      }
      print("pnp tiles: \(Double(same) / Double(count)) of \(count) pixels as alone")
      #expect(count > 5000 && Double(same) > 0.9 * Double(count))
      let (rows, columns) = (run.report.gridRows, run.report.gridColumns)
      // Four cells a patch.
      #expect(columns > 2 * raster.width / 16)
      let most = run.scores.max() ?? 0
      var jump: Float = 0
      for index in run.scores.indices where index % columns > 0 {
        jump = max(jump, abs(run.scores[index] - run.scores[index - 1]))
      }
      // A patch is four cells wide: what is between two of them is reached in as many steps.
      #expect(run.scores.count % (rows * columns) == 0 && jump < 0.55 * most, "\(jump) of \(most)")
    }
  }

  // MARK: Both

  @Test func aRasterInOneTileIsAPhoto() throws {
    let raster = TileRaster(width: 90, height: 60, tile: 96, overlap: 32)
    func check(_ session: Session, _ wording: Wording, _ options: SegmentOptions) throws {
      var whole = options
      whole.tile = 0
      let (first, second) = (
        try raster.run(session, wording, whole), try raster.run(session, wording, options)
      )
      #expect(first.labels == second.labels && first.scores == second.scores)
    }
    let test = try RADSegCase("square")
    try check(test.session(), radsegWords(test).wording, options(test.options(.int8)))
    let (options, wording) = try pnp("plain", isGiven: true)
    try check(BLIPToy.session(), wording, options)
  }

  @Test func threadsAndLimitsChangeNothing() throws {
    let raster = Self.raster
    func check(_ make: (Int) throws -> Session, _ wording: Wording, _ options: SegmentOptions) throws {
      let first = try raster.run(make(1), wording, options)
      let session = try make(3)
      for limit in [MemoryLimit.ofRuntime, .smallest] {
        let again = try raster.run(session, wording, options, within: limit)
        #expect(first.labels == again.labels && first.scores == again.scores)
        let (own, planned) = (again.report.stages, again.report.plan.stages)
        #expect(own.map(\.name) == planned.map(\.name))
        #expect(own.map(\.arenaByteCount) == planned.map(\.arenaByteCount))
      }
    }
    let test = try RADSegCase("square")
    try check(
      { try test.session(threads: $0) }, radsegWords(test).wording, options(test.options(.int8)))
    for isGiven in [false, true] {
      let (options, wording) = try pnp("background", isGiven: isGiven)
      try check({ try BLIPToy.session(threads: $0) }, wording, options)
    }
  }

  @Test func memoryDoesNotGrowWithTheRaster() throws {
    func check(_ session: Session, _ wording: Wording, _ options: SegmentOptions) throws {
      func arena(_ width: Int, _ height: Int) throws -> Int {
        try session.plan(PhotoSize(width: width, height: height), wording, options).arenaByteCount
      }
      let (square, high, wide) = (try arena(1000, 1000), try arena(1000, 8000), try arena(4000, 1000))
      #expect(high <= square + 4096, "\(square) and \(high)")
      // A row of the raster, of its labels and of its scores, once a worker.
      #expect(wide <= square + 3000 * 400, "\(square) and \(wide)")
    }
    let test = try RADSegCase("square")
    try check(test.session(), radsegWords(test).wording, options(test.options(.int8)))
    let (options, wording) = try pnp("background", isGiven: false)
    try check(BLIPToy.session(), wording, options)
  }

  @Test func optionsThatCannotBe() throws {
    let test = try RADSegCase("square")
    var options = options(try test.options(.int8))
    options.refinement = .sam
    let session = try RADSegCase("plus").session()
    let error = thrownError(SegmentationError.self) {
      try session.plan(PhotoSize(width: 300, height: 300), test.wording(), options)
    }
    #expect(error?.exitCode == 2 && error?.description.contains("--tile") == true)
  }
}
