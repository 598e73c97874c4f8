// Tar archives: ours read back, and those of others with damage in them.
import System
import TestSupport
import Testing

@Suite struct TarTests {
  private let temporaryFiles = TemporaryFiles()
  private let scratch = Scratch()

  private func read(_ path: String) throws -> (events: [TarReader.Event], bytes: [[UInt8]]) {
    let reader = try TarReader(path: path)
    var events: [TarReader.Event] = []
    var contents: [[UInt8]] = []
    while let event = try reader.next() {
      events.append(event)
      guard case .member = event else { continue }
      var bytes: [UInt8] = []
      try reader.read { (piece) throws(SystemError) in bytes.append(contentsOf: piece) }
      contents.append(bytes)
    }
    let file = try InputFile<SystemError>.open(path: path)
    let digest = try file.sha256Hex()
    #expect(reader.byteCount == file.byteCount && reader.sha256Hex == digest)
    return (events, contents)
  }

  private let members: [(name: String, bytes: [UInt8])] = [
    ("a.jpg", [1, 2, 3]), ("empty", []), (String(repeating: "long/", count: 40) + "ü.jpg", [7]),
    ("block", [UInt8](repeating: 5, count: 512)), ("large", (0..<200_001).map { UInt8($0 % 251) }),
    (String(repeating: "n", count: 100), [9]), (String(repeating: "m", count: 101), [8]),
  ]

  private func archive(_ name: String) throws -> String {
    let path = scratch.file(name)
    let writer = try TarWriter(path: path)
    for member in members { try writer.add(member.name, member.bytes) }
    try writer.finish()
    let file = try InputFile<SystemError>.open(path: path)
    let digest = try file.sha256Hex()
    #expect(writer.byteCount == file.byteCount && writer.sha256Hex == digest)
    return path
  }

  @Test func whatIsWrittenIsRead() throws {
    let (events, bytes) = try read(archive("a.tar"))
    #expect(events == members.map { .member(name: $0.name, byteCount: $0.bytes.count) })
    #expect(bytes == members.map(\.bytes))
    #expect(readBytes(try archive("b.tar")) == readBytes(scratch.file("a.tar")))
    // Bytes that nobody asks for are passed over.
    let reader = try TarReader(path: scratch.file("a.tar"))
    var count = 0
    while try reader.next() != nil { count += 1 }
    #expect(count == members.count)
  }

  @Test func damageCostsOneMember() throws {
    var bytes = readBytes(try archive("a.tar"))
    let wanted: [UInt8] = Array("block".utf8) + [0]
    var at = 0
    while Array(bytes[at * 512..<at * 512 + 6]) != wanted { at += 1 }
    bytes[at * 512 + 130] ^= 1
    writeBytes(bytes, to: scratch.file("b.tar"))
    let (events, contents) = try read(scratch.file("b.tar"))
    #expect(events[3] == .damage(offset: at * 512, byteCount: 1024) && events.count == members.count)
    #expect(contents == members.filter { $0.name != "block" }.map(\.bytes))
  }

  @Test func anEndThatComesEarly() throws {
    let bytes = readBytes(try archive("a.tar"))
    for count in stride(from: 0, to: 6000, by: 97) {
      writeBytes(bytes.prefix(count), to: scratch.file("c.tar"))
      let reader = try TarReader(path: scratch.file("c.tar"))
      var (whole, cut) = (0, 0)
      do throws(SystemError) {
        while let event = try reader.next() {
          guard case .member = event else {
            cut += 1
            continue
          }
          try reader.read { (_) throws(SystemError) in }
          whole += 1
        }
      } catch { if case .truncated = error.reason { cut += 1 } else { Issue.record("\(error)") } }
      #expect(whole <= members.count && cut <= 1, "\(count)")
    }
    writeBytes([0x1F, 0x8B] + [UInt8](repeating: 3, count: 600), to: scratch.file("d.tar"))
    let reader = try TarReader(path: scratch.file("d.tar"))
    let error = thrownError(SystemError.self) { try reader.next() }
    #expect(error?.description.contains("compressed") == true)
  }

  @Test func everySingleByteMayBeWrong() throws {
    let bytes = readBytes(try archive("a.tar"))
    for at in 0..<512 {
      var changed = Array(bytes.prefix(4096))
      changed[at] ^= 0x55
      writeBytes(changed, to: scratch.file("e.tar"))
      let reader = try TarReader(path: scratch.file("e.tar"))
      var events: [TarReader.Event] = []
      while let event = try? reader.next() { events.append(event) }
      #expect(!events.isEmpty && events.count <= members.count + 1, "\(at)")
    }
  }
}
