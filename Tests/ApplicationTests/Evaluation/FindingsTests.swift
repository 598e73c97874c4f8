// What a mean would hide: labels that mean something else, photos that were turned, classes that were
// confused.
import Application
import Raster
import Segmentation
import System
import TestSupport
import Testing

@Suite(.serialized) struct FindingsTests {
  private let labels = repository + "/models/demo/scenes/labels/farm.png"

  /// The farm's labels with every number changed.
  private func changed(_ folder: Folder, _ change: (UInt16) -> UInt16) throws {
    let map = try NumberDecoder(path: labels)
    var (row, pixels) = ([UInt16](repeating: 0, count: map.width), [UInt8]())
    for _ in 0..<map.height {
      try map.readRow(into: &row)
      pixels += row.map { UInt8(truncatingIfNeeded: change($0)) }
    }
    let bytes = try PNGLayout.indexed(.standard).bytes(of: pixels, width: map.width, height: map.height)
    try folder.write("labels/farm.png")
    try FileBytes.replace(folder.path + "/labels/farm.png", with: bytes)
  }

  /// The farm with an EXIF orientation in front.
  private func turned(_ folder: Folder, _ orientation: UInt8) throws {
    var tiff: [UInt8] = [0x49, 0x49, 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0]
    tiff += [orientation, 0, 0, 0, 0, 0, 0, 0]
    let body = Array("Exif\0\0".utf8) + tiff
    let whole = try FileBytes.read(Demo.farm, limit: 1 << 24)
    var bytes = Array(whole[..<2])
    bytes += [0xFF, 0xE1, 0, UInt8(body.count + 2)]
    bytes += body
    bytes += whole[2...]
    try folder.write("images/farm.jpg")
    try FileBytes.replace(folder.path + "/images/farm.jpg", with: bytes)
  }

  private func run(_ folder: Folder, _ change: (inout EvaluationData) -> Void = { _ in }) throws
    -> EvaluationText
  {
    var data = EvaluationData()
    (data.images, data.labels) = (folder.path + "/images", folder.path + "/labels")
    change(&data)
    return try EvaluateJob(Demo.session(), Demo.source, Demo.fast, data).run(results: nil)
  }

  @Test func labelsThatMeanSomethingElse() throws {
    let folder = Folder()
    try folder.copy(Demo.farm, "images/farm.jpg")
    try folder.copy(labels, "labels/farm.png")
    let right = try run(folder)
    #expect(right.warnings.isEmpty && right.findings.ignoredCount == 0)
    #expect(right.table.contains("classes never occur in the truth: "))
    try changed(folder) { $0 + 1 }
    let shifted = try run(folder)
    #expect(shifted.warnings.count == 1 && shifted.warnings[0].contains("--reduce-zero-label"))
    let reduced = try run(folder) { $0.reducesZeroLabel = true }
    #expect(reduced.warnings.isEmpty && reduced.summary.areas == right.summary.areas)
    try changed(folder) { $0 % 2 == 0 ? 0 : 255 }
    let white = try run(folder)
    #expect(white.warnings.count == 1 && white.warnings[0].contains("0 and 255 alone"))
    #expect(white.table.contains("warning: the label maps hold 0 and 255") && white.findings.ignoredCount > 0)
    #expect(white.json.text(indent: -1).contains(#""warnings":["the label maps hold"#))
  }

  @Test func photosThatWereTurned() throws {
    let folder = Folder()
    try folder.copy(Demo.farm, "images/farm.jpg")
    try folder.copy(labels, "labels/farm.png")
    let right = try run(folder)
    try turned(folder, 3)
    let wrong = try run(folder)
    #expect(wrong.warnings.count == 1 && wrong.warnings[0].contains("--orientation stored"))
    #expect(try run(folder) { $0.turnsPhotos = true }.warnings.isEmpty)
    let stored = try run(folder) { $0.turnsPhotos = false }
    #expect(stored.warnings.isEmpty && stored.summary.areas == right.summary.areas)
    try turned(folder, 6)
    let error = thrownError(SegmentationError.self) { try run(folder) }
    #expect(error?.exitCode == 3 && error?.description.contains("EXIF turns it") == true)
    #expect(try run(folder) { $0.turnsPhotos = false }.summary.areas == right.summary.areas)
  }

  @Test func confusedPairs() throws {
    let folder = Folder()
    try folder.copy(Demo.farm, "images/farm.jpg")
    try folder.copy(labels, "labels/farm.png")
    var data = EvaluationData()
    (data.images, data.labels) = (folder.path + "/images", folder.path + "/labels")
    let job = try EvaluateJob(Demo.session(), Demo.source, Demo.fast, data)
    let text = try job.run(results: nil)
    let (findings, areas) = (text.findings, text.summary.areas)
    for truth in 0..<areas.classCount {
      let row = (0..<areas.classCount).map { findings.count(truth: truth, predicted: $0) ?? -1 }
      #expect(row.reduce(0, +) == areas.truth[truth] && row[truth] == areas.intersection[truth])
    }
    let pairs = findings.mostConfused(5)
    #expect(pairs.allSatisfy { findings.count(truth: $0.truth, predicted: $0.predicted) == $0.count })
    #expect(
      pairs.map(\.count) == pairs.map(\.count).sorted(by: >) && pairs.allSatisfy { $0.truth != $0.predicted })
    let json = text.json.text(indent: -1)
    #expect(json.contains(#""window":336,"#) && json.contains(#""refine":"none","#))
    #expect(json.contains(#""dino":true,"#) && json.contains(#""text_encoding":"int8x2""#))
    let page = try job.page(text)
    #expect(page.contains("<h2>Most confused</h2>") && page.contains("<h2>Confusion matrix</h2>"))
    #expect(page.contains("alt=\"truth of farm\"") && page.contains("<td>window<td>336"))
    #expect(page.contains("alt=\"errors of farm\"") && page.contains("width=device-width,initial-scale=1"))
    #expect(EvaluationFindings(classCount: 257).count(truth: 0, predicted: 0) == nil)
  }
}
