// Shards of a list and their merge, with photos that are not looked at: resuming, losing and doubling
// nothing.
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

/// Knows what a photo holds by its file's size.
private final class Guess: ShardWork {
  var settings = "s"
  var outputs = ["output out"]
  var model = "m"
  /// Ends like a full disk behind so many photos.
  var limit = Int.max
  private(set) var done: [String] = []

  func head(of shard: Shard) throws -> PartHead {
    PartHead(
      shard: shard, version: "1", settings: settings, model: model, outputs: outputs, hasAnnotations: true,
      titles: ["cat, big", "dog"], options: .object([("window", .int(3))]))
  }

  func findings(_ photo: ListedPhoto) throws -> PhotoRecord.Findings {
    if done.count == limit { throw SegmentationError(.output("no space left")) }
    let size = try #require(fileSize(photo.path))
    if size % 5 == 4 { throw SegmentationError(.photo("no photo"), path: photo.path) }
    if size % 11 == 10 { throw SegmentationError(.memory(limit: 1, needed: 2, stage: "sam")) }
    done.append(photo.path)
    var found = PhotoRecord.Findings()
    (found.width, found.height, found.pixels) = (size, 1, [size - 1, 1])
    // What no two runs have alike.
    (found.seconds, found.peakResident) = (monotonicSeconds() / 1e9, 1000 + done.count)
    found.table =
      "photo,class,name,present,pixels,share,\n\(photo.path),0,\"cat, big\",\(size)\n\(photo.path),1,dog,1\n"
    found.annotations = (0..<size % 3).map {
      .object([("category_id", .int($0)), ("segmentation", .object([("counts", .string("0\\a"))]))])
    }
    return found
  }
}

struct MergeTests {
  private let temporaryFiles = TemporaryFiles()
  private let folder = Folder()
  private static let count = 23

  /// A list of photos, one of which is missing.
  private func list() throws -> String {
    var lines: [String] = []
    for index in 0..<Self.count {
      let path = "\(folder.path)/photos/\(index).jpg"
      if index != 8 { try folder.write("photos/\(index).jpg", String(repeating: "x", count: index + 1)) }
      lines.append(index % 2 == 0 ? path : JSON.object([("path", .string(path))]).text(indent: -1))
    }
    return try folder.write("list", lines.joined(separator: "\n"))
  }

  @discardableResult
  private func run(
    _ list: String, _ shard: String, _ parts: String, _ work: Guess = Guess(),
    _ rules: ShardJob.Rules = ShardJob.Rules()
  ) throws -> (tally: RecordTally, code: Int32?) {
    let shard = try #require(Shard(shard))
    let job = try ShardJob(shard, parts: folder.path + "/" + parts, rules)
    let tally = try job.run(try ListedPhotos(path: list, shard: shard), work)
    return (tally, job.verdict(tally)?.code)
  }

  private func merge(_ parts: String, to name: String) throws -> [[UInt8]] {
    var outputs = MergeJob.Outputs()
    let names = ["csv", "coco", "json", "failures"].map { "\(folder.path)/\(name).\($0)" }
    (outputs.csv, outputs.coco) = (names[0], names[1])
    (outputs.statistics, outputs.failures) = (names[2], names[3])
    try MergeJob(folder.path + "/" + parts).run(outputs)
    return names.map(readBytes)
  }

  @Test func anyNumberOfShardsGivesTheSame() throws {
    let list = try list()
    var first: [[UInt8]]?
    for count in [1, 2, 7, 64] {
      for shard in 1...count { try run(list, "\(shard)/\(count)", "parts\(count)") }
      let merged = try merge("parts\(count)", to: "merged\(count)")
      if let first { #expect(first == merged, "\(count) shards") } else { first = merged }
    }
    let texts = try #require(first).map { String(decoding: $0, as: UTF8.self) }
    let coco = try JSONReader.parse(Array(texts[1].utf8))
    guard case .array(let images)? = coco.member("images"), case .int(5)? = images[4].member("id") else {
      Issue.record("no images")
      return
    }
    let statistics = try JSONReader.parse(Array(texts[2].utf8))
    guard case .int(images.count)? = statistics.member("done"),
      case .int(let failed)? = statistics.member("failed")
    else {
      Issue.record("no counts")
      return
    }
    // Sizes 4, 9, 14, 19 are bad, 10 and 21 do not fit, photo 8 (size 9) is missing.
    #expect(images.count == 17 && failed == 6)
    #expect(texts[2].contains("\"failures\": {\n    \"memory\": 2,\n    \"photo\": 4\n  }"))
    #expect(texts[0].split(separator: "\n").count == 1 + 2 * 17)
    // Merging again replaces what was merged.
    #expect(try merge("parts7", to: "merged7") == first)
  }

  @Test func aShardThatWasEndedGoesOn() throws {
    let list = try list()
    try run(list, "1/1", "whole")
    let expected = try merge("whole", to: "whole")
    var attempts = 0
    var done: [String] = []
    while true {
      let work = Guess()
      work.limit = 3
      attempts += 1
      do {
        try run(list, "1/1", "parts", work)
        done += work.done
        break
      } catch let error as SegmentationError { #expect(error.exitCode == 6) }
      done += work.done
      #expect(thrownError(SegmentationError.self) { try merge("parts", to: "early") }?.exitCode == 2)
      // Half a line, as a board leaves that lost power.
      let journal = folder.path + "/parts/00000.jsonl"
      writeBytes(readBytes(journal) + Array("{\"line\":99,\"pho".utf8), to: journal)
    }
    #expect(attempts == 6 && done.count == 17 && Set(done).count == 17)
    #expect(try merge("parts", to: "parts") == expected)
    let before = names(folder.path + "/parts").map { readBytes("\(folder.path)/parts/\($0)") }
    let idle = Guess()
    let (tally, code) = try run(list, "1/1", "parts", idle)
    #expect(idle.done.isEmpty && tally.done == 17 && code == 5)
    #expect(names(folder.path + "/parts") == ["00000.jsonl", "00000.sha256", "00000_stats.json"])
    #expect(names(folder.path + "/parts").map { readBytes("\(folder.path)/parts/\($0)") } == before)
    try FileBytes.replace(folder.path + "/parts/00000.sha256", with: [])
    try run(list, "1/1", "parts", idle)
    #expect(names(folder.path + "/parts").map { readBytes("\(folder.path)/parts/\($0)") } == before)
  }

  @Test func piecesOfAJournalGoOnToo() throws {
    let list = try list()
    try run(list, "1/1", "whole")
    let expected = try merge("whole", to: "whole")
    let (shard, work) = (try #require(Shard("1/1")), Guess())
    let files = PartFiles(folder: folder.path + "/parts", index: 0)
    mkdir(files.folder, 0o777)
    let records = try PartReader(PartFiles(folder: folder.path + "/whole", index: 0).journals)
    var journal = try PartJournal(files, head: try work.head(of: shard), inPieces: true)
    #expect(try journal.next() == nil)
    for turn in 0..<Self.count {
      try journal.append(#require(try records.next()))
      guard turn % 10 == 9 else { continue }
      try journal.flush()
      journal = try PartJournal(files, head: try work.head(of: shard), inPieces: true)
      for _ in 0...turn { #expect(try journal.next() != nil) }
      #expect(try journal.next() == nil)
    }
    let statistics = try JSONReader.parse(readBytes(folder.path + "/whole/00000_stats.json"))
    try journal.finish { _ in statistics }
    #expect(
      names(files.folder) == [
        "00000-00000.jsonl", "00000-00001.jsonl", "00000-00002.jsonl", "00000.sha256", "00000_stats.json",
      ])
    #expect(try merge("parts", to: "parts") == expected)
    let error = thrownError(SegmentationError.self) { try run(list, "1/1", "parts") }
    #expect(error?.exitCode == 2 && error?.description.contains("--writes whole") == true)
  }

  @Test func partsOfDifferentRunsAreToldApart() throws {
    let list = try list()
    func refusal(_ change: (Guess) -> Void) throws -> String {
      let work = Guess()
      change(work)
      let error = thrownError(SegmentationError.self) { try run(list, "1/2", "parts", work) }
      #expect(error?.exitCode == 2)
      return error?.description ?? ""
    }
    try run(list, "1/2", "parts")
    #expect(try refusal { $0.settings = "t" }.contains("other words or settings"))
    #expect(try refusal { $0.model = "n" }.contains("another model"))
    #expect(try refusal { $0.outputs = [] }.contains("other outputs"))
    let third = thrownError(SegmentationError.self) { try run(list, "1/3", "parts") }
    #expect(third?.description.contains("is of shard 1/2, not 1/3") == true)
    let shorter = try folder.write("shorter", "\(folder.path)/photos/0.jpg")
    #expect(thrownError(SegmentationError.self) { try run(shorter, "1/2", "parts") }?.exitCode == 2)
    let missing = thrownError(SegmentationError.self) { try merge("parts", to: "a") }
    #expect(missing?.exitCode == 6 && missing?.description.contains("shard 2 of 2 not done yet") == true)
    let other = Guess()
    other.model = "n"
    try run(list, "2/2", "parts", other)
    #expect(
      thrownError(SegmentationError.self) { try merge("parts", to: "a") }?.description.contains(
        "another model")
        == true)
    let longer = try folder.write("longer", readText(list) + "\nmore.jpg")
    try run(list, "1/2", "lists")
    try run(longer, "2/2", "lists")
    #expect(
      thrownError(SegmentationError.self) { try merge("lists", to: "a") }?.description.contains(
        "another list")
        == true)
    // A list that grew: its shards go on.
    try run(longer, "1/2", "lists")
    let grown = try merge("lists", to: "grown")
    try run(longer, "1/1", "one")
    #expect(try merge("one", to: "one") == grown)
    writeBytes(readBytes(folder.path + "/one/00000.jsonl") + [0x0A], to: folder.path + "/one/00000.jsonl")
    #expect(thrownError(SegmentationError.self) { try merge("one", to: "one") }?.exitCode == 6)
    #expect(names(folder.path).filter { $0.hasPrefix("a.") }.isEmpty)
  }

  @Test func sumsAndCodes() throws {
    let paths = try (1...3).map { try folder.write("photos/\($0).jpg", String(repeating: "y", count: $0)) }
    var lines = try paths.map { path in
      "{\"path\": \"\(path)\", \"sha256\": \"\(try InputFile<SystemError>.open(path: path).sha256Hex())\"}"
    }
    try folder.write("photos/2.jpg", "zz")
    var rules = ShardJob.Rules()
    rules.expectsSums = true
    let list = try folder.write("list", lines.joined(separator: "\n"))
    let (tally, code) = try run(list, "1/1", "a", Guess(), rules)
    #expect(tally.done == 2 && tally.failures == ["sum": 1] && code == 0)
    rules.failsOnPhoto = true
    #expect(try run(list, "1/1", "a", Guess(), rules).code == 3)
    lines[0] = paths[0]
    let bare = try folder.write("bare", lines.joined(separator: "\n"))
    #expect(thrownError(SegmentationError.self) { try run(bare, "1/1", "b", Guess(), rules) }?.exitCode == 2)
    try folder.write("c/00000_stats.json", "{}\n")
    #expect(thrownError(SegmentationError.self) { try run(list, "1/1", "c") }?.exitCode == 2)
    #expect(try readText(folder.path + "/c/00000_stats.json") == "{}\n")
    try folder.write("merged.csv", "mine")
    #expect(thrownError(SegmentationError.self) { try merge("a", to: "merged") }?.exitCode == 2)
    #expect(try readText(folder.path + "/merged.csv") == "mine")
  }
}
