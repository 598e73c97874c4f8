// What quantization cost: one line a tensor, as a table for people and as JSON for machines.

import Glibc
import System

/// Errors and sizes of a finished model file.
package struct QuantizationReport: Sendable {
  package struct Entry: Sendable {
    package let name: String
    /// `int8` or `f32`.
    package let kind: String
    package let sourceByteCount: Int
    package let storedByteCount: Int
    package let tally: ErrorTally
    /// The channel that was suppressed.
    package var suppressed: SuppressedChannel?

    /// Signal to noise in decibels; nil where the tensor is stored exactly or holds only zeros.
    package var signalToNoise: Double? {
      guard tally.sumSquaredError > 0, tally.sumSquares > 0 else { return nil }
      return 10 * log10(tally.sumSquares / tally.sumSquaredError)
    }
  }

  package var entries: [Entry] = []
  package var outputPath = ""
  package var outputByteCount = 0
  package var modelName = ""

  package init() {}

  /// Sum over entries of one kind, or of all.
  package func total(_ kind: String? = nil) -> Entry {
    var tally = ErrorTally()
    var source = 0
    var stored = 0
    for entry in entries where kind == nil || entry.kind == kind {
      tally.add(entry.tally)
      source += entry.sourceByteCount
      stored += entry.storedByteCount
    }
    return Entry(
      name: kind ?? "total", kind: kind ?? "", sourceByteCount: source, storedByteCount: stored, tally: tally)
  }

  /// A table of every entry that is not stored exactly, in file order, and totals.
  package var table: String {
    let shown = entries.filter { $0.tally.sumSquaredError > 0 }
    let nameWidth = max(24, (shown.map(\.name.count).max() ?? 0) + 1)
    func line(_ cells: [String]) -> String {
      let widths = [nameWidth, 6, 12, 12, 8, 11]
      return zip(cells, widths).enumerated().map { index, cell in
        let space = String(repeating: " ", count: max(0, cell.1 - cell.0.count))
        return index < 2 ? cell.0 + space : space + cell.0
      }.joined()
    }
    var lines = [line(["tensor", "kind", "max error", "rms error", "snr dB", "bytes"])]
    let totals = [total("int8"), total("f32"), total()].filter { $0.storedByteCount > 0 }
    for entry in shown + totals {
      lines.append(
        line([
          entry.name, entry.kind, Self.scientific(Double(entry.tally.maxError)),
          Self.scientific(entry.tally.rmsError), entry.signalToNoise.map { fixed($0, 2) } ?? "exact",
          String(entry.storedByteCount),
        ]))
    }
    for entry in entries {
      if let channel = entry.suppressed { lines.append("suppressed: \(entry.name), \(channel.description)") }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// The same as one JSON object; keys in a fixed order.
  package var json: String {
    func object(_ entry: Entry) -> String {
      var fields = [
        "\"name\": \(JSON.quoted(entry.name))", "\"kind\": \"\(entry.kind)\"",
        "\"elements\": \(entry.tally.elementCount)",
        "\"max_error\": \(Self.scientific(Double(entry.tally.maxError)))",
        "\"rms_error\": \(Self.scientific(entry.tally.rmsError))",
        "\"snr_db\": \(entry.signalToNoise.map { fixed($0, 2) } ?? "null")",
        "\"source_bytes\": \(entry.sourceByteCount)", "\"stored_bytes\": \(entry.storedByteCount)",
      ]
      if let one = entry.suppressed {
        fields.append(
          "\"suppressed\": {\"channel\": \(one.channel), \"norm\": \(one.norm), \"factor\": \(one.factor)}")
      }
      return "{" + fields.joined(separator: ", ") + "}"
    }
    let list = entries.map { "    " + object($0) }.joined(separator: ",\n")
    return """
      {
        "model": \(JSON.quoted(modelName)),
        "output": \(JSON.quoted(outputPath)),
        "output_bytes": \(outputByteCount),
        "total": \(object(total())),
        "tensors": [
      \(list)
        ]
      }

      """
  }

  /// Three significant digits.
  package static func scientific(_ value: Double) -> String {
    guard value > 0 else { return "0" }
    var exponent = Int(log10(value).rounded(.down))
    var digits = Int((value / pow(10, Double(exponent)) * 100).rounded())
    if digits >= 1000 {
      digits /= 10
      exponent += 1
    }
    let fraction = digits % 100
    return "\(digits / 100).\(fraction < 10 ? "0" : "")\(fraction)e\(exponent)"
  }
}
