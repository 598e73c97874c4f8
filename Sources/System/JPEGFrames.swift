// JPEGs in a stream, one behind the other: where each begins and ends.
//
// A stream of JPEGs (MJPEG) has no frames of its own; a picture ends where its end marker is. To look for
// that marker's bytes is not enough: a thumbnail in a picture's head has one, too. So the segments are walked
// as T.81 lays them out: each says how long it is, and is hopped over; behind the head of a scan come data in
// which FF is followed by 00, by a restart marker, or by the marker that ends the scan. What lies between
// pictures (padding, the heads of a multipart stream) is skipped. Of a picture that breaks these rules
// nothing is kept, and the search for the next begins at that byte.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Cuts a stream into JPEGs without holding any of them.
///
/// - Memory: some words.
/// - Source: ITU-T T.81, annex B.
package struct JPEGFrames {
  /// What bytes meant, in their order.
  package enum Event {
    case begin
    /// The picture goes on; valid during the call.
    case bytes(UnsafeRawBufferPointer)
    /// The picture that began is whole.
    case end
    /// The picture that began is not one, and why.
    case broken(String)
  }

  private enum State {
    /// Between pictures; `.edge` behind an FF.
    case outside, edge
    /// Behind FF D8: the next byte tells whether a picture begins.
    case opening
    /// A marker must come; `.code` behind its FF.
    case marker, code
    /// The two bytes of a segment's length, and what is left of it.
    case high, low, segment
    /// Data of a scan; `.scanEdge` behind an FF.
    case scan, scanEdge
  }

  /// Of one picture, bytes.
  private let limit: Int
  private var state = State.outside
  private var isFirst = false
  private var code: UInt8 = 0
  private var rest = 0
  private var hasScan = false
  private var byteCount = 0

  /// `limit`: bytes of the longest picture that is taken.
  package init(limit: Int) { self.limit = limit }

  private var isInside: Bool {
    switch state {
    case .outside, .edge, .opening: false
    default: true
    }
  }

  /// Takes the next bytes of the stream.
  package mutating func push(_ bytes: UnsafeRawBufferPointer, _ take: (Event) -> Void) {
    var start = 0
    var place = 0
    while place < bytes.count {
      let was = isInside
      let next = advance(bytes, place)
      if !was, isInside {
        // The FF D8 in front may have come with earlier bytes.
        take(.begin)
        withUnsafeBytes(of: UInt16(bigEndian: 0xFFD8)) { take(.bytes($0)) }
        (byteCount, start) = (2, place)
      }
      place = next.place
      switch next.outcome {
      case .goesOn: break
      case .ends:
        byteCount += place - start
        if byteCount > limit {
          giveUp(Self.long(limit), take)
        } else {
          take(.bytes(UnsafeRawBufferPointer(rebasing: bytes[start..<place])))
          take(.end)
        }
      case .breaks(let reason):
        byteCount += place - start
        giveUp(reason, take)
      }
    }
    guard isInside, start < place else { return }
    byteCount += place - start
    if byteCount > limit {
      state = .outside
      return giveUp(Self.long(limit), take)
    }
    take(.bytes(UnsafeRawBufferPointer(rebasing: bytes[start..<place])))
  }

  /// The stream is over.
  package mutating func finish(_ take: (Event) -> Void) {
    let was = isInside
    state = .outside
    if was { giveUp("the stream ends in it", take) }
  }

  private mutating func giveUp(_ reason: String, _ take: (Event) -> Void) {
    byteCount = 0
    take(.broken(reason))
  }

  private static func long(_ limit: Int) -> String { "has more than \(limit) bytes" }

  private enum Outcome {
    case goesOn, ends
    case breaks(String)
  }

  /// Reads on from a byte, to the end of what that byte's state can take at once.
  private mutating func advance(
    _ bytes: UnsafeRawBufferPointer, _ place: Int
  ) -> (place: Int, outcome: Outcome) {
    let byte = bytes[place]
    switch state {
    case .outside, .edge, .opening: return (search(bytes, place), .goesOn)
    case .marker:
      if byte != 0xFF { return leave("byte \(byte) stands where a marker must", place) }
      state = .code
    case .code: return (place + 1, begin(marker: byte))
    case .high:
      rest = Int(byte) << 8
      state = .low
    case .low:
      rest += Int(byte) - 2
      if rest < 0 { return leave("a segment is shorter than its own length", place + 1) }
      state = rest > 0 ? .segment : behindSegment()
    case .segment:
      let count = min(rest, bytes.count - place)
      rest -= count
      if rest == 0 { state = behindSegment() }
      return (place + count, .goesOn)
    case .scan:
      let found = Self.firstFF(bytes, from: place)
      state = found == nil ? .scan : .scanEdge
      return (found.map { $0 + 1 } ?? bytes.count, .goesOn)
    case .scanEdge:
      switch byte {
      case 0x00, 0xD0...0xD7: state = .scan
      case 0xFF: break
      default: return (place + 1, begin(marker: byte))
      }
    }
    return (place + 1, .goesOn)
  }

  private mutating func search(_ bytes: UnsafeRawBufferPointer, _ place: Int) -> Int {
    switch state {
    case .opening:
      if bytes[place] == 0xFF {
        (state, hasScan) = (.code, false)
        return place + 1
      }
      state = .outside
      return place
    case .edge:
      switch bytes[place] {
      case 0xD8: state = .opening
      case 0xFF: break
      default: state = .outside
      }
      return place + 1
    default:
      guard let found = Self.firstFF(bytes, from: place) else { return bytes.count }
      state = .edge
      return found + 1
    }
  }

  private mutating func begin(marker: UInt8) -> Outcome {
    switch marker {
    case 0xFF: state = .code
    case 0xD8:
      state = .opening
      return .breaks("another begins in it")
    case 0xD9:
      state = .outside
      return hasScan ? .ends : .breaks("ends before its first scan")
    case 0x00:
      state = .outside
      return .breaks("a marker has the number 0")
    case 0x01, 0xD0...0xD7: state = .marker
    default:
      code = marker
      state = .high
    }
    return .goesOn
  }

  /// What comes behind a segment: data of a scan behind its head.
  private mutating func behindSegment() -> State {
    guard code == 0xDA else { return .marker }
    hasScan = true
    return .scan
  }

  private mutating func leave(_ reason: String, _ place: Int) -> (place: Int, outcome: Outcome) {
    state = .outside
    return (place, .breaks(reason))
  }

  private static func firstFF(_ bytes: UnsafeRawBufferPointer, from place: Int) -> Int? {
    guard let base = bytes.baseAddress, let found = memchr(base + place, 0xFF, bytes.count - place) else {
      return nil
    }
    return UnsafeRawPointer(found) - base
  }
}
