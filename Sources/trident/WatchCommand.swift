// `trident watch`: photos that arrive, and which classes are there.
import Application
import ArgumentParser
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

struct WatchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch", abstract: "Segments photos as they arrive, and says what appears and goes.",
    discussion: """
      SOURCE is a folder (files count once they are written to their end, or moved in), '-' \
      for a stream of JPEGs on standard input, a camera such as /dev/video0, or a pipe or \
      file of JPEGs:
        trident watch -m demo.gguf --class cat --class grass --every 10s /srv/camera
        rpicam-vid -t 0 -n --codec mjpeg --framerate 2 -o - | \\
          trident watch -m demo.gguf --classes words.txt -

      The newest photo wins: those that arrived while one was being worked on are counted \
      and left, unless --all. Standard output gets a line of JSON a frame.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Frames") var watchFlags: WatchFlags
  @OptionGroup(title: "MQTT") var brokerFlags: BrokerFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags

  @Argument(
    help: "A folder, '-' for standard input, a camera, or a pipe or file of JPEGs.", completion: .file())
  var source: String

  func run() throws {
    if source == "-" {
      let problem =
        classFlags.words.file == "-"
        ? "cannot be both photos and --classes"
        : isatty(STDIN_FILENO) == 1 ? "is a terminal; a camera is to write to it" : nil
      if let problem { throw SegmentationError(.usage("'-' is standard input, which \(problem)")) }
    }
    var request = try watchFlags.request()
    try methodFlags.check(classFlags, tells: true)
    request.inputs = try classFlags.inputs(runtimeFlags, methodFlags)
    let job = try PhotoJob(runtimeFlags, classFlags, methodFlags, quiet: watchFlags.quiet)
    let source = try WatchSource(
      source, includesExisting: watchFlags.existing, keepsAll: watchFlags.all,
      cameraSize: watchFlags.cameraSize.pixels, cameraFormat: watchFlags.cameraFormat?.letters)
    var receivers: [any WatchReceiver] = [WatchPrinter(onlyChanges: watchFlags.changes)]
    let quiet = watchFlags.quiet
    let told = try brokerFlags.start(job) {
      if !quiet { standardError("trident: \(printable($0, limit: 400))\n") }
    }
    if let told { receivers.append(told.publisher) }
    // Whatever ends the watch, the broker hears of it.
    defer { told?.broker.finish() }
    let watch = try WatchJob(job, source.arrivals, folder: source.folder, request, receivers: receivers)
    Signals.endGently()
    try watch.run(isEnding: { Signals.isEnding }, endingDescriptor: Signals.endingDescriptor)
    if !quiet { standardError("trident: \(watch.counts.text)\n") }
    told?.broker.finish()
    Signals.dieIfAsked()
  }
}

/// When frames are taken, and what is said of them.
struct WatchFlags: ParsableArguments {
  @Option(help: "At most one photo in so long: 10s, 500ms, 2m, 1h (one after another).")
  var every: Interval?
  @Option(help: "End after so many photos.") var count: Int?
  @Flag(help: "Also what the folder holds at the start, by time of change.") var existing = false
  @Flag(help: "Every photo, in order; a stream waits meanwhile.") var all = false
  @Option(help: "Size that a camera is asked for; it gives the nearest that it has.")
  var cameraSize = PixelSize(pixels: (1280, 720))
  @Option(help: "Form of a camera's pictures (JPEG where it has that, else YUYV, UYVY, NV12, ...).")
  var cameraFormat: CameraFormat?
  @Option(help: "A class is there from this share of the pixels on: 0.5% or 0.005.")
  var presentAbove = PixelShare(value: 0.005)
  @Option(help: "It is gone below this share (half of the other).") var absentBelow: PixelShare?
  @Option(help: "Photos in a row that must agree before a class comes or goes.") var hold = 1
  @Flag(help: "Mean and best confidence of each class, too; takes some more time.") var confidence = false
  @Flag(help: "A line only where a class came or went, or a photo failed.") var changes = false
  @Option(
    name: .shortAndLong, help: "Label map of the last photo (.png), with its legend.", completion: .file())
  var output: String?
  @Option(help: "Overlay of the last photo (.png).", completion: .file()) var overlay: String?
  @Flag(help: "Replace those files also where anything else made them.") var overwrite = false
  @Flag(name: .shortAndLong, help: "No remarks, no summary.") var quiet = false

  func request() throws(SegmentationError) -> WatchJob.Request {
    var request = WatchJob.Request(
      try PresenceBounds(above: presentAbove.value, below: absentBelow?.value, hold: hold))
    if let count, count < 1 { throw SegmentationError(.usage("--count \(count) is below 1")) }
    request.interval = every?.seconds ?? 0
    (request.count, request.wantsSurety, request.overwrites) = (count, confidence, overwrite)
    let named = [(ResultFormat.labelMap, output), (.overlay, overlay)]
    request.outputs = named.compactMap { format, path in path.map { OutputTarget(format, $0) } }
    if let path = named.compactMap(\.1).first(where: { !$0.hasSuffix(".png") }) {
      throw SegmentationError(.usage("'\(path)' would be a PNG file; name one"))
    }
    return request
  }
}

/// A form of a camera's pictures, by Video4Linux's four letters.
struct CameraFormat: ExpressibleByArgument {
  let letters: String

  init?(argument: String) {
    letters = argument.uppercased()
    guard CameraArrivals.formats.contains(letters) else { return nil }
  }

  static var allValueStrings: [String] { CameraArrivals.formats }
}

/// A share that people write: `0.5%` or `0.005`.
struct PixelShare: ExpressibleByArgument {
  let value: Double

  init(value: Double) { self.value = value }

  init?(argument: String) {
    let isPercent = argument.hasSuffix("%")
    guard let number = Double(isPercent ? String(argument.dropLast()) : argument), number.isFinite else {
      return nil
    }
    value = isPercent ? number / 100 : number
  }

  var defaultValueDescription: String { "\(value * 100)%" }
}

/// A size that people write: `1280x720`.
struct PixelSize: ExpressibleByArgument {
  let pixels: (width: Int, height: Int)

  init(pixels: (width: Int, height: Int)) { self.pixels = pixels }

  init?(argument: String) {
    let sides = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
    guard sides.count == 2, let width = sides[0], let height = sides[1], (1...65_535).contains(width),
      (1...65_535).contains(height)
    else { return nil }
    pixels = (width, height)
  }

  var defaultValueDescription: String { "\(pixels.width)x\(pixels.height)" }
}

/// A line of JSON a frame, sent at once.
private final class WatchPrinter: WatchReceiver {
  private let onlyChanges: Bool

  init(onlyChanges: Bool) { self.onlyChanges = onlyChanges }

  func take(_ frame: WatchFrame) throws {
    if onlyChanges, frame.changes.isEmpty { return }
    try send(frame.json)
  }

  func take(_ arrival: Arrival, _ error: SegmentationError) throws {
    try send(
      .object([
        ("time", .string(utcText(arrival.time))), ("photo", .string(arrival.name)),
        ("error", .string(error.description)), ("exit_code", .int(Int(error.exitCode))),
      ]))
  }

  func end(_ counts: WatchCounts) throws { try send(counts.json) }

  private func send(_ line: JSON) throws {
    print(line.text(indent: -1))
    try finishPrinting()
  }
}
