// The library's face: the same labels as a session gives, however the photo comes, and errors that say what is wrong.
import Raster
import Segmentation
import Testing

// Each test uses all cores.
@Suite(.serialized) struct LibraryTests {
  private static let golden = Result { try GoldenCase("toy-b") }

  /// The photo of the case, decoded: [height, width, 3].
  private func pixels(_ path: String) throws -> (rgb: [UInt8], width: Int, height: Int) {
    let decoder = try PhotoDecoder(path: path)
    try decoder.beginDecoding(allowWholeImage: true)
    var rgb: [UInt8] = []
    var row = [UInt8](repeating: 0, count: decoder.width * 3)
    for _ in 0..<decoder.height {
      try decoder.readRow(into: &row)
      rgb += row
    }
    return (rgb, decoder.width, decoder.height)
  }

  @Test func fileAndPixelsGiveTheLabelsOfASession() throws {
    let golden = try Self.golden.get()
    let trident = try Trident(model: try golden.model())
    let options = try golden.options(.int8)
    let wanted = try GoldenRun(golden, .int8)
    let first = try trident.segment(file: golden.photoPath, classes: golden.classLines, options: options)
    #expect(first.labels == wanted.labels)
    #expect(first.scores == wanted.scores)
    #expect(first.scores.count == golden.classLines.count * first.scoreRows * first.scoreColumns)
    #expect(first.labels.count == first.width * first.height)
    #expect(first.pixelCounts.reduce(0, +) == first.labels.count)
    #expect(first[3, 2] == Int(first.labels[2 * first.width + 3]))
    let photo = try pixels(golden.photoPath)
    let second = try trident.segment(
      rgb: photo.rgb, width: photo.width, height: photo.height, classes: golden.classLines, options: options)
    #expect(second.labels == first.labels)
  }

  /// Vectors that stay from call to call are those of the classes asked for.
  @Test func classesMayChangeBetweenCalls() throws {
    let golden = try Self.golden.get()
    let trident = try Trident(model: try golden.model())
    var options = try golden.options(.int8)
    options.refinement = .none
    let some = Array(golden.classLines.prefix(2))
    func run(_ classes: [String]) throws -> Trident.Result {
      try trident.segment(file: golden.photoPath, classes: classes, options: options)
    }
    let all = try run(golden.classLines)
    let few = try run(some)
    #expect(few.pixelCounts.count == 2)
    #expect(try run(golden.classLines).scores == all.scores)
    #expect(try Trident(model: golden.model()).segment(file: golden.photoPath, classes: some, options: options).scores == few.scores)
  }

  @Test func mistakesAreNamed() throws {
    let golden = try Self.golden.get()
    let trident = try Trident(model: try golden.model())
    func code(_ body: () throws -> Void) -> Int32? {
      do { try body() } catch let error as SegmentationError { return error.exitCode } catch { return nil }
      return 0
    }
    #expect(code { _ = try Trident(model: "/no/such.gguf") } == 4)
    #expect(code { _ = try trident.segment(rgb: [1, 2, 3], width: 2, height: 1, classes: ["a", "b"]) } == 3)
    #expect(code { _ = try trident.segment(file: "/no/such.jpg", classes: ["a", "b"]) } == 3)
    #expect(code { _ = try trident.segment(file: golden.photoPath, classes: []) } == 2)
    #expect(code { _ = try trident.segment(file: golden.photoPath, classes: ["a", "a"]) } == 2)
    var options = SegmentOptions()
    options.window = 17
    #expect(code { _ = try trident.segment(file: golden.photoPath, classes: ["a", "b"], options: options) } == 2)
    var runtime = RuntimeOptions()
    runtime.cpuPath = "abacus"
    let other = runtime
    #expect(code { _ = try Trident(model: try golden.model(), runtime: other) } == 2)
    runtime.cpuPath = nil
    runtime.memoryLimit = 1 << 20
    let small = try Trident(model: try golden.model(), runtime: runtime)
    #expect(code { _ = try small.segment(file: golden.photoPath, classes: ["a", "b"], options: try golden.options(.int8)) } == 5)
  }

  /// The figure counts what this process holds, other tests included, so it is bounded only; `check-programs.sh` compares
  /// plans with the kernel's figures.
  @Test func aPhotoThatIsNotThereIsPlanned() throws {
    let golden = try Self.golden.get()
    let trident = try Trident(model: try golden.model())
    let options = try golden.options(.int8)
    let bytes = try trident.plannedByteCount(width: 300, height: 200, classes: ["a", "b"], options: options)
    #expect(bytes > 1 << 20 && bytes < 1 << 30)
  }
}
