// Memory over time as a drawing that needs no reader but a browser.
import Segmentation

/// Private and mapped memory of one run, stages as bands.
///
/// - Units: seconds to the right, MiB upwards.
struct MemoryChart {
  let report: RunReport
  let limit: Int?

  private let width = 960.0
  private let height = 440.0
  private let left = 64.0
  private let right = 20.0
  private let top = 64.0
  private let bottom = 84.0
  private static let tints = ["#eef3fb", "#fdf3e7", "#eef8ee", "#f8eef6", "#f3f3f3", "#fbf8e6"]

  private var seconds: Double { max(report.seconds, report.samples.last?.seconds ?? 0, 1e-3) }
  private var peak: Double {
    let total = report.samples.map { $0.anonymous + $0.file }.max() ?? 0
    return Double(max(total, limit ?? 0, report.plan.peak, 1 << 20)) / 1_048_576
  }

  /// A round step that gives about `count` marks.
  private static func step(_ range: Double, _ count: Double) -> Double {
    var unit = 0.01
    while range / (unit * 10) > count { unit *= 10 }
    for factor in [1.0, 2, 5, 10] where range / (unit * factor) <= count { return unit * factor }
    return unit * 10
  }

  private func x(_ time: Double) -> String { fixed(left + time / seconds * (width - left - right), 1) }
  private func y(_ value: Double) -> String {
    fixed(height - bottom - value / (peak * 1.08) * (height - top - bottom), 1)
  }
  private func y(bytes: Int) -> String { y(Double(bytes) / 1_048_576) }

  var svg: String {
    var out = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(fixed(width, 0)) \(fixed(height, 0))" \
      width="\(fixed(width, 0))" height="\(fixed(height, 0))" font-family="sans-serif" font-size="13" fill="#222">
      <rect width="100%" height="100%" fill="#fff"/>
      <text x="\(fixed(left, 0))" y="24" font-size="16" font-weight="bold">Memory while one photo is segmented</text>
      <text x="\(fixed(left, 0))" y="44" fill="#555">\(report.width) x \(report.height) pixels, \
      \(report.plan.threads) thread(s), \(fixed(report.seconds, 1)) s</text>

      """
    out += bands + axes + areas
    let planned = Double(report.plan.peak) / 1_048_576
    out += rule(planned, "#1f4e9c", "planned private peak \(fixed(planned, 1)) MiB", dashes: "2 3", below: false)
    if let limit { out += rule(Double(limit) / 1_048_576, "#b00020", "limit \(mebibytes(limit)) MiB", dashes: "7 4", below: false) }
    return out + legend + "</svg>\n"
  }

  private var bands: String {
    var out = ""
    let gap = max(0, seconds - report.stages.reduce(0) { $0 + $1.seconds }) / Double(max(1, report.stages.count))
    var from = 0.0
    var lastLabel = -1e9
    for (index, stage) in report.stages.enumerated() {
      let to = from + stage.seconds + gap
      let (x0, x1) = (left + from / seconds * (width - left - right), left + to / seconds * (width - left - right))
      out += "<rect x=\"\(fixed(x0, 1))\" y=\"\(fixed(top, 0))\" width=\"\(fixed(x1 - x0, 1))\" height=\"\(fixed(height - top - bottom, 0))\" fill=\"\(Self.tints[index % Self.tints.count])\"/>\n"
      let middle = (x0 + x1) / 2
      // A band too narrow for its name goes without.
      if x1 - x0 > Double(stage.name.count) * 7, middle - lastLabel > 30 {
        out += "<text x=\"\(fixed(middle, 1))\" y=\"\(fixed(top + 16, 0))\" text-anchor=\"middle\" fill=\"#555\">\(stage.name)</text>\n"
        lastLabel = middle
      }
      from = to
    }
    return out
  }

  private var axes: String {
    var out = ""
    let rise = Self.step(peak * 1.08, 8)
    var value = 0.0
    while value <= peak * 1.08 {
      out += "<line x1=\"\(fixed(left, 0))\" x2=\"\(fixed(width - right, 0))\" y1=\"\(y(value))\" y2=\"\(y(value))\" stroke=\"#ccc\"/>\n"
      out += "<text x=\"\(fixed(left - 8, 0))\" y=\"\(y(value))\" text-anchor=\"end\" dominant-baseline=\"middle\">\(fixed(value, rise < 1 ? 1 : 0))</text>\n"
      value += rise
    }
    let run = Self.step(seconds, 10)
    value = 0
    let base = height - bottom
    while value <= seconds {
      out += "<text x=\"\(x(value))\" y=\"\(fixed(base + 18, 0))\" text-anchor=\"middle\">\(fixed(value, run < 1 ? (run < 0.1 ? 2 : 1) : 0))</text>\n"
      value += run
    }
    let middle = (top + base) / 2
    out += "<text x=\"18\" y=\"\(fixed(middle, 0))\" text-anchor=\"middle\" transform=\"rotate(-90 18 \(fixed(middle, 0)))\">MiB in RAM</text>\n"
    out += "<text x=\"\(fixed((left + width - right) / 2, 0))\" y=\"\(fixed(base + 38, 0))\" text-anchor=\"middle\">seconds</text>\n"
    return out
  }

  private var areas: String {
    func area(_ value: (MemorySample) -> Int, _ floor: (MemorySample) -> Int, _ fill: String) -> String {
      let up = report.samples.map { "\(x($0.seconds)),\(y(bytes: value($0)))" }
      let back = report.samples.reversed().map { "\(x($0.seconds)),\(y(bytes: floor($0)))" }
      return "<polygon points=\"\((up + back).joined(separator: " "))\" fill=\"\(fill)\" fill-opacity=\"0.75\"/>\n"
    }
    return area({ $0.anonymous }, { _ in 0 }, "#2f6fd0")
      + area({ $0.anonymous + $0.file }, { $0.anonymous }, "#9fb8a8")
  }

  private func rule(_ value: Double, _ colour: String, _ text: String, dashes: String, below: Bool) -> String {
    "<line x1=\"\(fixed(left, 0))\" x2=\"\(fixed(width - right, 0))\" y1=\"\(y(value))\" y2=\"\(y(value))\" stroke=\"\(colour)\" stroke-width=\"1.5\" stroke-dasharray=\"\(dashes)\"/>\n"
      + "<text x=\"\(fixed(width - right - 4, 0))\" y=\"\(y(value))\" dy=\"\(below ? 14 : -4)\" text-anchor=\"end\" fill=\"\(colour)\" stroke=\"#fff\" stroke-width=\"3\" paint-order=\"stroke\">\(text)</text>\n"
  }

  private var legend: String {
    let base = height - 16
    func entry(_ at: Double, _ fill: String, _ text: String) -> String {
      "<rect x=\"\(fixed(at, 0))\" y=\"\(fixed(base - 11, 0))\" width=\"14\" height=\"12\" fill=\"\(fill)\" fill-opacity=\"0.75\"/>\n"
        + "<text x=\"\(fixed(at + 20, 0))\" y=\"\(fixed(base, 0))\">\(text)</text>\n"
    }
    return entry(left, "#2f6fd0", "private memory (what a limit counts)")
      + entry(left + 290, "#9fb8a8", "mapped from the model and program files (the system may drop it at any time)")
  }
}
