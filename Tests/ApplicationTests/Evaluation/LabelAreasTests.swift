// Metrics against an independent NumPy computation, and what the numbers of label maps mean.
import Application
import Segmentation
import Testing

@Suite struct LabelAreasTests {
  /// Lines of Tests/Fixtures/evaluate/areas.txt, four a case.
  static let cases: [[[Substring]]] = {
    let text = (try? readText(repository + "/Tests/Fixtures/evaluate/areas.txt")) ?? ""
    let lines = text.split(separator: "\n").map { $0.split(separator: " ") }
    return stride(from: 0, to: lines.count, by: 4).map { Array(lines[$0..<$0 + 4]) }
  }()

  /// The labels of one photo as make_areas.py draws them.
  private func photo(_ number: Int, _ photo: Int, _ sizes: [Int]) -> (predicted: [UInt16], truth: [UInt16]) {
    var predicted = draw(100 * number + 2 * photo, sizes[2], below: sizes[3])
    var truth = draw(100 * number + 2 * photo + 1, sizes[2], below: sizes[5] - sizes[4]).map {
      $0 + UInt16(sizes[4])
    }
    let ignored = draw(7777 + photo, sizes[2], below: 9)
    let right = draw(8888 + photo, sizes[2], below: 3)
    for index in truth.indices {
      if ignored[index] == 0 { truth[index] = 255 }
      if right[index] == 0 && truth[index] < sizes[3] { predicted[index] = truth[index] }
    }
    return (predicted, truth)
  }

  private func agree(_ found: Double?, _ wanted: Substring) -> Bool {
    guard let value = Double(wanted), !value.isNaN else { return found == nil }
    return found.map { abs($0 - value) <= 1e-15 } ?? false
  }

  @Test func agreesWithNumPy() throws {
    #expect(Self.cases.count == 5)
    for (number, lines) in Self.cases.enumerated() {
      let sizes = lines[0].dropFirst().compactMap { Int($0) }
      let table = LabelRule.plain.table(classCount: sizes[0])
      var whole = LabelAreas(classCount: sizes[0])
      var summed = LabelAreas(classCount: sizes[0])
      for index in 0..<sizes[1] {
        let labels = photo(number, index, sizes)
        let truth = labels.truth.map { table[Int($0)] }
        var own = LabelAreas(classCount: sizes[0])
        whole.add(predicted: labels.predicted, truth: truth, count: truth.count)
        own.add(predicted: labels.predicted, truth: truth, count: truth.count)
        let result = PhotoResult(name: "photo \(index)", seconds: 1.25, areas: own.entries)
        let stored = try #require(PhotoResult(line: result.line[...], classCount: sizes[0]))
        #expect(stored == result)
        summed.add(stored.areas)
      }
      #expect(summed.intersection == whole.intersection && summed.truth == whole.truth, "case \(number)")
      for (found, wanted) in zip(
        [whole.meanIoU, whole.meanAccuracy, whole.pixelAccuracy], lines[1].dropFirst())
      {
        #expect(agree(found, wanted), "case \(number): \(String(describing: found)), not \(wanted)")
      }
      for label in 0..<sizes[0] {
        #expect(agree(whole.iou(label), lines[2][label + 1]), "case \(number), class \(label)")
        #expect(agree(whole.accuracy(label), lines[3][label + 1]), "case \(number), class \(label)")
      }
    }
  }

  @Test func strayNumbersCountAgainstThePrediction() {
    var areas = LabelAreas(classCount: 2)
    areas.add(predicted: [0, 0, 1, 1], truth: [0, 7, 1, LabelRule.ignored], count: 4)
    #expect(areas.strayCount == 1)
    #expect(areas.iou(0) == 0.5)
    #expect(areas.iou(1) == 1)
    #expect(areas.pixelAccuracy == 1)
  }

  @Test func ignoredPixelsArePnPOVSSsClassZero() {
    var areas = LabelAreas(classCount: 3)
    let none = LabelRule.ignored
    areas.add(
      predicted: [0, 0, 1, 1, 2, 0], truth: [0, none, 1, none, 1, 0], count: 6)
    #expect(areas.ignored == [1, 1, 0])
    #expect(areas.entries.map(\.ignored) == [1, 1, 0])
    // With a background, class 0: found 3, true 4, of them 3 in both. Class 1: found 2, true 2, one in both.
    let with = PaperMeans(areas, background: true)
    #expect(with.classCount == 2 && with.meanIoU == (3.0 / 4 + 1.0 / 3) / 2)
    #expect(with.unlabelledShare == 2.0 / 6)
    // Without: two pixels of a class of their own that is never found. Class 0: found 3, true 2, 2 in both.
    let without = PaperMeans(areas, background: false)
    #expect(without.classCount == 3 && without.meanIoU == (0 + 2.0 / 3 + 1.0 / 3) / 3)
    #expect(PaperMeans(LabelAreas(classCount: 2), background: true).meanIoU == nil)
  }

  @Test func earlierLinesLackWhatIsIgnored() throws {
    let earlier = try #require(PhotoResult(line: "a\t1\t0:1/1/1", classCount: 3))
    let later = try #require(PhotoResult(line: "a\t1\t0:1/1/1/0 1:0/0/0/4", classCount: 3))
    #expect(earlier.lacksIgnored && !later.lacksIgnored)
    #expect(later.areas.last?.ignored == 4 && later.meanIoU == 1)
    var summary = EvaluationSummary(classCount: 3)
    summary.add(later)
    #expect(!summary.lacksIgnored && summary.areas.meanIoU == 1)
    summary.add(earlier)
    #expect(summary.lacksIgnored)
  }

  @Test(arguments: [
    "", "a\t1", "a\t1\t0:1/1/1 0:1/1/1", "a\t1\t9:1/1/1", "a\t1\t0:2/1/3", "a\t1\t0:0/0/0", "a\t-1\t0:1/1/1",
    "a\t1\t0:1/1",
  ])
  func damagedLinesAreRefused(_ line: String) {
    #expect(PhotoResult(line: line[...], classCount: 3) == nil)
  }

  @Test func rulesMapNumbers() {
    let ignored = LabelRule.ignored
    func classes(_ rule: LabelRule, _ numbers: [Int], of count: Int = 20) -> [UInt16] {
      let table = rule.table(classCount: count)
      return numbers.map { table[$0] }
    }
    #expect(classes(.plain, [0, 19, 20, 255, 65535]) == [0, 19, 20, ignored, ignored])
    #expect(classes(.plain, [255, 256], of: 847) == [255, 256])
    #expect(classes(.zeroDropped, [0, 1, 20, 254, 255]) == [ignored, 0, 19, 253, ignored])
    #expect(classes(.zeroDropped, [0, 255, 256, 65535], of: 847) == [ignored, 254, 255, ignored])
    let stuff = classes(.cocoStuff, [0, 10, 11, 12, 24, 27, 89, 91, 181, 182, 255])
    #expect(stuff == [0, 10, ignored, 11, 23, 25, 79, 80, 170, ignored, ignored])
    #expect(classes(.cocoObject, [0, 10, 11, 12, 89, 91, 181, 255]) == [1, 11, ignored, 12, 80, 0, 0, 0])
    #expect(
      classes(.cityscapes, [0, 7, 8, 11, 23, 24, 33, 34, 255]) == [
        ignored, 0, 1, 2, 10, 11, 18, ignored, ignored,
      ])
    #expect(Set(LabelRule.cocoStuff.table(classCount: 171)).count == 172)
    #expect(Set(LabelRule.cityscapes.table(classCount: 19)).count == 20)
  }
}
