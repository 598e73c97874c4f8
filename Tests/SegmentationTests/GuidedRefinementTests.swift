// PAMR and the dense field against PyTorch and sums over all pairs of pixels.
import Compute
import Segmentation
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct GuidedRefinementTests {
  /// Sections of guided.bin in the order in which make_guided.py wrote them.
  private struct Golden {
    private var bytes = Refine.fixture("guided.bin")[...]

    mutating func pixels(_ count: Int) -> [UInt8] {
      defer { bytes = bytes.dropFirst(count) }
      return Array(bytes.prefix(count))
    }

    mutating func floats(_ count: Int) -> [Float] {
      defer { bytes = bytes.dropFirst(4 * count) }
      return Refine.numbers(bytes.prefix(4 * count), as: Float.self)
    }
  }

  private struct Adapted {
    var image: [UInt8]
    var values: [Float]
  }

  private struct Field {
    /// Sums over all pairs of pixels: the colour kernel's first message, and what comes out in the end.
    var message: [Float]
    var probabilities: [Float]
    /// What comes out with the lattice.
    var close: [Float]
  }

  private struct Whole {
    var image: [UInt8]
    var pamr: [UInt8]
    var crf: [UInt8]
  }

  private static let fieldSize = (height: 36, width: 48, classes: 5)
  private static let wholes = [
    (
      guide: (45, 60), photo: (45, 60), map: (3, 4, 12), classOf: [0, 1, 1, 2, 3, 3, 3, 4, 5],
      threshold: Float(0.3)
    ),
    (guide: (10, 512), photo: (12, 600), map: (2, 40, 12), classOf: Array(0..<20), threshold: Float(0)),
  ]

  private func golden() -> (adapted: Adapted, photo: [UInt8], fields: [Field], wholes: [Whole]) {
    var file = Golden()
    let adapted = Adapted(image: file.pixels(24 * 30 * 3), values: file.floats(24 * 30 * 8))
    let count = Self.fieldSize.height * Self.fieldSize.width
    let photo = file.pixels(count * 3)
    let fields = (0..<2).map { _ in
      let part = count * Self.fieldSize.classes
      return Field(message: file.floats(part), probabilities: file.floats(part), close: file.floats(part))
    }
    let wholes = Self.wholes.map { test in
      let pixels = test.photo.0 * test.photo.1
      return Whole(
        image: file.pixels(test.guide.0 * test.guide.1 * 3), pamr: file.pixels(pixels),
        crf: file.pixels(pixels))
    }
    return (adapted, photo, fields, wholes)
  }

  private func guide(_ image: [UInt8], _ height: Int, _ width: Int) -> ColourGuide {
    ColourGuide(pixels: Refine.keep(image), height: height, width: width)
  }

  @Test(arguments: [1, 3]) func adaptationEqualsPyTorch(_ threads: Int) throws {
    let wanted = golden().adapted
    let arena = try Arena(capacity: 1 << 20)
    let adaptation = try PixelAdaptation(
      arena, engine: Refine.engine(threads: threads), guide: guide(wanted.image, 24, 30))
    let plane = Refine.keep(Refine.uniform(3000, 24 * 30 * 8))
    plane.withMemoryRebound(to: SIMD8<Float>.self, capacity: 24 * 30) { adaptation.run($0) }
    let worst = wanted.values.indices.map { abs(plane[$0] - wanted.values[$0]) }.max() ?? 9
    #expect(worst < 2e-5)
  }

  /// Log-probabilities as make_guided.py draws them, in rows of one plane.
  private func logs() -> [SIMD8<Float>] {
    let size = Self.fieldSize
    let noise = Refine.uniform(3001, size.height / 6 * size.width / 6 * size.classes)
    return (0..<size.height * size.width).map { pixel in
      let (x, y) = (pixel % size.width, pixel / size.width)
      let pattern = (x / 12 + y / 12) % size.classes
      let block = y / 6 * (size.width / 6) + x / 6
      var cell = SIMD8<Float>(repeating: -1e6)
      for label in 0..<size.classes {
        let bonus: Float = label == pattern ? 2 : 0
        cell[label] = 2 * noise[block * size.classes + label] + bonus
      }
      return cell
    }
  }

  private func run(_ settings: FieldSettings, threads: Int = 2) throws -> [SIMD8<Float>] {
    try run(SIMD8<Float>.self, settings, threads: threads, logs: logs())
  }

  /// Probabilities of one plane.
  private func run<Values: ClassLanes>(
    _: Values.Type, _ settings: FieldSettings, threads: Int = 2, logs: [Values]
  ) throws -> [Values] {
    let size = Self.fieldSize
    let arena = try Arena(capacity: 32 << 20)
    let field = try DenseField<Values>(
      arena, engine: Refine.engine(threads: threads), guide: guide(golden().photo, size.height, size.width),
      planeCount: 1, settings: settings)
    #expect(field.sigmaRGB == settings.sigmaRGB)
    let plane = Refine.keep([Values](repeating: .zero, count: size.height * size.width))
    field.run([plane]) { y, _, out in
      for x in 0..<size.width { out[x] = logs[y * size.width + x] }
    }
    return Array(UnsafeBufferPointer(start: plane, count: size.height * size.width))
  }

  /// Four classes a pixel are the first four of eight, bit for bit.
  @Test(arguments: 0..<2) func fourClassesAreHalfOfEight(_ index: Int) throws {
    let eight = logs().map { SIMD8(lowHalf: $0.lowHalf, highHalf: SIMD4(repeating: -1e6)) }
    let settings = Self.fieldSettings[index]
    let four = try run(SIMD4<Float>.self, settings, logs: eight.map(\.lowHalf))
    #expect(try run(SIMD8<Float>.self, settings, logs: eight).map(\.lowHalf) == four)
  }

  /// What a pixel's scores have in common is taken out again.
  @Test func onlyDifferencesCount() throws {
    let logs = logs()
    let shifted = logs.enumerated().map { $1 + Float($0 % 7) }
    let settings = Self.fieldSettings[0]
    let (found, wanted) = (try run(SIMD8<Float>.self, settings, logs: shifted), try run(settings))
    let apart = zip(found, wanted).map { pair in
      (0..<Self.fieldSize.classes).map { abs(pair.0[$0] - pair.1[$0]) }.max() ?? 0
    }
    #expect(apart.max() ?? 9 < 1e-4)
  }

  private static let fieldSettings: [FieldSettings] = {
    var other = FieldSettings()
    (other.iterations, other.smoothSigma, other.smoothWeight) = (5, 2, 4)
    (other.sigmaXY, other.sigmaRGB, other.colourWeight) = (12, 25, 6)
    return [FieldSettings(), other]
  }()

  /// Share of pixels whose best class is the same, and the mean over pixels of the largest difference.
  private func compare(_ found: [SIMD8<Float>], _ wanted: [Float]) -> (same: Double, difference: Double) {
    let classes = Self.fieldSize.classes
    var (same, difference) = (0, 0.0)
    for (pixel, cell) in found.enumerated() {
      let other = Array(wanted[pixel * classes..<(pixel + 1) * classes])
      let own = (0..<classes).map { cell[$0] }
      if own.firstIndex(of: own.max()!) == other.firstIndex(of: other.max()!) { same += 1 }
      difference += zip(own, other).map { pair -> Double in Double(abs(pair.0 - pair.1)) }.max()!
    }
    return (Double(same) / Double(found.count), difference / Double(found.count))
  }

  @Test(arguments: 0..<2) func fieldEqualsReference(_ index: Int) throws {
    let found = try run(Self.fieldSettings[index])
    let (same, difference) = compare(found, golden().fields[index].close)
    #expect(same > 0.998 && difference < 1e-3, "\(same), \(difference)")
  }

  /// The lattice's error: a few percent in one filtering, which mean field sharpens. On a photo as small as
  /// this one corners hold few pixels each, and scores that know nothing of the photo contradict it
  /// everywhere.
  @Test(arguments: 0..<2) func fieldIsCloseToAllPairs(_ index: Int) throws {
    let (same, difference) = compare(try run(Self.fieldSettings[index]), golden().fields[index].probabilities)
    print(
      "dense field \(index): \(same) of the labels as from all pairs, "
        + "probabilities \(difference) apart on average")
    #expect(same > (index == 0 ? 0.93 : 0.98) && difference < (index == 0 ? 0.07 : 0.02))
  }

  /// One filtering by colour: no smooth kernel, no iterations to sharpen errors.
  @Test(arguments: 0..<2) func latticeIsCloseToAllPairs(_ index: Int) throws {
    let wanted = golden().fields[index].message
    var settings = Self.fieldSettings[index]
    (settings.iterations, settings.smoothWeight, settings.colourWeight) = (1, 0, 1)
    let classes = Self.fieldSize.classes
    let logs = logs()
    var (squares, whole, worst) = (0.0, 0.0, 0.0)
    // q = softmax(log p + message): differences between messages of a pixel's classes can be read off.
    for (pixel, cell) in try run(settings).enumerated() {
      let own = (0..<classes).map { label in Double(logf(cell[label]) - logs[pixel][label]) }
      let exact = (0..<classes).map { Double(wanted[pixel * classes + $0]) }
      let shift = (exact.reduce(0, +) - own.reduce(0, +)) / Double(classes)
      for label in 0..<classes {
        let error = own[label] + shift - exact[label]
        squares += error * error
        whole += exact[label] * exact[label]
        worst = max(worst, abs(error))
      }
    }
    print("lattice \(index): relative error \((squares / whole).squareRoot()), worst \(worst)")
    #expect((squares / whole).squareRoot() < 0.05)
  }

  @Test func threadsChangeNothing() throws {
    let settings = Self.fieldSettings[0]
    #expect(try run(settings, threads: 1) == run(settings, threads: 4))
  }

  /// Fine noise has more corners than there is room for: colours widen.
  @Test func noiseFits() throws {
    let (height, width) = (100, 150)
    let image = Refine.uniform(3030, height * width * 3).map { UInt8(($0 + 1) * 127) }
    let engine = try Refine.engine()
    var settings = FieldSettings()
    (settings.cornerLimit, settings.iterations) = (1 << 14, 4)
    let counting = Arena(counting: nil)
    typealias Field = DenseField<SIMD8<Float>>
    _ = try Field(
      counting, engine: engine, guide: guide(image, height, width), planeCount: 1, settings: settings)
    let arena = try Arena(capacity: counting.highWater)
    let field = try Field(
      arena, engine: engine, guide: guide(image, height, width), planeCount: 1, settings: settings)
    #expect(arena.highWater == counting.highWater)
    #expect(field.sigmaRGB > FieldSettings().sigmaRGB && field.sigmaRGB < 60)
    let plane = Refine.keep([SIMD8<Float>](repeating: .zero, count: height * width))
    let left = SIMD8<Float>(0, -2, -9, -9, -9, -9, -9, -9)
    let right = SIMD8<Float>(-2, 0, -9, -9, -9, -9, -9, -9)
    field.run([plane]) { _, _, out in
      for x in 0..<width { out[x] = x < 75 ? left : right }
    }
    #expect(plane[0][0] > 0.5 && plane[height * width - 1][1] > 0.5)
  }

  @Test(arguments: 0..<2, [RefinementChoice.pamr, .crf]) func labelsEqualPyTorch(
    _ index: Int, _ choice: RefinementChoice
  ) throws {
    let test = Self.wholes[index]
    let wanted = golden().wholes[index]
    for precision in [Precision.int8, .float32] where precision == .int8 || Effort.hasOpenBLAS {
      let engine = try Refine.engine(precision)
      let scores = RefineScores(
        seed: 3010 + 2 * index, rows: test.map.0, columns: test.map.1, width: test.map.2,
        classOf: test.classOf)
      let refinement = GuidedRefinement(
        engine: engine, height: test.photo.0, width: test.photo.1,
        settings: LabelSettings(logitScale: 120, probabilityThreshold: test.threshold))
      let size = GuidedRefinement.guideSize(height: test.photo.0, width: test.photo.1)
      #expect(size == test.guide)
      let guide = guide(wanted.image, test.guide.0, test.guide.1)
      var labels: [UInt16] = []
      func pass(_ arena: Arena) throws -> RefinementReport {
        let map = try scores.map(arena, engine)
        return try refinement.run(arena, scores: map, guide: guide, choice) { row, line in
          labels += UnsafeBufferPointer(start: line, count: test.photo.1)
          return true
        }
      }
      let report = try Refine.planned(pass)
      #expect(report.pixels.reduce(0, +) == labels.count)
      let agreement = share(labels, choice == .pamr ? wanted.pamr : wanted.crf)
      print("\(choice) case \(index), \(precision): \(agreement) of the labels")
      #expect(agreement > (precision == .int8 ? 0.99 : 0.998))
    }
  }

  /// Beside the formula, written once more in double precision.
  @Test func bilateralEqualsItsFormula() throws {
    let (height, width, rows, columns) = (37, 29, 6, 5)
    let image = Refine.uniform(3040, height * width * 3).map { UInt8(($0 + 1) * 127) }
    let scores = Refine.uniform(3041, rows * columns * 8)
    let arena = try Arena(capacity: 1 << 20)
    let bilateral = try BilateralUpsampling(
      arena, engine: try Refine.engine(threads: 3), guide: guide(image, height, width), rows: rows,
      columns: columns, planeCount: 1)
    for cell in 0..<rows * columns {
      for label in 0..<8 { bilateral.patches[0][cell][label] = scores[cell * 8 + label] }
    }
    let plane = Refine.keep([SIMD8<Float>](repeating: .zero, count: height * width))
    bilateral.run([plane])
    func colour(_ row: Int, _ column: Int, _ channel: Int) -> Double {
      let down = row * height / rows..<(row + 1) * height / rows
      let across = column * width / columns..<(column + 1) * width / columns
      let all = down.flatMap { y in across.map { Double(image[(y * width + $0) * 3 + channel]) } }
      return all.reduce(0, +) / Double(all.count)
    }
    var worst = 0.0
    for y in stride(from: 0, to: height, by: 5) {
      for x in 0..<width {
        let row = (Double(y) + 0.5) * Double(rows) / Double(height) - 0.5
        let column = (Double(x) + 0.5) * Double(columns) / Double(width) - 0.5
        var (sums, total) = ([Double](repeating: 0, count: 8), 0.0)
        for r in 0..<rows where abs(Double(r) - row.rounded()) <= 2 {
          for c in 0..<columns where abs(Double(c) - column.rounded()) <= 2 {
            let apart = (row - Double(r)) * (row - Double(r)) + (column - Double(c)) * (column - Double(c))
            var distance = 0.0
            for channel in 0..<3 {
              let difference = Double(image[(y * width + x) * 3 + channel]) - colour(r, c, channel)
              distance += difference * difference
            }
            let weight = Double(expf(Float(-apart / 2 - distance / (2 * 25 * 25))))
            total += weight
            for label in 0..<8 { sums[label] += weight * Double(scores[(r * columns + c) * 8 + label]) }
          }
        }
        for label in 0..<8 {
          worst = max(worst, abs(sums[label] / total - Double(plane[y * width + x][label])))
        }
      }
    }
    #expect(worst < 1e-4)
  }

  /// Cut for its detail, refined without it: that is said.
  @Test func coarseRefinementIsTold() {
    var options = SegmentOptions()
    options.refinement = .pamr
    #expect(options.coarseRefinement(height: 3000, width: 4000) == nil)
    options.tile = 1024
    #expect(options.coarseRefinement(height: 3000, width: 4000)?.contains("7 pixels of this raster") == true)
    #expect(options.coarseRefinement(height: 900, width: 1024) == nil)
    options.refinement = .none
    #expect(options.coarseRefinement(height: 3000, width: 4000) == nil)
  }
}
