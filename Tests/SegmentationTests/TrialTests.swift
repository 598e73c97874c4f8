// Many options on one photo: the maps of every layer and head from one pass are those of single runs, and
// masks are made of them as the published search makes them.
import Compute
import Segmentation
import TestSupport
import Testing

@Suite("trials", .serialized)
struct TrialTests {
  private func made(
    _ maker: MapMask, _ map: [Float], side: Int, _ threshold: Float, _ blur: Float
  ) -> PixelMask {
    var one = [Float](repeating: 0, count: side * side)
    var other = one
    return one.withUnsafeMutableBufferPointer { first in
      other.withUnsafeMutableBufferPointer { second in
        maker.mask(
          map, threshold: threshold, blur: blur, (first.baseAddress!, second.baseAddress!))
      }
    }
  }

  /// The golden cases hold the single runs against PyTorch, down to the first layer.
  @Test("one pass gives what single runs give, for every layer and head") func everyHead() throws {
    let test = try PnPCase("once")
    let session = try BLIPToy.session()
    var options = try test.options(.int8, .none)
    (options.rounds, options.blur) = (1, 0.03)
    var all: [SegmentOptions] = []
    for layer in 1...4 {
      for head in 1...2 {
        (options.attentionLayer, options.attentionHead) = (layer, head)
        all.append(options)
      }
    }
    let (wording, photo) = (try test.wording(), try PhotoFile(path: test.golden.photoPath))
    let labels = try #require(wording.present)
    let side = 64
    let request = TrialRequest(photo, wording, all, labels: labels, side: side)
    let plan = try session.plan(request)
    let masks = try session.masks(request, plan: plan)
    let grid = options.shortSide / 16
    let maker = MapMask(grid: grid, side: side)
    for (trial, options) in all.enumerated() {
      let taps = Taps()
      _ = try test.run(options, session, taps: taps)
      let maps = try #require(taps.all["pnp.maps"])
      for index in labels.indices {
        let map = try #require(maps[index])
        let wanted = made(maker, map, side: side, options.mapThreshold, options.blur)
        let found = masks[trial][index]
        let differing = (0..<side * side).filter { found[$0] != wanted[$0] }.count
        #expect(
          differing <= side * side / 50,
          "layer \(options.attentionLayer), head \(options.attentionHead): \(differing) pixels differ")
      }
    }
  }

  @Test("threads and limits change no mask") func invariance() throws {
    let test = try PnPCase("background")
    var all: [SegmentOptions] = []
    for layer in 1...3 {
      var options = try test.options(.int8)
      options.attentionLayer = layer
      all.append(options)
    }
    let (wording, photo) = (try test.wording(), try PhotoFile(path: test.golden.photoPath))
    let request = TrialRequest(photo, wording, all, labels: wording.present ?? [], side: 48)
    func masks(threads: Int, _ limit: MemoryLimit) throws -> [[PixelMask]] {
      let session = try BLIPToy.session(threads: threads)
      return try session.masks(request, plan: try session.plan(request, within: limit))
    }
    let first = try masks(threads: 1, .ofRuntime)
    #expect(try masks(threads: 3, .ofRuntime) == first)
    #expect(try masks(threads: 2, .smallest) == first)
    #expect(first.joined().contains { $0.count > 0 })
  }

  @Test("masks") func masks() {
    let mask = PixelMask(side: 9) { $0 % 3 == 0 }
    #expect(mask.count == 27 && mask.complement.count == 54 && mask[3] && !mask[4])
    #expect(mask.complement.complement == mask)
    #expect(PixelMask(side: 9, all: true).complement == PixelMask(side: 9, all: false))
    let maker = MapMask(grid: 4, side: 32)
    var map = [Float](repeating: 1, count: 16)
    #expect(made(maker, map, side: 32, 0.15, 0.05).count == 0, "a constant map is no class")
    map = map.indices.map { $0 % 4 < 2 ? 2 : 1 }
    let half = made(maker, map, side: 32, 0.5, 0)
    #expect((0..<32 * 32).allSatisfy { half[$0] == ($0 % 32 < 16) })
    #expect(
      made(maker, map, side: 32, 0.15, 0.05).count > half.count,
      "a blurred edge is above a low threshold further out")
  }

  @Test("what networks see") func grouping() throws {
    var options = SegmentOptions()
    let seen = options.seenByNetworks
    (options.logitScale, options.coarseThreshold, options.probabilityThreshold) = (30, 0.3, 0.4)
    (options.areaThreshold, options.absent) = (0.1, .gate)
    #expect(options.seenByNetworks == seen)
    options.cosFactor = 3
    #expect(options.seenByNetworks != seen)
  }
}
