// Tiles: that they cover a raster, that their shares sum to one, and that neither threads nor the raster's
// size change what a tile is.
import Compute
import Segmentation
import TestSupport
import Testing

@Suite("Tiles", .serialized) struct TileTests {
  @Test func sharesSumToOne() {
    for (length, tile, overlap) in [
      (64, 64, 16), (65, 64, 16), (100, 64, 32), (129, 64, 0), (150, 64, 20), (1000, 128, 64),
      (20_000, 1024, 128),
    ] {
      let axis = TileAxis(length: length, tile: tile, overlap: overlap)
      #expect(axis.origins.first == 0 && axis.origins[axis.origins.count - 1] == length - axis.side)
      for (first, next) in zip(axis.origins, axis.origins.dropFirst()) {
        #expect(next > first && first + axis.side - next >= overlap, "\(length) in \(tile)")
      }
      for pixel in stride(from: 0, to: length, by: max(1, length / 500)) {
        let shares = axis.origins.indices.map { axis.share($0, at: Double(pixel) + 0.5) }
        #expect(abs(shares.reduce(0, +) - 1) < 1e-5, "pixel \(pixel) of \(length) in \(tile)")
      }
    }
  }

  private struct Raster {
    let pixels: [UInt8]
    let width: Int
    let height: Int
  }

  private static func raster(_ width: Int, _ height: Int) -> Raster {
    let pixels = (0..<width * height * 3).map { index -> UInt8 in
      let (x, y) = (index / 3 % width, index / 3 / width)
      return UInt8(truncatingIfNeeded: (x / 20 * 70) ^ (y / 15 * 50) &+ index % 3 * 40)
    }
    return Raster(pixels: pixels, width: width, height: height)
  }

  private func run(_ raster: Raster, _ toy: ToyModel, threads: Int, tile: Int) throws -> GoldenRun {
    var options = toy.options
    (options.refinement, options.tile, options.overlap) = (.none, tile, min(24, tile / 2))
    let session = try toy.session(threads: threads)
    return try raster.pixels.withUnsafeBufferPointer {
      let photo = PhotoInMemory(pixels: $0.baseAddress!, width: raster.width, height: raster.height)
      return try GoldenRun.run(
        session, photo, GoldenRun.prompts(session, toy.golden.classLines), options)
    }
  }

  @Test func aRasterInOneTileIsAPhoto() throws {
    let (toy, raster) = (try ToyModel(), Self.raster(90, 60))
    let (whole, tiled) = (
      try run(raster, toy, threads: 1, tile: 0), try run(raster, toy, threads: 1, tile: 96)
    )
    #expect(whole.labels == tiled.labels && whole.scores == tiled.scores)
  }

  @Test func threadsChangeNothing() throws {
    let (toy, raster) = (try ToyModel(), Self.raster(150, 110))
    let first = try run(raster, toy, threads: 1, tile: 64)
    #expect(first.labels.count == 150 * 110 && Set(first.labels).count > 1)
    let again = try run(raster, toy, threads: 3, tile: 64)
    #expect(first.labels == again.labels && first.scores == again.scores)
    // A stage of the first tile has been planned as often as there are tiles.
    let names = first.report.stages.map(\.name)
    #expect(first.report.plan.stages.map(\.name) == names)
    #expect(names.filter { $0 == "clip" }.count == 4 * 3)
  }

  @Test func memoryDoesNotGrowWithTheRaster() throws {
    let toy = try ToyModel()
    let session = try toy.session()
    var options = toy.options
    (options.refinement, options.tile, options.overlap) = (.none, 128, 32)
    let wording = try GoldenRun.prompts(session, toy.golden.classLines)
    func arena(_ width: Int, _ height: Int) throws -> Int {
      try session.plan(PhotoSize(width: width, height: height), wording, options).arenaByteCount
    }
    let (square, high, wide) = (try arena(1000, 1000), try arena(1000, 8000), try arena(4000, 1000))
    #expect(high <= square + 4096)
    // A row of the raster, of its labels and of its scores.
    #expect(wide <= square + 3000 * 200)
  }

  @Test func optionsThatCannotBe() throws {
    let toy = try ToyModel()
    for (tile, overlap, refinement) in [(32, 8, RefinementChoice.none), (128, 65, .none), (128, 32, .sam)] {
      var options = toy.options
      (options.tile, options.overlap, options.refinement) = (tile, overlap, refinement)
      let session = try toy.session()
      let error = thrownError(SegmentationError.self) {
        try session.plan(
          PhotoSize(width: 300, height: 300), GoldenRun.prompts(session, toy.golden.classLines), options)
      }
      #expect(error?.exitCode == 2 && error?.description.contains("--tile") == true)
    }
  }
}
