// What appears and goes, what a broker is told, and a watch of a folder.
import Application
import Segmentation
import System
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct PresenceTests {
  @Test func appearsAboveOneShareAndGoesBelowAnother() throws {
    var tracker = PresenceTracker(try PresenceBounds(above: 0.5, below: 0.25), classes: 1)
    let shares = [0.4, 0.5, 0.3, 0.26, 0.24, 0.3, 0.49, 0.6]
    let changes = shares.map { tracker.take([$0]) }
    #expect(changes == [[], [0], [], [], [0], [], [], [0]])
    #expect(tracker.isPresent(0))
  }

  @Test func framesInARowMustAgree() throws {
    var tracker = PresenceTracker(try PresenceBounds(above: 0.1, hold: 3), classes: 2)
    let shares = [0.2, 0.2, 0, 0.2, 0.2, 0.2, 0, 0, 0.2, 0, 0, 0]
    let changed = shares.indices.filter { !tracker.take([shares[$0], 0]).isEmpty }
    #expect(changed == [5, 11])
    #expect(!tracker.isPresent(0) && !tracker.isPresent(1))
  }

  @Test func refusesRulesThatCannotHold() {
    let bad: [(above: Double, below: Double?, hold: Int)] = [
      (0, nil, 1), (1.1, nil, 1), (0.1, 0.2, 1), (0.1, 0, 1), (0.1, nil, 0), (.nan, nil, 1),
    ]
    for rule in bad {
      let error = thrownError(SegmentationError.self) {
        _ = try PresenceBounds(above: rule.above, below: rule.below, hold: rule.hold)
      }
      #expect(error?.exitCode == 2)
    }
  }
}

@Suite struct WatchTopicsTests {
  @Test func namesAreWhatTopicsCanHold() {
    let titles = ["Cat", "traffic light", "a/b+c#", "猫", "", "cat", "Status", "cat_2", "Ärger!"]
    let names = WatchTopics.names(of: titles)
    let wanted = [
      "cat", "traffic_light", "a_b_c", "class_3", "class_4", "cat_2", "status_2", "cat_2_2", "rger",
    ]
    #expect(names == wanted)
    let long = WatchTopics.names(of: [String](repeating: String(repeating: "x", count: 300), count: 2))
    #expect(long.allSatisfy { $0.utf8.count <= 42 })
    #expect(Set(long).count == 2)
  }

  @Test func refusesTopicsThatAreNone() {
    for base in ["", "a//b", "/a", "a/", "a/+", "#", "$SYS/a", "a\u{0}b", String(repeating: "x", count: 201)]
    {
      let error = thrownError(SegmentationError.self) {
        _ = try WatchTopics(base: base, discovery: nil, titles: [])
      }
      #expect(error?.exitCode == 2, "\(base)")
    }
  }

  @Test func discoveriesAreJSONWhateverClassesAreCalled() throws {
    let title = "a \"quoted\" \\ name\nwith \u{1} 猫"
    let topics = try WatchTopics(
      base: "trident/back door", discovery: "homeassistant", titles: ["sky", title])
    let found = topics.discoveries([1])
    #expect(
      found.map(\.topic) == [
        "homeassistant/binary_sensor/trident_back_door/a_quoted_name_with/config",
        "homeassistant/sensor/trident_back_door/a_quoted_name_with_share/config",
      ])
    for (index, entry) in found.enumerated() {
      #expect(!entry.payload.contains("\n"))
      let json = try JSONReader.parse(Array(entry.payload.utf8))
      guard case .string(let name)? = json.member("name"),
        case .string(let state)? = json.member("state_topic"),
        case .string(let status)? = json.member("availability_topic")
      else {
        Issue.record("a member is missing")
        continue
      }
      #expect(name == title + (index == 0 ? "" : " share"))
      #expect(state == (index == 0 ? topics.present(1) : topics.share(1)))
      #expect(status == "trident/back door/status")
    }
    #expect(try WatchTopics(base: "a", discovery: nil, titles: ["sky"]).discoveries([0]).isEmpty)
  }
}

@Suite(.serialized) struct WatchJobTests {
  /// Keeps what it hears.
  private final class Listener: WatchReceiver {
    var frames: [WatchFrame] = []
    var errors: [String] = []
    var counts: WatchCounts?
    func take(_ frame: WatchFrame) { frames.append(frame) }
    func take(_ arrival: Arrival, _ error: SegmentationError) { errors.append(arrival.name) }
    func end(_ counts: WatchCounts) { self.counts = counts }
  }

  /// Photos that arrived before anybody looked.
  private final class List: ArrivalSource {
    let descriptor: Int32 = -1
    let (droppedCount, brokenCount) = (4, 2)
    private var rest: [String]
    init(_ photos: [String]) { rest = photos }
    func take() -> Taken {
      if rest.isEmpty { return .ended }
      let path = rest.removeFirst()
      return .arrival(Arrival(name: "picture of " + path, path: path, time: 0))
    }
  }

  private var options: SegmentOptions {
    var options = Demo.fast
    (options.shortSide, options.window, options.stride) = (112, 112, 112)
    return options
  }

  @Test func goesOnPastPhotosThatAreBad() throws {
    let folder = Folder()
    let photos = [try folder.copy(Demo.farm, "a.jpg"), try folder.write("b.jpg", "no photo")]
    let listener = Listener()
    var request = WatchJob.Request(try PresenceBounds())
    request.wantsSurety = true
    let job = try WatchJob(
      Demo.job(Demo.source, options), List(photos + photos), request, receivers: [listener])
    try job.run()
    #expect(listener.frames.map(\.number) == [1, 2])
    #expect(listener.errors == ["picture of " + photos[1], "picture of " + photos[1]])
    let counts = try #require(listener.counts)
    #expect((counts.done, counts.failed, counts.dropped, counts.broken) == (2, 2, 4, 2))
    let grass = try #require(listener.frames[0].classes.first { $0.name == "grass" })
    #expect(grass.isPresent == true && grass.hasChanged)
    #expect(grass.surety.map { $0.mean > 0 && $0.mean <= $0.best } == true)
    #expect(listener.frames[1].changes.isEmpty)
    #expect(abs(listener.frames[0].classes.reduce(0) { $0 + $1.share } - 1) < 1e-9)
  }

  @Test func endsWhenItIsTold() throws {
    let listener = Listener()
    let job = try WatchJob(
      Demo.job(Demo.source, options), List([Demo.farm, Demo.farm]), WatchJob.Request(try PresenceBounds()),
      receivers: [listener])
    try job.run(isEnding: { listener.frames.count == 1 })
    #expect(listener.counts?.done == 1)
  }

  @Test func outputsDoNotArrive() throws {
    let folder = Folder()
    try folder.copy(Demo.farm, "in/a.jpg")
    var request = WatchJob.Request(try PresenceBounds())
    request.outputs = [OutputTarget(.labelMap, folder.path + "/in/../in/last.png")]
    let error = thrownError(SegmentationError.self) {
      _ = try WatchJob(
        Demo.job(Demo.source, options), List([]), folder: folder.path + "/in", request, receivers: [])
    }
    #expect(error?.description.contains("would arrive in the folder") == true)
  }
}

@Suite struct ArrivalTests {
  private let temporaryFiles = TemporaryFiles()

  @Test func filesArriveWhenTheyAreWhole() throws {
    let folder = Folder()
    try folder.write("old.jpg", "1")
    let source = try FolderArrivals(folder.path, keepsAll: true)
    #expect(try source.take() == .nothing)
    try folder.write("a.jpg", "2")
    try folder.write("b.jpg", "3")
    try folder.write("a.jpg", "4")
    try folder.write(".hidden", "5")
    var found: [String] = []
    // When it was whole, not when it was taken.
    var times = [timeval(tv_sec: 1_000_000, tv_usec: 0), timeval(tv_sec: 1_000_000, tv_usec: 0)]
    utimes(folder.path + "/b.jpg", &times)
    while case .arrival(let arrival) = try source.take() {
      found.append(fileName(of: arrival.path))
      if found.count == 1 { #expect(arrival.time == 1_000_000) }
    }
    #expect(found == ["b.jpg", "a.jpg"])
    // Far more often than it is taken.
    for _ in 0..<300 { try folder.write("a.jpg", "6") }
    guard case .arrival(let arrival) = try source.take() else {
      Issue.record("what was written again did not arrive")
      return
    }
    #expect(fileName(of: arrival.path) == "a.jpg")
    #expect(try source.take() == .nothing)
    let newest = try FolderArrivals(folder.path + "/", includesExisting: true)
    guard case .arrival = try newest.take() else {
      Issue.record("what is there did not arrive")
      return
    }
    #expect(newest.droppedCount == 2)
    #expect(try newest.take() == .nothing)
  }

  @Test func timesAreWrittenInUTC() {
    #expect(utcText(0) == "1970-01-01T00:00:00.000Z")
    #expect(utcText(951_782_399.9999) == "2000-02-28T23:59:59.999Z")
    #expect(utcText(951_782_400.25) == "2000-02-29T00:00:00.250Z")
  }

  @Test func aStreamGivesAllOrTheNewest() throws {
    let folder = Folder()
    let photo = try FileBytes.read(Demo.farm, limit: 1 << 24)
    let path = folder.path + "/stream"
    var stream = photo
    stream += photo.prefix(5000)
    stream += photo
    stream += photo
    try FileBytes.replace(path, with: stream)
    let source = try StreamArrivals(path: path, keepsAll: true)
    var (count, isOver) = (0, false)
    while !isOver {
      switch try source.take() {
      case .arrival(let arrival):
        count += 1
        #expect(fileSize(arrival.path) == photo.count)
      case .nothing: Bell.wait([source.descriptor], seconds: 5)
      case .ended: isOver = true
      }
    }
    #expect((count, source.droppedCount, source.brokenCount) == (3, 0, 1))
  }
}
