// Memory over time as a drawing that needs no reader but a browser.
import Segmentation
import System

/// Private and mapped memory of one run, stages as bands.
///
/// - Units: seconds to the right, MiB upwards.
package struct MemoryChart {
  private let report: RunReport
  private let limit: Int?

  private let width = 960.0
  private let height = 440.0
  private let left = 64.0
  private let right = 20.0
  private let top = 64.0
  private let bottom = 84.0
  private static let tints = ["#eef3fb", "#fdf3e7", "#eef8ee", "#f8eef6", "#f3f3f3", "#fbf8e6"]

  package init(report: RunReport, limit: Int?) { (self.report, self.limit) = (report, limit) }

  /// Top of the drawing, MiB: with room for the names of stages.
  private var ceiling: Double { peak * 1.15 }
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
    fixed(height - bottom - value / ceiling * (height - top - bottom), 1)
  }
  private func y(bytes: Int) -> String { y(Double(bytes) / 1_048_576) }

  /// How every drawing begins.
  static let beginning = "<svg xmlns=\"http://www.w3.org/2000/svg\" data-program=\"trident\""

  package var svg: String {
    var out = """
      \(Self.beginning) viewBox="0 0 \(fixed(width, 0)) \(fixed(height, 0))" \
      width="\(fixed(width, 0))" height="\(fixed(height, 0))" \
      font-family="sans-serif" font-size="13" fill="#222">
      <rect width="100%" height="100%" fill="#fff"/>
      <text x="\(fixed(left, 0))" y="24" font-size="16" font-weight="bold">\
      Memory while one photo is segmented</text>
      <text x="\(fixed(left, 0))" y="44" fill="#555">\(report.width) x \(report.height) pixels, \
      \(report.plan.threads) thread(s), \(fixed(report.seconds, 1)) s</text>

      """
    out += bands + axes + areas
    let planned = Double(report.plan.peak) / 1_048_576
    out += rule(
      planned, "#1f4e9c", "planned private peak \(fixed(planned, 1)) MiB", dashes: "2 3", below: true)
    if let limit {
      let text = "limit \(mebibytes(limit)) MiB"
      out += rule(Double(limit) / 1_048_576, "#b00020", text, dashes: "7 4", below: false)
    }
    return out + legend + "</svg>\n"
  }

  private var bands: String {
    var out = ""
    let gap =
      max(0, seconds - report.stages.reduce(0) { $0 + $1.seconds }) / Double(max(1, report.stages.count))
    var from = 0.0
    var lastLabel = -1e9
    for (index, stage) in report.stages.enumerated() {
      let to = from + stage.seconds + gap
      let (x0, x1) = (
        left + from / seconds * (width - left - right), left + to / seconds * (width - left - right)
      )
      out += """
        <rect x="\(fixed(x0, 1))" y="\(fixed(top, 0))" width="\(fixed(x1 - x0, 1))" \
        height="\(fixed(height - top - bottom, 0))" fill="\(Self.tints[index % Self.tints.count])"/>

        """
      let middle = (x0 + x1) / 2
      // A band too narrow for its name goes without.
      if x1 - x0 > Double(stage.name.count) * 7, middle - lastLabel > 30 {
        out += label(fixed(middle, 1), fixed(top + 16, 0), stage.name, "text-anchor=\"middle\" fill=\"#555\"")
        lastLabel = middle
      }
      from = to
    }
    return out
  }

  private var axes: String {
    var out = ""
    let rise = Self.step(ceiling, 8)
    var value = 0.0
    while value <= peak {
      out += line(value, "stroke=\"#ccc\"")
      out += label(
        fixed(left - 8, 0), y(value), fixed(value, rise < 1 ? 1 : 0), "text-anchor=\"end\" dy=\"4\"")
      value += rise
    }
    let run = Self.step(seconds, 10)
    value = 0
    let base = height - bottom
    while value <= seconds {
      let decimals = run < 0.1 ? 2 : run < 1 ? 1 : 0
      out += label(x(value), fixed(base + 18, 0), fixed(value, decimals), "text-anchor=\"middle\"")
      value += run
    }
    let middle = (top + base) / 2
    let turn = "text-anchor=\"middle\" transform=\"rotate(-90 18 \(fixed(middle, 0)))\""
    out += label("18", fixed(middle, 0), "MiB in RAM", turn)
    return out + label(x(seconds / 2), fixed(base + 38, 0), "seconds", "text-anchor=\"middle\"")
  }

  private func label(_ x: String, _ y: String, _ text: String, _ style: String) -> String {
    "<text x=\"\(x)\" y=\"\(y)\" \(style)>\(text)</text>\n"
  }

  /// A level across the drawing.
  private func line(_ value: Double, _ style: String) -> String {
    let height = y(value)
    let ends = "x1=\"\(fixed(left, 0))\" x2=\"\(fixed(width - right, 0))\""
    return "<line \(ends) y1=\"\(height)\" y2=\"\(height)\" \(style)/>\n"
  }

  private var areas: String {
    func area(_ value: (MemorySample) -> Int, _ floor: (MemorySample) -> Int, _ fill: String) -> String {
      let up = report.samples.map { "\(x($0.seconds)),\(y(bytes: value($0)))" }
      let back = report.samples.reversed().map { "\(x($0.seconds)),\(y(bytes: floor($0)))" }
      return
        "<polygon points=\"\((up + back).joined(separator: " "))\" fill=\"\(fill)\" fill-opacity=\"0.75\"/>\n"
    }
    return area({ $0.anonymous }, { _ in 0 }, "#2f6fd0")
      + area({ $0.anonymous + $0.file }, { $0.anonymous }, "#9fb8a8")
  }

  private func rule(_ value: Double, _ colour: String, _ text: String, dashes: String, below: Bool)
    -> String
  {
    let halo = "stroke=\"#fff\" stroke-width=\"3\" paint-order=\"stroke\""
    return line(value, "stroke=\"\(colour)\" stroke-width=\"1.5\" stroke-dasharray=\"\(dashes)\"")
      + label(
        fixed(width - right - 4, 0), y(value), text,
        "dy=\"\(below ? 14 : -4)\" text-anchor=\"end\" fill=\"\(colour)\" \(halo)")
  }

  private var legend: String {
    let base = height - 16
    func entry(_ at: Double, _ fill: String, _ text: String) -> String {
      let place = "x=\"\(fixed(at, 0))\" y=\"\(fixed(base - 11, 0))\" width=\"14\" height=\"12\""
      return "<rect \(place) fill=\"\(fill)\" fill-opacity=\"0.75\"/>\n"
        + label(fixed(at + 20, 0), fixed(base, 0), text, "")
    }
    return entry(left, "#2f6fd0", "private memory (what a limit counts)")
      + entry(
        left + 290, "#9fb8a8", "mapped from the model and program files (the system may drop it at any time)")
  }
}
