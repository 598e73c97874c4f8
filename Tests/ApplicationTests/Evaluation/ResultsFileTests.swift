// Results on disk: going on, refusing, dropping half a line, merging.
import Application
import Raster
import Segmentation
import System
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct ResultsFileTests {
  private let temporaryFiles = TemporaryFiles()

  private func header(stride: Int = 224, classes: [String] = ["sky; air", "dog"]) throws -> ResultsHeader {
    try ResultsHeader(
      model: "abc", options: [("short_side", "448"), ("stride", String(stride))], set: "folder",
      labels: "plain",
      photoCount: 4, photoDigest: "0123", background: true, classes: classes)
  }

  private func result(_ name: String, _ intersection: Int = 3) -> PhotoResult {
    PhotoResult(
      name: name, seconds: 0.5,
      areas: [ClassArea(label: 1, intersection: intersection, predicted: 4, truth: 5)])
  }

  /// The stored names, in order.
  private func names(_ path: String, _ header: ResultsHeader) throws -> [String] {
    var names: [String] = []
    _ = try ResultsFile(path: path, header: header) { names.append($0.name) }
    return names
  }

  @Test func goesOnWhereItStopped() throws {
    let folder = Folder()
    let path = folder.path + "/results.txt"
    let header = try header()
    var file: ResultsFile? = try ResultsFile(path: path, header: header) { _ in
      Issue.record("a line in a new file")
    }
    try file?.append(result("a b"))
    #expect(throws: SegmentationError.self) { try names(path, header) }
    file = nil
    let whole = try readText(path)
    try folder.write("results.txt", whole + "torn\t12")
    #expect(try names(path, header) == ["a b"])
    #expect(try readText(path) == whole)
    file = try ResultsFile(path: path, header: header) { _ in }
    try file?.append(result("c"))
    file = nil
    #expect(try names(path, header) == ["a b", "c"])
  }

  @Test func halfAHeaderIsWrittenAgain() throws {
    let folder = Folder()
    let path = folder.path + "/results.txt"
    let header = try header()
    for count in 0..<header.text.utf8.count {
      try folder.write("results.txt", String(header.text.prefix(count)))
      #expect(try names(path, header) == [])
      #expect(try readText(path) == header.text)
    }
    #expect(throws: SegmentationError.self) { try names("/dev/null", header) }
  }

  @Test func refusesOtherFiles() throws {
    let folder = Folder()
    let path = folder.path + "/results.txt"
    _ = try ResultsFile(path: path, header: try header()) { _ in }
    for other in [try header(stride: 112), try header(classes: ["sky", "dog"])] {
      do {
        _ = try names(path, other)
        Issue.record("another run's file was taken")
      } catch let error as SegmentationError {
        #expect(error.exitCode == 2)
        #expect(error.description.contains(path))
      }
    }
    let before = try readText(path)
    try folder.write("other.txt", "my notes\n")
    #expect(throws: SegmentationError.self) { try names(folder.path + "/other.txt", try header()) }
    #expect(try readText(folder.path + "/other.txt") == "my notes\n")
    try folder.write("results.txt", before + "a\t500\t7:1/1/1\n")
    #expect(throws: SegmentationError.self) { try names(path, try header()) }
  }

  /// Whoever counts photos by name relies on it.
  @Test func refusesAPhotoTwice() throws {
    let folder = Folder()
    let path = folder.path + "/results.txt"
    let text = try header().text + result("a").line + "\n" + result("b").line + "\n" + result("a").line + "\n"
    try folder.write("results.txt", text)
    do {
      _ = try names(path, try header())
      Issue.record("a photo was counted twice")
    } catch let error as SegmentationError {
      #expect(
        error.description.contains("'a' twice")
          && error.line == text.split(separator: "\n", omittingEmptySubsequences: false).count - 1)
    }
    #expect(try readText(path) == text)
  }

  /// Neither waits for a pipe that nobody writes to.
  @Test func refusesPipes() throws {
    let folder = Folder()
    mkfifo(folder.path + "/pipe", 0o600)
    #expect(throws: SegmentationError.self) { try names(folder.path + "/pipe", try header()) }
    #expect(throws: SegmentationError.self) { try ResultsMerge(paths: [folder.path + "/pipe"], output: nil) }
  }

  /// Areas that no photo has would overflow when they are added up.
  @Test func refusesImpossibleAreas() throws {
    let folder = Folder()
    let path = folder.path + "/results.txt"
    try folder.write("results.txt", try header().text + "a\t500\t1:0/4294967296/1\n")
    #expect(throws: SegmentationError.self) { try names(path, try header()) }
  }

  @Test func mergesParts() throws {
    let folder = Folder()
    let paths = ["one", "two", "three"].map { folder.path + "/\($0).txt" }
    for (index, path) in paths.enumerated() {
      let file = try ResultsFile(path: path, header: try header()) { _ in }
      try file.append(result("photo \(index)", index))
    }
    let output = try AtomicFile(path: folder.path + "/all.txt")
    let merged = try ResultsMerge(paths: paths, output: output)
    try output.finish()
    #expect(merged.summary.photoCount == 3)
    #expect(merged.summary.areas.area(1) == ClassArea(label: 1, intersection: 3, predicted: 12, truth: 15))
    #expect(merged.summary.worst.map(\.name) == ["photo 0", "photo 1", "photo 2"])
    #expect(merged.header.classNames == ["background", "dog"])
    #expect(try names(folder.path + "/all.txt", try header()) == ["photo 0", "photo 1", "photo 2"])
    #expect(throws: SegmentationError.self) { try ResultsMerge(paths: paths + [paths[0]], output: nil) }
    _ = try ResultsFile(path: folder.path + "/other.txt", header: try header(stride: 16)) { _ in }
    #expect(throws: SegmentationError.self) {
      try ResultsMerge(paths: paths + [folder.path + "/other.txt"], output: nil)
    }
  }

  @Test func onlyTheWorstPhotosAreKept() {
    var summary = EvaluationSummary(classCount: 2)
    for index in 0..<500 { summary.add(result("photo \(index)", index % 4)) }
    #expect(summary.photoCount == 500)
    #expect(summary.worst.count == EvaluationSummary.worstLimit)
    #expect(summary.worst.allSatisfy { $0.meanIoU == 0 })
    #expect(summary.worst[0].name == "photo 0")
  }
}

/// Two results files against each other.
@Suite struct ResultsComparisonTests {
  private let classes = ["sky", "grass; lawn", "cow"]

  private func file(
    _ folder: Folder, _ name: String, _ lines: [String], options: [(String, String)] = [("beta", "1.2")],
    set: String = "folder", classes: [String]? = nil
  ) throws -> String {
    let header = try ResultsHeader(
      model: "abc", options: options, set: set, labels: "plain", photoCount: 9, photoDigest: "x",
      background: false, classes: classes ?? self.classes)
    return try folder.write(name, header.text + lines.map { $0 + "\n" }.joined())
  }

  private func comparison(_ first: String, _ second: String) throws -> ResultsComparison {
    try ResultsComparison(first, second)
  }

  /// 40 photos of which the second run gets each a little better in one class.
  @Test func sameFilesAndBetterOnes() throws {
    let folder = Folder()
    let before = (0..<40).map { "p\($0)\t10\t0:\(50 + $0)/100/100 1:70/100/100" }
    let after = (0..<40).map { "p\($0)\t10\t0:\(55 + $0)/100/100 1:70/100/100" }
    let a = try file(folder, "a.txt", before)
    let b = try file(folder, "b.txt", after + ["more\t1\t0:1/1/1"], options: [("beta", "1")])
    let same = try comparison(a, a)
    #expect(same.meanIoU.interval == 0...0 && !same.meanIoU.isClear && same.meanIoU.secondIsBetter == 0.5)
    #expect(same.table.contains("do not tell A and B apart") && same.differences.isEmpty)
    let found = try comparison(a, b)
    #expect(found.photoCount == 40 && found.leftOut == (0, 1))
    let intersection = (0..<40).reduce(0) { $0 + 50 + $1 }
    #expect(found.classes[0].first == Double(intersection) / Double(8000 - intersection))
    #expect(found.classes[0].isClear && found.classes[0].interval!.lowerBound > 0)
    #expect(found.classes[1].interval == 0...0 && found.classes[2].first == nil)
    #expect(found.meanIoU.isClear && found.meanIoU.secondIsBetter == 1)
    // The same files give the same numbers; the other way round the signs change.
    #expect(try comparison(a, b).meanIoU == found.meanIoU)
    let back = try comparison(b, a)
    #expect(back.meanIoU.interval!.lowerBound == -found.meanIoU.interval!.upperBound)
    #expect(
      found.table.contains("beta: A 1.2, B 1\n") && found.table.contains("40 photos in both, 1 only in B"))
    #expect(found.json.text(indent: -1).hasPrefix(#"{"photos":40,"only_in_a":0,"only_in_b":1,"draws":2000,"#))
  }

  /// A difference that one photo makes is no clear one: the interval is as wide as photos differ.
  @Test func onePhotoProvesNothing() throws {
    let folder = Folder()
    let before = (0..<20).map { "p\($0)\t10\t0:50/100/100" }
    var after = before
    after[3] = "p3\t10\t0:100/100/100"
    let found = try comparison(file(folder, "a.txt", before), file(folder, "b.txt", after))
    #expect(found.meanIoU.difference! > 0 && !found.meanIoU.isClear)
    #expect(found.meanIoU.interval!.lowerBound == 0 && found.meanIoU.secondIsBetter < 1)
  }

  /// Nine photos of a class are too few for an interval, however sure they seem.
  @Test func fewPhotosGetNoInterval() throws {
    let folder = Folder()
    let before = (0..<12).map { "p\($0)\t10\t0:50/100/100" + ($0 < 9 ? " 1:50/100/100" : "") }
    let after = (0..<12).map { "p\($0)\t10\t0:60/100/100" + ($0 < 9 ? " 1:60/100/100" : "") }
    let found = try comparison(file(folder, "a.txt", before), file(folder, "b.txt", after))
    #expect(found.classes[0].isClear && found.meanIoU.isClear)
    #expect(found.classes[1].interval == nil && !found.classes[1].isClear)
  }

  /// Photos that only seem to show a class hold nothing of it.
  @Test func whatIsOnlyPredictedMakesNoInterval() throws {
    let folder = Folder()
    let before = (0..<12).map { "p\($0)\t10\t0:50/100/100" + ($0 < 1 ? " 1:50/100/100" : " 1:0/5/0") }
    let after = (0..<12).map { "p\($0)\t10\t0:60/100/100" + ($0 < 1 ? " 1:60/100/100" : " 1:0/4/0") }
    let found = try comparison(file(folder, "a.txt", before), file(folder, "b.txt", after))
    #expect(found.classes[0].isClear && found.classes[1].interval == nil)
  }

  @Test func refusals() throws {
    let folder = Folder()
    let a = try file(folder, "a.txt", ["p\t1\t0:1/2/2"])
    for (name, lines, set, classes, message) in [
      ("b.txt", ["p\t1\t0:1/2/3"], "folder", nil, "'p' has other true labels"),
      ("c.txt", ["q\t1\t0:1/2/2"], "folder", nil, "has no photo in common"),
      ("d.txt", ["p\t1\t0:1/2/2"], "voc21", nil, "has other photos (set voc21, not folder)"),
      ("e.txt", ["p\t1\t0:1/2/2"], "folder", ["sky"], "has other classes"),
      ("f.txt", ["p\t1\t0:1/2/2", "p\t1\t0:1/2/2"], "folder", nil, "holds 'p' twice"),
    ] as [(String, [String], String, [String]?, String)] {
      let other = try file(folder, name, lines, set: set, classes: classes)
      let error = thrownError(SegmentationError.self) { try comparison(a, other) }
      #expect(error?.description.contains(message) == true, "\(name)")
    }
    #expect(throws: SegmentationError.self) { try comparison(a, folder.write("g.txt", "x")) }
  }
}
