// Streams of JPEGs taken apart, whatever the pieces they come in.
import System
import Testing

@Suite struct JPEGFramesTests {
  /// What a stream gave: whole pictures, and why others broke.
  private struct Found: Equatable {
    var pictures: [[UInt8]] = []
    var flaws: [String] = []
  }

  private func split(_ stream: [UInt8], pieces: Int, limit: Int = 1 << 20) -> Found {
    var (frames, found, open) = (JPEGFrames(limit: limit), Found(), [UInt8]())
    func take(_ event: JPEGFrames.Event) {
      switch event {
      case .begin: open = []
      case .bytes(let bytes): open += bytes
      case .end: found.pictures.append(open)
      case .broken(let reason): found.flaws.append(reason)
      }
    }
    for start in stride(from: 0, to: stream.count, by: pieces) {
      Array(stream[start..<min(start + pieces, stream.count)]).withUnsafeBytes { frames.push($0, take) }
    }
    frames.finish(take)
    return found
  }

  /// The same in one piece, byte by byte and in pieces of seven.
  private func checked(_ stream: [UInt8], limit: Int = 1 << 20) -> Found {
    let found = split(stream, pieces: stream.count, limit: limit)
    #expect(split(stream, pieces: 1, limit: limit) == found)
    #expect(split(stream, pieces: 7, limit: limit) == found)
    return found
  }

  private func segment(_ marker: UInt8, _ body: [UInt8]) -> [UInt8] {
    [0xFF, marker, UInt8((body.count + 2) >> 8), UInt8((body.count + 2) & 255)] + body
  }

  /// A picture as far as markers go. `head`: segments in front; `data`: of its scan.
  private func picture(_ head: [UInt8] = [], data: [UInt8] = [1, 2, 0xFF, 0, 3]) -> [UInt8] {
    var bytes: [UInt8] = [0xFF, 0xD8]
    bytes += head
    bytes += segment(0xDB, [0, 1, 2])
    bytes += segment(0xDA, [1, 1, 0])
    bytes += data
    bytes += [0xFF, 0xD9] as [UInt8]
    return bytes
  }

  @Test func findsPicturesOneBehindTheOther() {
    let (a, b) = (picture(), picture(data: [9]))
    #expect(checked(a + b + a) == Found(pictures: [a, b, a]))
  }

  @Test func hopsOverThumbnails() {
    let thumbnail = picture()
    let whole = picture(segment(0xE1, [0x45, 0x78] + thumbnail) + segment(0xE0, thumbnail))
    #expect(checked(whole + whole) == Found(pictures: [whole, whole]))
  }

  @Test func restartsFillBytesAndSeveralScansBelong() {
    let restarts = picture(data: [1, 0xFF, 0xD0, 2, 0xFF, 0xD7, 3])
    let filled = picture([0xFF, 0xFF, 0xFF] + segment(0xFE, [0xFF, 0xD9]), data: [1, 0xFF, 0xFF, 0x00, 2])
    let more = segment(0xC4, [5]) + segment(0xDA, [2, 1, 0]) + [7, 0xFF, 0]
    let scans = picture(data: [1] + more + more)
    #expect(checked(restarts + filled + scans) == Found(pictures: [restarts, filled, scans]))
  }

  @Test func skipsWhatIsBetweenPictures() {
    let a = picture()
    let heads = Array("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 12\r\n\r\n".utf8)
    let padding: [UInt8] = [0, 0, 0xFF, 0xFF, 0xFF, 0xD8, 0x00, 0xFF]
    #expect(checked(heads + a + padding + a + heads) == Found(pictures: [a, a]))
  }

  @Test func whatIsCutIsNoPicture() {
    let a = picture()
    // In its scan: the next begins at once.
    #expect(checked(a.dropLast(2) + a) == Found(pictures: [a], flaws: ["another begins in it"]))
    // At the end of the stream, wherever.
    for length in 3..<a.count {
      #expect(checked(Array(a.prefix(length))) == Found(flaws: ["the stream ends in it"]))
    }
    // In a segment: the next one's bytes fill it; the one after that is found.
    let cut = Array(picture(segment(0xE1, [UInt8](repeating: 7, count: 40))).prefix(30))
    let found = checked(cut + a + a + a)
    #expect(found.pictures.suffix(1) == [a])
    #expect(found.flaws.count == 1)
  }

  @Test func brokenRulesAreNamed() {
    let a = picture()
    #expect(
      checked([0xFF, 0xD8, 0xFF, 0xD9] + a) == Found(pictures: [a], flaws: ["ends before its first scan"]))
    #expect(
      checked([0xFF, 0xD8, 0xFF, 0x00] + a) == Found(pictures: [a], flaws: ["a marker has the number 0"]))
    #expect(
      checked([0xFF, 0xD8, 0xFF, 0xE0, 0, 1] + a)
        == Found(pictures: [a], flaws: ["a segment is shorter than its own length"]))
    #expect(
      checked([0xFF, 0xD8, 0xFF, 0xE0, 0, 2, 5] + a)
        == Found(pictures: [a], flaws: ["byte 5 stands where a marker must"]))
  }

  @Test func giantsAreLeft() {
    let (a, giant) = (picture(), picture(data: [UInt8](repeating: 1, count: 5000)))
    for pieces in [1, 7, 512, 20_000] {
      let found = split(a + giant + a, pieces: pieces, limit: 1000)
      #expect(found == Found(pictures: [a, a], flaws: ["has more than 1000 bytes"]))
    }
  }
}
