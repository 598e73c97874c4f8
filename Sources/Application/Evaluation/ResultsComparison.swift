// Two results files of the same photos: which is better, by class, and how sure that is.
import Segmentation
import System

/// Compares two runs of `trident evaluate` photo by photo.
///
/// Both runs saw the same photos, so a hard photo is hard for both. The paired bootstrap draws as many photos
/// as there are, with replacement, and takes areas of both runs from the same draw; the middle 95 % of the
/// differences of 2,000 draws is the interval. Draws come from a fixed seed: the same files give the same
/// numbers. An interval that holds 0 means that these photos do not tell the runs apart. A class that fewer
/// than ten photos hold gets none: draws of so few say little.
///
/// - Memory: 40 bytes for every class of every photo and run, and 8 bytes a class and draw.
/// - Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993: percentile intervals. mIoU is
///   that of `LabelAreas`, of each draw.
package struct ResultsComparison {
  /// A number of both runs, and what the draws say of its difference.
  package struct Pair: Equatable, Sendable {
    /// Of the first and the second run, of 1; nil where the class occurs nowhere.
    package let first: Double?
    package let second: Double?
    /// Middle 95 % of the differences, second less first; nil where fewer than half of the draws have both,
    /// or too few photos the class.
    package let interval: ClosedRange<Double>?
    /// Share of the draws in which the second is better.
    package let secondIsBetter: Double

    package var difference: Double? {
      if let first, let second { second - first } else { nil }
    }

    /// The interval does not hold 0.
    package var isClear: Bool { interval.map { !$0.contains(0) } ?? false }
  }

  package static let drawCount = 2000
  /// Photos that an interval needs.
  package static let fewest = 10

  package let names: [String]
  package let photoCount: Int
  /// Photos that only one of the files has.
  package let leftOut: (first: Int, second: Int)
  /// What the heads of the files have different: key, value of each.
  package let differences: [(name: String, first: String, second: String)]
  package let meanIoU: Pair
  package let pixelAccuracy: Pair
  package let classes: [Pair]

  /// - Errors: `.usage` for files of different classes, sets or labels, without a photo in common, or whose
  ///   true labels differ; those of `ResultsReader`.
  package init(_ firstPath: String, _ secondPath: String) throws(SegmentationError) {
    let (first, second) = (try Self.read(firstPath), try Self.read(secondPath))
    try Self.check(first.header, second.header, firstPath, secondPath)
    names = first.header.classNames
    differences = Self.differences(first.header, second.header)
    let common = first.photos.keys.filter { second.photos[$0] != nil }.sorted()
    guard !common.isEmpty else {
      throw SegmentationError(.usage("has no photo in common with \(firstPath)"), path: secondPath)
    }
    photoCount = common.count
    leftOut = (first.photos.count - common.count, second.photos.count - common.count)
    var pairs: [(first: [ClassArea], second: [ClassArea])] = []
    for name in common {
      let (a, b) = (first.photos[name] ?? [], second.photos[name] ?? [])
      guard Self.truth(a) == Self.truth(b) else {
        throw SegmentationError(
          .usage("'\(name)' has other true labels than in \(firstPath); the label maps changed in between"),
          path: secondPath)
      }
      pairs.append((a, b))
    }
    let draws = Bootstrap(pairs, classCount: names.count)
    meanIoU = draws.pair(\.meanIoU, draws.means, photos: pairs.count)
    pixelAccuracy = draws.pair(\.pixelAccuracy, draws.accuracies, photos: pairs.count)
    classes = names.indices.map { label in
      draws.pair({ $0.iou(label) }, draws.classes[label], photos: draws.photoCounts[label])
    }
  }

  private static func read(_ path: String) throws(SegmentationError) -> (
    header: ResultsHeader, photos: [String: [ClassArea]]
  ) {
    let reader = try ResultsReader(path: path)
    var photos: [String: [ClassArea]] = [:]
    while let (result, _) = try reader.next() {
      guard photos.updateValue(result.areas, forKey: result.name) == nil else {
        throw SegmentationError(
          .output("holds '\(result.name)' twice; delete one of the lines"), path: path, line: reader.line)
      }
    }
    return (reader.header, photos)
  }

  /// Runs may differ in everything but what is measured.
  private static func check(
    _ first: ResultsHeader, _ second: ResultsHeader, _ firstPath: String, _ secondPath: String
  ) throws(SegmentationError) {
    func refuse(_ what: String) -> SegmentationError {
      SegmentationError(
        .usage("has other \(what) than \(firstPath); compare runs on the same"), path: secondPath)
    }
    if first.classes.count != second.classes.count { throw refuse("classes") }
    if first.set != second.set { throw refuse("photos (set \(second.set), not \(first.set))") }
    if first.labelRule != second.labelRule { throw refuse("labels (--reduce-zero-label)") }
  }

  private static func differences(_ first: ResultsHeader, _ second: ResultsHeader) -> [(
    name: String, first: String, second: String
  )] {
    var found: [(name: String, first: String, second: String)] = []
    if first.model != second.model {
      found.append(("model", String(first.model.prefix(12)), String(second.model.prefix(12))))
    }
    let others = Dictionary(second.options.map { ($0.name, $0.value) }) { value, _ in value }
    let own = Set(first.options.map(\.name))
    for (name, value) in first.options where others[name] != value {
      found.append((name, value, others[name] ?? "-"))
    }
    for (name, value) in second.options where !own.contains(name) { found.append((name, "-", value)) }
    for (label, pair) in zip(first.classes, second.classes).enumerated() where pair.0 != pair.1 {
      found.append(("class \(label)", pair.0, pair.1))
    }
    return found
  }

  /// True pixels by class, of the classes that are there.
  private static func truth(_ areas: [ClassArea]) -> [[Int]] {
    areas.filter { $0.truth > 0 }.map { [$0.label, $0.truth] }
  }
}

/// The draws: areas of both runs, summed over the same photos.
private struct Bootstrap {
  private let whole: (first: LabelAreas, second: LabelAreas)
  /// Differences of each draw that has both numbers.
  private(set) var means: [Double] = []
  private(set) var accuracies: [Double] = []
  private(set) var classes: [[Double]]
  /// Photos of each class.
  private(set) var photoCounts: [Int]

  init(_ pairs: [(first: [ClassArea], second: [ClassArea])], classCount: Int) {
    let empty = LabelAreas(classCount: classCount)
    classes = Array(repeating: [], count: classCount)
    photoCounts = Array(repeating: 0, count: classCount)
    for pair in pairs {
      for label in Set((pair.first + pair.second).filter { $0.truth > 0 }.map(\.label)) {
        photoCounts[label] += 1
      }
    }
    whole = pairs.reduce(into: (empty, empty)) { sums, pair in
      sums.0.add(pair.first)
      sums.1.add(pair.second)
    }
    var numbers = SplitMix64(seed: 18)
    for _ in 0..<ResultsComparison.drawCount {
      var (first, second) = (empty, empty)
      for _ in pairs {
        let photo = Int(numbers.next().multipliedFullWidth(by: UInt64(pairs.count)).high)
        first.add(pairs[photo].first)
        second.add(pairs[photo].second)
      }
      if let a = first.meanIoU, let b = second.meanIoU { means.append(b - a) }
      if let a = first.pixelAccuracy, let b = second.pixelAccuracy { accuracies.append(b - a) }
      for label in 0..<classCount {
        if let a = first.iou(label), let b = second.iou(label) { classes[label].append(b - a) }
      }
    }
  }

  func pair(
    _ number: (LabelAreas) -> Double?, _ differences: [Double], photos: Int
  ) -> ResultsComparison.Pair {
    let sorted = differences.sorted()
    var interval: ClosedRange<Double>?
    if photos >= ResultsComparison.fewest, sorted.count * 2 >= ResultsComparison.drawCount {
      interval = sorted[sorted.count / 40]...sorted[sorted.count - 1 - sorted.count / 40]
    }
    // A draw without a difference is half a draw for each.
    let better = sorted.reduce(0.0) { $0 + ($1 > 0 ? 1 : $1 == 0 ? 0.5 : 0) }
    return ResultsComparison.Pair(
      first: number(whole.first), second: number(whole.second), interval: interval,
      secondIsBetter: sorted.isEmpty ? 0.5 : better / Double(sorted.count))
  }
}

extension ResultsComparison {
  private static func percent(_ value: Double?) -> String { EvaluationText.percent(value) }

  private static func signed(_ value: Double) -> String { (value > 0 ? "+" : "") + fixed(value * 100, 2) }

  private static func row(_ name: String, _ pair: Pair, width: Int) -> String {
    let difference = pair.difference.map(signed) ?? "-"
    let interval = pair.interval.map { "\(signed($0.lowerBound)) to \(signed($0.upperBound))" } ?? "-"
    return padded(name, width) + padded(percent(pair.first), 8, right: true)
      + padded(percent(pair.second), 8, right: true) + padded(difference, 9, right: true)
      + padded(interval, 20, right: true) + (pair.isClear ? " *" : "")
  }

  /// Columns for people.
  package var table: String {
    let names = names.map { printable($0, limit: 200) }
    let width = max(7, names.map(\.count).max() ?? 0)
    var lines = differences.map { one in
      printable("\(one.name): A \(one.first), B \(one.second)", limit: 400)
    }
    if differences.isEmpty { lines.append("A and B have the same model, options and classes") }
    lines.append(padded("percent", width) + "       A       B    B - A        95 % interval")
    for (name, pair) in zip(names, classes) where pair.first != nil || pair.second != nil {
      lines.append(Self.row(name, pair, width: width))
    }
    lines.append(Self.row("mIoU", meanIoU, width: width))
    lines.append(Self.row("aAcc", pixelAccuracy, width: width))
    var end = "\(photoCount) photo\(photoCount == 1 ? "" : "s") in both"
    if leftOut.first > 0 { end += ", \(leftOut.first) only in A" }
    if leftOut.second > 0 { end += ", \(leftOut.second) only in B" }
    lines.append(
      end
        + "; B has the higher mIoU in \(fixed(meanIoU.secondIsBetter * 100, 1)) % of \(Self.drawCount) draws "
        + "of photos" + (meanIoU.isClear ? "" : ": these photos do not tell A and B apart"))
    lines.append(
      "* the interval (paired bootstrap over photos) does not hold 0; there is none for what fewer than "
        + "\(Self.fewest) photos hold")
    return lines.joined(separator: "\n")
  }

  package var json: JSON {
    func number(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
    func members(_ pair: Pair) -> [(String, JSON)] {
      let interval = pair.interval.map { JSON.array([.number($0.lowerBound), .number($0.upperBound)]) }
      return [
        ("a", number(pair.first)), ("b", number(pair.second)), ("difference", number(pair.difference)),
        ("interval95", interval ?? .null), ("b_is_better", .number(pair.secondIsBetter)),
      ]
    }
    let classes = zip(names, classes).enumerated().map { label, one in
      JSON.object([("id", .int(label)), ("name", .string(one.0))] + members(one.1))
    }
    let differences = differences.map { one in
      JSON.object([("name", .string(one.name)), ("a", .string(one.first)), ("b", .string(one.second))])
    }
    return .object([
      ("photos", .int(photoCount)), ("only_in_a", .int(leftOut.first)), ("only_in_b", .int(leftOut.second)),
      ("draws", .int(Self.drawCount)), ("mIoU", .object(members(meanIoU))),
      ("aAcc", .object(members(pixelAccuracy))), ("classes", .array(classes)),
      ("differences", .array(differences)),
    ])
  }
}
