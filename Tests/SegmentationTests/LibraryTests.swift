// The library's face: the same labels as a session gives, however the photo comes, and errors that say what
// is wrong.
import Dispatch
import Foundation
import Raster
import Segmentation
import Synchronization
import TestSupport
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

  @Test func threadsWaitForEachOther() throws {
    let golden = try Self.golden.get()
    let trident = try Trident(model: try golden.model())
    let options = try golden.options(.int8)
    let path = try golden.photoPath
    let wanted = try trident.segment(file: path, classes: golden.classLines, options: options).labels
    let few = Array(golden.classLines.prefix(2))
    let wantedOfFew = try trident.segment(file: path, classes: few, options: options).labels
    let others = Mutex<Int>(0)
    DispatchQueue.concurrentPerform(iterations: Effort.isEmulated ? 2 : 6) { index in
      // Words that differ are encoded anew, under the others' feet if they could be.
      let classes = index % 2 == 0 ? golden.classLines : few
      guard let result = try? trident.segment(file: path, classes: classes, options: options) else { return }
      others.withLock { $0 += result.labels == (index % 2 == 0 ? wanted : wantedOfFew) ? 1 : 0 }
    }
    #expect(others.withLock { $0 } == (Effort.isEmulated ? 2 : 6))
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
    (options.refinement, options.absent) = (.none, .keep)
    let some = Array(golden.classLines.prefix(2))
    func run(_ classes: [String]) throws -> Trident.Result {
      try trident.segment(file: golden.photoPath, classes: classes, options: options)
    }
    let all = try run(golden.classLines)
    let few = try run(some)
    #expect(few.pixelCounts.count == 2)
    #expect(try run(golden.classLines).scores == all.scores)
    #expect(
      try Trident(model: golden.model()).segment(file: golden.photoPath, classes: some, options: options)
        .scores == few.scores)
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
    #expect(
      code { _ = try trident.segment(file: golden.photoPath, classes: ["a", "b"], options: options) } == 2)
    var runtime = RuntimeOptions()
    runtime.cpuPath = "abacus"
    let other = runtime
    #expect(code { _ = try Trident(model: try golden.model(), runtime: other) } == 2)
    runtime.cpuPath = nil
    runtime.memoryLimit = 1 << 20
    let small = try Trident(model: try golden.model(), runtime: runtime)
    #expect(
      code {
        _ = try small.segment(
          file: golden.photoPath, classes: ["a", "b"], options: try golden.options(.int8))
      } == 5)
  }

  /// The figure counts what this process holds, other tests and a sanitizer's shadow included, so it has no
  /// bound above here; `check-programs.sh` compares plans with the kernel's figures.
  @Test func aPhotoThatIsNotThereIsPlanned() throws {
    let golden = try Self.golden.get()
    let trident = try Trident(model: try golden.model())
    let options = try golden.options(.int8)
    let bytes = try trident.plannedByteCount(width: 300, height: 200, classes: ["a", "b"], options: options)
    #expect(bytes > 1 << 20)
  }

  /// The second form hands on the same rows, and ends where it is told to.
  @Test func rowsAreStreamedAndWorkCanBeEnded() async throws {
    let golden = try Self.golden.get()
    let trident = try Trident(model: try golden.model())
    let options = try golden.options(.int8)
    let (path, classes) = (try golden.photoPath, golden.classLines)
    let wanted = try trident.segment(file: path, classes: classes, options: options)
    var (labels, scores, steps, title) = ([UInt16](), [Float](), 0, "")
    var width = 0
    var receiver = Trident.Receiver { y, line, confidence in
      #expect(labels.count == y * width && confidence != nil)
      labels += UnsafeBufferPointer(start: line, count: width)
      return true
    }
    receiver.wantsConfidence = true
    receiver.begin = { outline in
      (width, title) = (outline.width, outline.titles.last ?? "")
      return true
    }
    receiver.scores = {
      scores += $0
      return true
    }
    receiver.progress = { _, share in
      steps += (0...1).contains(share) ? 1 : -1000
      return true
    }
    let summary = try trident.segment(.init(.file(path), .classes(classes), options), receiver)
    #expect(labels == wanted.labels && scores == wanted.scores && steps > 3)
    #expect(title == classes.last?.split(separator: ";").first.map(String.init))
    #expect(summary.pixelCounts == wanted.pixelCounts)

    var rows = 0
    let impatient = Trident.Receiver { _, _, _ in
      rows += 1
      return rows < 5
    }
    #expect(throws: CancellationError.self) {
      try trident.segment(.init(.file(path), .classes(classes), options), impatient)
    }
    #expect(rows == 5)
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      let deaf = Trident.Receiver { _, _, _ in
        Issue.record("a cancelled task sees no row")
        return true
      }
      return try trident.segment(.init(.file(path), .classes(classes), options), deaf)
    }
    await #expect(throws: CancellationError.self) { try await task.value }
    // Nothing of that stays.
    #expect(try trident.segment(file: path, classes: classes, options: options).labels == wanted.labels)
  }

  /// A model without a text tower has its words from a vocabulary.
  @Test func vocabulariesAreWords() throws {
    let test = try RADSegCase("square")
    let wanted = try test.run(.int8, test.session())
    let (session, golden) = (try test.session(), test.golden)
    let vectors = try #require(try golden.reference()["text.vectors"]).values
    let list = try ClassList(arguments: golden.classLines, background: false)
    let words = FileManager.default.temporaryDirectory.path + "/library-\(getpid()).tvoc"
    defer { unlink(words) }
    try VocabularyFile.write(
      Vocabulary(
        classes: list, width: session.embedWidth, vectors: vectors, modelID: session.textIdentity,
        encoding: .published), path: words)
    let trident = try Trident(model: try test.model())
    #expect(trident.defaultOptions.method == .radseg)
    var labels: [UInt16] = []
    let receiver = Trident.Receiver { _, line, _ in
      labels += UnsafeBufferPointer(start: line, count: wanted.report.width)
      return true
    }
    let photo = Trident.Photo.file(try golden.photoPath)
    _ = try trident.segment(.init(photo, .vocabulary(words), try test.options(.int8)), receiver)
    #expect(labels == wanted.labels)
    // Words that would have to be encoded here say what to do instead.
    let error = thrownError(SegmentationError.self) {
      try trident.segment(.init(photo, .classes(["a", "b"]), try test.options(.int8)), receiver)
    }
    #expect(error?.exitCode == 4 && error?.description.contains("--vocabulary") == true)
  }
}
