// One photo's line of a results file.
import Raster
import System

/// What one photo contributes to a split.
package struct PhotoResult: Equatable, Sendable {
  /// Name within its set, without folder and extension.
  package var name: String
  package var seconds: Double
  /// Classes that occur, ascending.
  package var areas: [ClassArea]
  /// Of photo and label map, 16 hexadecimal digits; empty in files of earlier versions.
  package var digest: String
  /// Read from a file of an earlier version, which did not count what is predicted where labels are ignored.
  package private(set) var lacksIgnored = false

  package init(name: String, seconds: Double, areas: [ClassArea], digest: String = "") {
    self.name = name
    self.digest = digest
    self.seconds = seconds
    self.areas = areas
  }

  /// Mean IoU over the classes of this photo; 1 for a photo without any labelled pixel.
  package var meanIoU: Double {
    let counted = areas.filter { $0.union > 0 }
    if counted.isEmpty { return 1 }
    return counted.reduce(0) { $0 + Double($1.intersection) / Double($1.union) } / Double(counted.count)
  }

  /// Name, seconds, for each class `label:intersection/predicted/truth/ignored`, and the digest, separated by
  /// tabs and spaces.
  package var line: String {
    let milliseconds = Int((seconds * 1000).rounded())
    let parts = areas.map { "\($0.label):\($0.intersection)/\($0.predicted)/\($0.truth)/\($0.ignored)" }
    let end = digest.isEmpty ? "" : "\t\(digest)"
    return "\(name)\t\(milliseconds)\t" + parts.joined(separator: " ") + end
  }

  /// Reads a line; nil where it is none, or its numbers contradict each other.
  package init?(line: Substring, classCount: Int) {
    let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
    guard fields.count == 3 || fields.count == 4, !fields[0].isEmpty, let milliseconds = Int(fields[1]),
      milliseconds >= 0
    else {
      return nil
    }
    var areas: [ClassArea] = []
    var isEarlier = false
    for part in fields[2].split(separator: " ") {
      let numbers = part.split(omittingEmptySubsequences: false) { $0 == ":" || $0 == "/" }.compactMap {
        Int($0)
      }
      guard numbers.count == 4 || numbers.count == 5,
        numbers.allSatisfy({ (0...PhotoDecoder.pixelLimit).contains($0) })
      else {
        return nil
      }
      let area = ClassArea(
        label: numbers[0], intersection: numbers[1], predicted: numbers[2], truth: numbers[3],
        ignored: numbers.count == 5 ? numbers[4] : 0)
      isEarlier = isEarlier || numbers.count == 4
      guard area.label < classCount, area.label > areas.last?.label ?? -1, area.union + area.ignored > 0,
        area.intersection <= min(area.predicted, area.truth)
      else { return nil }
      areas.append(area)
    }
    let digest = fields.count == 4 ? String(fields[3]) : ""
    guard digest.isEmpty || digest.utf8.count == 16 && digest.allSatisfy(\.isHexDigit) else { return nil }
    self.init(name: String(fields[0]), seconds: Double(milliseconds) / 1000, areas: areas, digest: digest)
    lacksIgnored = isEarlier
  }
}
