// What a broker is told of a watch, and how Home Assistant finds it.
//
// Below the topic of the watch: `status` (online, offline), for each class `NAME/present` (ON, OFF) and
// `NAME/share` (percent of the pixels), all retained; `frame` and `change`, as JSON, for who listens at that
// moment. A class's NAME is made of its letters and digits, as topics and Home Assistant's identifiers want
// them.
import Segmentation
import System

/// Topics and payloads of one watch.
package struct WatchTopics: Sendable {
  package let base: String
  /// Of each class, in their order: distinct.
  package let names: [String]
  private let titles: [String]
  /// Where Home Assistant looks; nil: nothing is said to it.
  private let discovery: String?

  /// `base`: `trident/garden`; `discovery`: Home Assistant's prefix.
  ///
  /// - Errors: `.usage` for topics that MQTT has no room for.
  package init(base: String, discovery: String?, titles: [String]) throws(SegmentationError) {
    try Self.check(base, "--mqtt-topic")
    if let discovery { try Self.check(discovery, "--mqtt-discovery") }
    (self.base, self.discovery, self.titles) = (base, discovery, titles)
    names = Self.names(of: titles)
  }

  package var status: String { base + "/status" }
  package var frame: String { base + "/frame" }
  package var change: String { base + "/change" }
  package func present(_ label: Int) -> String { base + "/" + names[label] + "/present" }
  package func share(_ label: Int) -> String { base + "/" + names[label] + "/share" }

  private static func check(_ topic: String, _ option: String) throws(SegmentationError) {
    let isBad = topic.unicodeScalars.contains {
      $0 == "+" || $0 == "#" || $0.value < 0x20 || $0.value == 0x7F
    }
    let hasGap = topic.split(separator: "/", omittingEmptySubsequences: false).contains("")
    guard !isBad, !hasGap, !topic.hasPrefix("$"), topic.utf8.count <= 200 else {
      throw SegmentationError(
        .usage(
          "\(option) '\(printable(topic, limit: 250))' is no topic: parts joined by '/', without + and #"))
    }
  }

  /// Small letters, digits and `_`, at most 40 bytes; told apart by a number.
  package static func names(of titles: [String]) -> [String] {
    // What each watch has below its topic already.
    var seen: Set<String> = ["status", "frame", "change"]
    return titles.enumerated().map { label, title in
      let plain = identifier(title, limit: 40)
      let name = plain.isEmpty ? "class_\(label)" : plain
      var (free, number) = (name, 2)
      while !seen.insert(free).inserted {
        free = "\(name)_\(number)"
        number += 1
      }
      return free
    }
  }

  private static func identifier(_ text: String, limit: Int) -> String {
    var out = ""
    for byte in text.utf8 {
      let isSmall = (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte)
      let isCapital = (0x41...0x5A).contains(byte)
      if isSmall || isCapital {
        out.unicodeScalars.append(Unicode.Scalar(isCapital ? byte + 32 : byte))
      } else if !out.isEmpty, !out.hasSuffix("_") {
        out += "_"
      }
      if out.utf8.count == limit { break }
    }
    return out.hasSuffix("_") ? String(out.dropLast()) : out
  }

  // MARK: Home Assistant

  /// Of the watch, as an identifier.
  private var node: String {
    let name = Self.identifier(base, limit: 120)
    return name.isEmpty ? "trident" : name
  }

  /// Topics and payloads that make Home Assistant show two entities a class; of those labels. Nothing without
  /// a prefix.
  ///
  /// - Source: Home Assistant, "MQTT discovery": `<prefix>/<component>/<node>/<object>/config`.
  package func discoveries(_ labels: [Int]) -> [(topic: String, payload: String)] {
    guard let discovery else { return [] }
    return labels.flatMap { label -> [(topic: String, payload: String)] in
      let place = "\(node)/\(names[label])"
      return [
        ("\(discovery)/binary_sensor/\(place)/config", presentSensor(label).text(indent: -1)),
        ("\(discovery)/sensor/\(place)_share/config", shareSensor(label).text(indent: -1)),
      ]
    }
  }

  private func presentSensor(_ label: Int) -> JSON {
    let own: [(String, JSON)] = [
      ("name", .string(titles[label])), ("unique_id", .string("\(node)_\(names[label])")),
      ("state_topic", .string(present(label))), ("payload_on", .string("ON")),
      ("payload_off", .string("OFF")),
    ]
    return .object(own + shared)
  }

  private func shareSensor(_ label: Int) -> JSON {
    let own: [(String, JSON)] = [
      ("name", .string(titles[label] + " share")), ("unique_id", .string("\(node)_\(names[label])_share")),
      ("state_topic", .string(share(label))), ("unit_of_measurement", .string("%")),
      ("state_class", .string("measurement")), ("suggested_display_precision", .int(1)),
    ]
    return .object(own + shared)
  }

  private var shared: [(String, JSON)] {
    let device: [(String, JSON)] = [
      ("identifiers", .array([.string(node)])), ("name", .string(base)),
      ("manufacturer", .string("Trident for small boards")), ("sw_version", .string(Trident.version)),
    ]
    return [
      ("availability_topic", .string(status)), ("payload_available", .string("online")),
      ("payload_not_available", .string("offline")), ("device", .object(device)),
    ]
  }
}

/// Tells a broker.
package final class WatchPublisher: WatchReceiver {
  private let broker: Broker
  private let topics: WatchTopics

  /// `labels`: those that Home Assistant is told of.
  package init(_ broker: Broker, _ topics: WatchTopics, labels: [Int]) {
    (self.broker, self.topics) = (broker, topics)
    for (topic, payload) in topics.discoveries(labels) { broker.keep(topic, payload) }
  }

  package func take(_ frame: WatchFrame) {
    for one in frame.classes {
      guard let isPresent = one.isPresent else { continue }
      broker.keep(topics.share(one.label), fixed(one.share * 100, 2))
      broker.keep(topics.present(one.label), isPresent ? "ON" : "OFF")
    }
    broker.tell(topics.frame, frame.json.text(indent: -1))
    for one in frame.changes { broker.tell(topics.change, frame.change(of: one).text(indent: -1)) }
  }

  package func take(_ arrival: Arrival, _ error: SegmentationError) {}

  package func end(_ counts: WatchCounts) {}
}
