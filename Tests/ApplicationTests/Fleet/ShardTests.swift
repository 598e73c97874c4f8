// Which photos a process does: shards by hand and by scheduler, lists line by line.
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

struct ShardTests {
  @Test func textOfAShard() {
    #expect(Shard("2/4").map { [$0.index, $0.count] } == [1, 4])
    #expect(Shard("100000/100000")?.stem == "99999")
    for text in ["0/4", "5/4", "1/0", "1", "1/2/3", "/4", "-1/4", "1/100001", "a/b", ""] {
      #expect(Shard(text) == nil, "\(text)")
    }
  }

  @Test func everyLineIsInOneShardAndSizesAreEven() {
    for count in [1, 2, 7, 64] {
      let shards = (1...count).map { Shard("\($0)/\(count)")! }
      let sizes = shards.map { shard in (0..<1000).filter(shard.holds).count }
      #expect(sizes.reduce(0, +) == 1000 && sizes.max()! - sizes.min()! <= 1)
      for line in 0..<100 { #expect(shards.filter { $0.holds(line) }.count == 1) }
    }
  }

  private func scheduled(_ variables: [String: String]) throws -> String? {
    try Shard.scheduled { variables[$0] }.map { "\($0.shard.text) \($0.variable)" }
  }

  @Test func whatSchedulersSay() throws {
    #expect(try scheduled([:]) == nil)
    #expect(try scheduled(["TRIDENT_SHARDS": "4"]) == nil)
    #expect(
      try scheduled(["JOB_COMPLETION_INDEX": "0", "TRIDENT_SHARDS": "4"]) == "1/4 JOB_COMPLETION_INDEX")
    let batch = ["AWS_BATCH_JOB_ARRAY_INDEX": "3", "AWS_BATCH_JOB_ARRAY_SIZE": "4"]
    #expect(try scheduled(batch) == "4/4 AWS_BATCH_JOB_ARRAY_INDEX")
    var slurm = [
      "SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "5",
      "SLURM_ARRAY_TASK_MAX": "9", "SLURM_ARRAY_TASK_STEP": "2",
    ]
    #expect(try scheduled(slurm) == "3/3 SLURM_ARRAY_TASK_ID")
    slurm["SLURM_ARRAY_TASK_MAX"] = "10"
    let error = thrownError(SegmentationError.self) { try scheduled(slurm) }
    #expect(error?.exitCode == 2 && error?.description.contains("TRIDENT_SHARDS") == true)
    // One task of an array, sent again: the scheduler says that it is the only one.
    let again = [
      "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MIN": "3",
      "SLURM_ARRAY_TASK_MAX": "3", "TRIDENT_SHARDS": "8",
    ]
    #expect(try scheduled(again) == "4/8 SLURM_ARRAY_TASK_ID")
  }

  @Test(arguments: [
    ["JOB_COMPLETION_INDEX": "0"], ["JOB_COMPLETION_INDEX": "4", "TRIDENT_SHARDS": "4"],
    ["JOB_COMPLETION_INDEX": "-1", "TRIDENT_SHARDS": "4"], ["SLURM_ARRAY_TASK_ID": "1"],
    ["AWS_BATCH_JOB_ARRAY_INDEX": "x", "AWS_BATCH_JOB_ARRAY_SIZE": "4"],
    ["AWS_BATCH_JOB_ARRAY_INDEX": "1"],
  ])
  func numbersThatAreNone(_ variables: [String: String]) {
    let error = thrownError(SegmentationError.self) { try scheduled(variables) }
    #expect(error?.exitCode == 2 && error?.field != nil)
  }
}

struct ListedPhotosTests {
  private let folder = Folder()

  private func photos(_ text: String, _ shard: String = "1/1") throws -> (
    photos: [ListedPhoto], count: Int, sha256: String
  ) {
    let path = try folder.write("list", text)
    let list = try ListedPhotos(path: path, shard: #require(Shard(shard)))
    var photos: [ListedPhoto] = []
    while let photo = try list.next() { photos.append(photo) }
    return (photos, list.count, list.sha256)
  }

  @Test func linesOfBothKinds() throws {
    let sum = String(repeating: "aB", count: 32)
    let (photos, count, digest) = try photos(
      "a b.jpg\n\n{\"path\": \"ü/\\n.png\", \"bytes\": 7, \"sha256\": \"\(sum)\", \"key\": [1]}\r\n#c.jpg")
    #expect(
      photos == [
        ListedPhoto(line: 0, path: "a b.jpg"),
        ListedPhoto(line: 1, path: "ü/\n.png", byteCount: 7, sha256: sum.lowercased()),
        ListedPhoto(line: 2, path: "#c.jpg"),
      ])
    #expect(count == 3)
    #expect(try InputFile<SystemError>.open(path: folder.path + "/list").sha256Hex() == digest)
    #expect(try self.photos("").photos.isEmpty)
  }

  @Test func aShardReadsItsLinesOnly() throws {
    let text = (0..<10).map { $0 == 5 ? "{broken\n" : "\($0).jpg\n" }.joined()
    let (own, count, _) = try photos(text, "2/3")
    #expect(count == 10 && own.map(\.path) == ["1.jpg", "4.jpg", "7.jpg"] && own.map(\.line) == [1, 4, 7])
    let error = thrownError(SegmentationError.self) { try photos(text, "3/3") }
    #expect(error?.exitCode == 2 && error?.line == 6)
  }

  @Test func linesThatNameNoPhoto() throws {
    for line in [
      "{\"path\": 1}", "{\"bytes\": 1}", "{\"path\": \"\"}", "-", "{\"path\": \"a\", \"bytes\": -1}",
      "{\"path\": \"a\", \"sha256\": \"12\"}", "{\"path\": \"a\"", "{\"path\": \"a\\u0000b\"}",
    ] {
      let error = thrownError(SegmentationError.self) { try photos("a.jpg\n\(line)\n") }
      #expect(error?.exitCode == 2 && error?.line == 2, "\(line)")
    }
    let missing = thrownError(SegmentationError.self) { try ListedPhotos(path: folder.path + "/none") }
    #expect(missing?.exitCode == 3)
    writeBytes([0x61, 0xFF, 0x0A], to: folder.path + "/bytes")
    let list = try ListedPhotos(path: folder.path + "/bytes")
    #expect(thrownError(SegmentationError.self) { try list.next() }?.description.contains("UTF-8") == true)
    let long = String(repeating: "a", count: StreamLines.lineLimit + 70_000)
    let error = thrownError(SegmentationError.self) { try photos("a\n" + long) }
    #expect(error?.description.contains("at most \(StreamLines.lineLimit)") == true)
  }

  @Test func aPipeAndLinesLongerThanTheBuffer() throws {
    let path = folder.path + "/pipe"
    mkfifo(path, 0o600)
    let lines = (0..<300).map { String(repeating: "p", count: $0 * 700 % 190_001 + 1) + "\($0)" }
    let writer = PlainThread { writeBytes(Array(lines.joined(separator: "\n").utf8), to: path) }
    let list = try ListedPhotos(path: path)
    var got: [String] = []
    while let photo = try list.next() { got.append(photo.path) }
    writer.join()
    #expect(got == lines)
  }
}

/// A thread of the C library, for what would block.
private final class PlainThread {
  private var thread = pthread_t()
  private final class Work {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }

  init(_ body: @escaping () -> Void) {
    let work = Unmanaged.passRetained(Work(body)).toOpaque()
    pthread_create(
      &thread, nil,
      {
        Unmanaged<Work>.fromOpaque($0!).takeRetainedValue().body()
        return nil
      }, work)
  }

  func join() { pthread_join(thread, nil) }
}
