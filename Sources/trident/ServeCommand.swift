// `trident serve`: a page and an interface for programs over HTTP.
import Application
import ArgumentParser
import Segmentation
import System

struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "A web page and a REST interface, for this machine or a network.",
    discussion: """
      Examples:
        trident serve -m demo.gguf
        curl -F photo=@photo.jpg --form-string "class=dog; puppy" -F class=grass -F format=overlay \\
          http://127.0.0.1:8080/v1/segment >overlay.png

      Only this machine reaches it unless --listen says otherwise. One photo is worked on at a time, inside \
      --memory-limit; photos are never written to disk. Needs libmicrohttpd (Debian: libmicrohttpd12). \
      /openapi.json describes the interface, docs/serve.md the rest. Ctrl-C ends it.
      """)

  private static let limits = ServeLimits()

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @Option(help: "Address to listen at: 127.0.0.1, 0.0.0.0 (every network), ::1.") var listen = "127.0.0.1"
  @Option(help: "Port; 0 takes one that is free.") var port = 8080
  @Option(help: "File whose first line clients must send as a bearer token.", completion: .file())
  var tokenFile: String?
  @Option(
    help: "A name under which clients reach it, as a proxy in front tells it; repeat. Others are refused.")
  var host: [String] = []
  @Option(help: "Longest photo, e.g. 32M.") var maxBody = ByteCount(value: Self.limits.bodyByteCount)
  @Option(help: "Most pixels of a photo.") var maxPixels = Self.limits.pixelCount
  @Option(help: "Most classes, synonyms and negative phrases of a request, together.")
  var maxClasses = Self.limits.phraseCount
  @Option(help: "Longest time for a request to come in, e.g. 60s.")
  var timeout = Interval(seconds: Double(Self.limits.seconds))
  @Option(help: "Longest time for one photo's work.")
  var timeLimit = Interval(seconds: Double(Self.limits.workSeconds))
  @Option(help: "Photos that wait while one is worked on; more are refused.")
  var queue = Self.limits.queueLength
  @Option(help: "Most connections at once.") var connections = Self.limits.connectionCount
  @Option(
    help: "Text vectors made by 'trident text': the classes of all requests.", completion: .file())
  var vocabulary: String?
  @Option(
    help: """
      Sentences that words are placed in unless a request says otherwise: all (80, the default), seven, one, \
      or a file of lines with one '{}' each. Requests cannot name files.
      """, completion: .file())
  var templates: String?
  @Flag(name: .shortAndLong, help: "No line a photo.") var quiet = false
  @OptionGroup(title: "Method, unless a request says otherwise") var methodFlags: MethodFlags

  func run() throws {
    var settings = try settings()
    settings.modelName = fileName(of: try modelPath(runtimeFlags.model))
    let session = try runtimeFlags.open()
    let job = try ServeJob(
      session, settings, methodFlags.options(session, methodFlags.choice()), listener: Console(quiet: quiet))
    try job.run { address in
      print("http://\(address)/")
      // Whoever waits for it must not wait for more.
      try finishPrinting()
    }
  }

  private func settings() throws(SegmentationError) -> ServeSettings {
    func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(SegmentationError) {
      if range.contains(value) { return }
      throw SegmentationError(
        .usage("\(name) \(value) is outside \(range.lowerBound)...\(range.upperBound)"))
    }
    func whole(_ name: String, _ time: Interval) throws(SegmentationError) -> Int {
      if (1...86_400).contains(time.seconds) { return Int(time.seconds.rounded()) }
      throw SegmentationError(.usage("\(name) \(time.seconds) s is outside 1 s...24 h"))
    }
    try check("--port", port, 0...65535)
    try check("--queue", queue, 0...1000)
    try check("--max-classes", maxClasses, 1...10000)
    try check("--max-pixels", maxPixels, 1...1 << 31)
    try check("--max-body", maxBody.value, 1024...1 << 30)
    try check("--connections", connections, 4...10000)
    var settings = ServeSettings()
    (settings.address, settings.port) = (listen, port)
    (settings.tokenFile, settings.hosts, settings.vocabulary) = (tokenFile, host, vocabulary)
    settings.templates = templates
    settings.limits.bodyByteCount = maxBody.value
    settings.limits.phraseCount = maxClasses
    settings.limits.pixelCount = maxPixels
    settings.limits.seconds = try whole("--timeout", timeout)
    settings.limits.workSeconds = try whole("--time-limit", timeLimit)
    settings.limits.queueLength = queue
    settings.limits.connectionCount = connections
    return settings
  }
}
