// What a server has done, for Prometheus.
import Segmentation
import System

/// Counters of one server. Any thread may call.
package final class ServeMetrics: @unchecked Sendable {
  private let lock = Lock()
  private let start = monotonicSeconds()
  private var answers: [Int: Int] = [:]
  private var photos: [String: Int] = ["done": 0, "failed": 0, "cancelled": 0]
  private var seconds = 0.0
  private var buckets = [Int](repeating: 0, count: ServeMetrics.bounds.count)
  private var planned = 0
  /// Upper ends of the classes of seconds.
  private static let bounds = [0.5, 1, 2, 5, 10, 30, 60, 120, 300]

  package init() {}

  func answered(_ status: Int) { lock.with { answers[status, default: 0] += 1 } }

  /// A photo's work ended; `planned`: bytes.
  func finished(_ how: String, seconds: Double, planned: Int? = nil) {
    lock.with {
      photos[how, default: 0] += 1
      if let planned { self.planned = planned }
      guard how == "done" else { return }
      self.seconds += seconds
      for (index, bound) in Self.bounds.enumerated() where seconds <= bound { buckets[index] += 1 }
    }
  }

  /// Seconds after which one of those that wait should be done, as photos have gone so far.
  func retryAfter(waiting: Int) -> Int {
    lock.with {
      let done = photos["done"] ?? 0
      let mean = done > 0 ? seconds / Double(done) : 2
      return min(max(Int((mean * Double(waiting + 1)).rounded(.up)), 1), 600)
    }
  }

  /// The text format, version 0.0.4.
  ///
  /// - Source: prometheus.io, "Exposition formats".
  package func text(waiting: Int, isBusy: Bool, connections: Int, heldBytes: Int, modelID: String) -> String {
    let memory = ProcessMemory.now()
    var lines: [String] = []
    func family(_ name: String, _ kind: String, _ help: String, _ samples: [(labels: String, value: String)])
    {
      lines += ["# HELP trident_\(name) \(help)", "# TYPE trident_\(name) \(kind)"]
      lines += samples.map { "trident_\(name)\($0.labels) \($0.value)" }
    }
    lock.with {
      family(
        "info", "gauge", "The program and its model.",
        [
          ("{version=\"\(Trident.version)\",model_id=\"\(modelID)\"}", "1")
        ])
      family(
        "responses_total", "counter", "Answers by status.",
        answers.sorted { $0.key < $1.key }.map { ("{code=\"\($0.key)\"}", "\($0.value)") })
      family(
        "photos_total", "counter", "Photos by how their work ended.",
        photos.sorted { $0.key < $1.key }.map { ("{result=\"\($0.key)\"}", "\($0.value)") })
      family("photo_seconds", "histogram", "Time a photo's work took.", [])
      lines += zip(Self.bounds, buckets).map { "trident_photo_seconds_bucket{le=\"\($0)\"} \($1)" }
      let done = photos["done"] ?? 0
      lines += [
        "trident_photo_seconds_bucket{le=\"+Inf\"} \(done)", "trident_photo_seconds_sum \(seconds)",
        "trident_photo_seconds_count \(done)",
      ]
      family("queue_length", "gauge", "Photos that wait.", [("", "\(waiting)")])
      family("busy", "gauge", "Whether a photo is worked on.", [("", isBusy ? "1" : "0")])
      family("connections", "gauge", "Open connections.", [("", "\(connections)")])
      family("held_bytes", "gauge", "Photos that are held in memory.", [("", "\(heldBytes)")])
      family("planned_bytes", "gauge", "Private memory that the last plan allowed.", [("", "\(planned)")])
      family("private_bytes", "gauge", "Private memory now.", [("", "\(memory.anonymous)")])
      family("resident_peak_bytes", "gauge", "Highest resident size.", [("", "\(memory.peakResident)")])
      family("uptime_seconds", "gauge", "Since the start.", [("", "\(Int(monotonicSeconds() - start))")])
    }
    return lines.joined(separator: "\n") + "\n"
  }
}
