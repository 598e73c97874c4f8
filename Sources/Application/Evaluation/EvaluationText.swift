// An evaluation in words and in JSON.
import Container
import Segmentation
import System

/// Describes totals.
package struct EvaluationText {
  let header: ResultsHeader
  package let summary: EvaluationSummary
  package let findings: EvaluationFindings
  /// What is likely wrong with the labels.
  package let warnings: [String]

  var names: [String] { header.classNames }
  private var areas: LabelAreas { summary.areas }

  /// A share as percent with two decimals.
  static func percent(_ value: Double?) -> String { value.map { fixed($0 * 100, 2) } ?? "-" }

  /// `60 of 300 photos`, or `all 300 photos`.
  package var photos: String {
    summary.photoCount == header.photoCount
      ? "all \(header.photoCount) photos" : "\(summary.photoCount) of \(header.photoCount) photos"
  }

  /// The three means in a line.
  var means: String {
    "mIoU \(Self.percent(areas.meanIoU)), mAcc \(Self.percent(areas.meanAccuracy)), "
      + "aAcc \(Self.percent(areas.pixelAccuracy))"
  }

  /// The means by PnP-OVSS's rules; nil where results of an earlier version do not tell them.
  package var paper: PaperMeans? {
    summary.lacksIgnored ? nil : PaperMeans(areas, background: header.background)
  }

  private var paperJSON: JSON {
    guard let paper else { return .null }
    return .object([
      ("mIoU", paper.meanIoU.map { .number($0) } ?? .null), ("classes", .int(paper.classCount)),
      ("unlabelled_share", .number(paper.unlabelledShare)),
    ])
  }

  var secondsPerPhoto: Double { summary.seconds / Double(max(1, summary.photoCount)) }

  /// Columns for people.
  package var table: String {
    let names = names.map { printable($0, limit: 200) }
    let width = max(5, names.map(\.count).max() ?? 0)
    let total = Double(max(1, areas.truth.reduce(0, +)))
    var lines = [padded("class", width) + "     IoU     Acc  share of pixels"]
    for (index, name) in names.enumerated() {
      let share = Double(areas.truth[index]) / total
      lines.append(
        padded(name, width) + padded(Self.percent(areas.iou(index)), 8, right: true)
          + padded(Self.percent(areas.accuracy(index)), 8, right: true)
          + padded(fixed(share * 100, 2), 9, right: true) + " %")
    }
    let present = names.indices.filter { areas.iou($0) != nil }.count
    lines.append("\(photos), \(present) of \(names.count) classes occur in truth or prediction: \(means)")
    if let paper {
      lines.append(
        "by PnP-OVSS's label rules, which ignore no pixel: mIoU \(Self.percent(paper.meanIoU)) of "
          + "\(paper.classCount) classes that are true somewhere")
    }
    lines.append("\(fixed(secondsPerPhoto, 2)) s a photo")
    lines +=
      remarks.map { printable($0, limit: 4000) } + warnings.map { "warning: " + printable($0, limit: 4000) }
    return lines.joined(separator: "\n")
  }

  /// What a mean hides, without being wrong.
  var remarks: [String] {
    var lines: [String] = []
    let never = names.indices.filter { areas.truth[$0] == 0 }
    if !never.isEmpty && never.count < names.count {
      let shown = never.prefix(12).map { names[$0] }.joined(separator: ", ")
      lines.append(
        "\(never.count) of \(names.count) classes never occur in the truth: \(shown)"
          + (never.count > 12 ? ", ..." : ""))
    }
    if findings.ignoredCount > 0 {
      lines.append("ignored: \(Self.percent(findings.ignoredShare)) % of the pixels")
    }
    return lines
  }

  private var confused: JSON {
    .array(
      findings.mostConfused(10).map { pair in
        .object([
          ("truth", .string(names[pair.truth])), ("predicted", .string(names[pair.predicted])),
          ("pixels", .int(pair.count)),
        ])
      })
  }

  package var json: JSON {
    func number(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
    return .object([
      ("photos", .int(summary.photoCount)), ("photos_of_split", .int(header.photoCount)),
      ("set", .string(header.set)),
      ("mIoU", number(areas.meanIoU)), ("mAcc", number(areas.meanAccuracy)),
      ("aAcc", number(areas.pixelAccuracy)), ("pnp_ovss", paperJSON),
      (
        "classes",
        .array(
          names.indices.map { index in
            let area = areas.area(index)
            return .object([
              ("id", .int(index)), ("name", .string(names[index])), ("IoU", number(areas.iou(index))),
              ("Acc", number(areas.accuracy(index))), ("intersection", .int(area.intersection)),
              ("predicted", .int(area.predicted)), ("truth", .int(area.truth)),
            ])
          })
      ),
      (
        "worst",
        .array(summary.worst.map { .object([("name", .string($0.name)), ("mIoU", .number($0.meanIoU))]) })
      ),
      ("never_true", .array(names.indices.filter { areas.truth[$0] == 0 }.map { .string(names[$0]) })),
      ("ignored_share", .number(findings.ignoredShare)), ("confused", confused),
      ("warnings", .array(warnings.map { .string($0) })),
      ("seconds_per_photo", .number(secondsPerPhoto)), ("model_id", .string(header.model)),
      ("options", .object(header.options.map { ($0.name, Self.json(of: $0.value, for: $0.name)) })),
    ])
  }

  /// An option as a results file has it: numbers are numbers. What is no option, such as a digest, is text.
  private static func json(of value: String, for key: String) -> JSON {
    guard OptionTable[key] != nil, let found = try? JSONReader.parse(Array(value.utf8)) else {
      return .string(value)
    }
    return found
  }
}
