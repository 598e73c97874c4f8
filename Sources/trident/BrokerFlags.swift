// Which MQTT broker is told of a watch.
import Application
import ArgumentParser
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

struct BrokerFlags: ParsableArguments {
  @Option(help: "Tell this broker: HOST or HOST:PORT (1883, with certificates 8883). Needs libmosquitto.")
  var mqtt: String?
  @Option(help: "Topic of this watch (trident/ and the machine's name).") var mqttTopic: String?
  @Option(help: "User at the broker.") var mqttUser: String?
  @Option(help: "File whose first line is that user's password.", completion: .file())
  var mqttPasswordFile: String?
  @Flag(help: "Encrypted, by the system's list of authorities.") var mqttTLS = false
  @Option(
    name: .customLong("mqtt-cafile"), help: "Encrypted; the authority to believe (.pem).", completion: .file()
  )
  var mqttCAFile: String?
  @Option(help: "Our certificate (.pem), where the broker asks for one.", completion: .file())
  var mqttCert: String?
  @Option(help: "Its key (.pem).", completion: .file()) var mqttKey: String?
  @Option(help: "Where Home Assistant looks for devices; 'none' tells it nothing.")
  var mqttDiscovery = "homeassistant"

  /// Starts to tell the broker that was named; nil for none. `remark`: hears from another thread.
  ///
  /// - Errors: `.usage` for flags that contradict each other, for files that cannot be read and where the
  ///   library is missing.
  func start(
    _ job: PhotoJob, remark: @escaping @Sendable (String) -> Void
  ) throws -> (broker: Broker, publisher: WatchPublisher)? {
    guard let settings = try settings() else { return nil }
    let classes = job.words.classes
    let topics = try WatchTopics(
      base: topic, discovery: mqttDiscovery == "none" ? nil : mqttDiscovery, titles: classes.titles)
    do throws(SystemError) {
      let broker = try Broker(settings, remark: remark)
      let labels = (0..<classes.count).filter { $0 > 0 || !classes.background }
      let publisher = WatchPublisher(broker, topics, labels: labels)
      try broker.start()
      return (broker, publisher)
    } catch {
      throw SegmentationError(.usage(error.description))
    }
  }

  private var topic: String { mqttTopic ?? "trident/" + hostName() }

  private func settings() throws(SegmentationError) -> Broker.Settings? {
    guard let mqtt else {
      let others = [mqttTopic, mqttUser, mqttPasswordFile, mqttCAFile, mqttCert, mqttKey]
      if mqttTLS || others.contains(where: { $0 != nil }) {
        throw SegmentationError(.usage("--mqtt-... says how to reach a broker; --mqtt HOST names it"))
      }
      return nil
    }
    let isSecure = mqttTLS || mqttCAFile != nil
    let (host, port) = try Self.address(mqtt, usual: isSecure ? 8883 : 1883)
    var settings = Broker.Settings(host: host, port: port, statusTopic: topic + "/status")
    settings.user = mqttUser
    if let path = mqttPasswordFile {
      guard mqttUser != nil else { throw SegmentationError(.usage("--mqtt-password-file needs --mqtt-user")) }
      settings.password = try Self.firstLine(path)
    }
    guard (mqttCert == nil) == (mqttKey == nil), isSecure || mqttCert == nil else {
      throw SegmentationError(
        .usage("--mqtt-cert and --mqtt-key go together, with --mqtt-cafile or --mqtt-tls"))
    }
    for path in [mqttCAFile, mqttCert, mqttKey].compactMap({ $0 }) where access(path, R_OK) != 0 {
      throw SegmentationError(.usage("'\(path)' cannot be read: \(systemMessage(errno))"))
    }
    guard isSecure else { return settings }
    var security = Broker.Security()
    (security.authorities, security.certificate, security.key) = (mqttCAFile, mqttCert, mqttKey)
    settings.security = security
    return settings
  }

  /// `host`, `host:port`, `[address]:port`.
  static func address(_ text: String, usual: Int) throws(SegmentationError) -> (host: String, port: Int) {
    func bad() -> SegmentationError {
      SegmentationError(.usage("--mqtt '\(text)' is not HOST or HOST:PORT"))
    }
    var (host, rest) = (Substring(text), Substring())
    if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
      host = text[text.index(after: text.startIndex)..<end]
      rest = text[text.index(after: end)...]
    } else if text.filter({ $0 == ":" }).count == 1, let colon = text.firstIndex(of: ":") {
      (host, rest) = (text[..<colon], text[colon...])
    }
    guard !host.isEmpty, !host.contains("/") else { throw bad() }
    if rest.isEmpty { return (String(host), usual) }
    guard rest.hasPrefix(":"), let port = Int(rest.dropFirst()), (1...65535).contains(port) else {
      throw bad()
    }
    return (String(host), port)
  }

  private static func firstLine(_ path: String) throws(SegmentationError) -> String {
    do throws(SystemError) {
      let bytes = try FileBytes.read(path, limit: 1 << 16).prefix { $0 != 0x0A && $0 != 0x0D }
      return String(decoding: bytes, as: UTF8.self)
    } catch {
      throw SegmentationError(.usage("--mqtt-password-file: " + error.description))
    }
  }

  private func hostName() -> String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, 255) == 0 else { return "watch" }
    let text = name.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    return text.isEmpty ? "watch" : text
  }
}
