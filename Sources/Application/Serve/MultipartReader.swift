// multipart/form-data, read as it comes in: what a browser or `curl -F` sends.

/// Takes a body apart, piece by piece, whatever its pieces are.
///
/// Bytes that could be the beginning of a delimiter are held until what follows tells; all others are handed
/// on at once, so that a photo is never held here.
///
/// - Memory: twice a piece, a part's head of at most 8 KiB.
/// - Errors: 400 for a body that is no such form, 413 for more parts than make sense.
/// - Source: RFC 7578, RFC 2046.
package struct MultipartReader {
  /// What a part says of itself.
  package struct Part: Equatable, Sendable {
    package var name = ""
    package var fileName: String?
    package var type: String?
  }

  package enum Event {
    case part(Part)
    /// The next bytes of the last part.
    case bytes(ArraySlice<UInt8>)
    case partEnded
  }

  private enum Phase { case preamble, delimiter, head, body, end }

  private static let headLimit = 8 << 10
  private static let partLimit = 2000
  /// Line break, two dashes, boundary.
  private let delimiter: [UInt8]
  private var phase = Phase.preamble
  /// What came and is not done.
  private var held: [UInt8] = [0x0D, 0x0A]
  private var partCount = 0

  /// - Errors: 400 for a boundary that is missing or too long.
  package init(contentType: String) throws(Refusal) {
    guard let boundary = headerParameter("boundary", of: contentType), (1...70).contains(boundary.utf8.count)
    else { throw Refusal(400, "multipart/form-data needs a boundary of 1 to 70 bytes in its Content-Type") }
    delimiter = Array("\r\n--\(boundary)".utf8)
  }

  /// Takes the next piece of the body.
  package mutating func add(_ piece: UnsafeRawBufferPointer, _ take: (Event) throws -> Void) throws {
    held.append(contentsOf: piece)
    while try step(take) {}
  }

  /// - Errors: 400 where the last delimiter is missing.
  package func finish() throws(Refusal) {
    if phase != .end { throw Refusal(400, "the form ends early: its last delimiter is missing") }
  }

  /// Does what can be done with what is held; false where more is needed.
  private mutating func step(_ take: (Event) throws -> Void) throws -> Bool {
    switch phase {
    case .preamble, .body: return try stepInside(take)
    case .delimiter:
      held.removeFirst(held.prefix { $0 == 0x20 || $0 == 0x09 }.count)
      if held.count < 2 { return false }
      let end = Array(held[..<2])
      held.removeFirst(2)
      if end == Array("--".utf8) {
        phase = .end
      } else if end == [0x0D, 0x0A] {
        phase = .head
      } else {
        throw Refusal(400, "the form has a delimiter without a line break behind it")
      }
      return true
    case .head:
      guard let end = place(of: [0x0D, 0x0A, 0x0D, 0x0A]) else {
        if held.count > Self.headLimit { throw Refusal(400, "a part of the form has a head without end") }
        return false
      }
      partCount += 1
      if partCount > Self.partLimit { throw Refusal(413, "the form has more than \(Self.partLimit) parts") }
      let part = try Self.part(held[..<end])
      held.removeFirst(end + 4)
      phase = .body
      try take(.part(part))
      return true
    case .end:
      held = []
      return false
    }
  }

  private mutating func stepInside(_ take: (Event) throws -> Void) throws -> Bool {
    let found = place(of: delimiter)
    let count = found ?? max(0, held.count - delimiter.count + 1)
    if phase == .body, count > 0 { try take(.bytes(held[..<count])) }
    guard let found else {
      held.removeFirst(count)
      return false
    }
    held.removeFirst(found + delimiter.count)
    if phase == .body { try take(.partEnded) }
    phase = .delimiter
    return true
  }

  /// Where `pattern` begins in what is held.
  private func place(of pattern: [UInt8]) -> Int? {
    guard held.count >= pattern.count else { return nil }
    return held.withUnsafeBufferPointer { bytes in
      var index = 0
      let last = bytes.count - pattern.count
      while index <= last {
        if bytes[index] == pattern[0], pattern.indices.allSatisfy({ bytes[index + $0] == pattern[$0] }) {
          return index
        }
        index += 1
      }
      return nil
    }
  }

  /// - Errors: 400 for a part without a name.
  private static func part(_ head: ArraySlice<UInt8>) throws(Refusal) -> Part {
    guard let text = String(validating: head, as: UTF8.self) else {
      throw Refusal(400, "a part's head in the form is not UTF-8")
    }
    var part = Part()
    var isNamed = false
    for line in text.split(separator: "\r\n") {
      guard let colon = line.firstIndex(of: ":") else {
        throw Refusal(400, "a part's head in the form has a line without ':'")
      }
      let value = String(line[line.index(after: colon)...])
      switch line[..<colon].lowercased() {
      case "content-disposition":
        guard let name = headerParameter("name", of: value) else { continue }
        part.name = name
        part.fileName = headerParameter("filename", of: value)
        isNamed = true
      case "content-type": part.type = value.split(separator: " ").first.map { $0.lowercased() }
      default: break
      }
    }
    if !isNamed { throw Refusal(400, "a part of the form has no name") }
    return part
  }
}

/// A parameter of a header's value: `boundary` of `multipart/form-data; boundary="x"`; nil where it is
/// missing.
///
/// - Source: RFC 9110, 5.6.6.
func headerParameter(_ name: String, of value: String) -> String? {
  var rest = Array(value.utf8)[...]
  while let semicolon = rest.firstIndex(of: UInt8(ascii: ";")) {
    rest = rest[(semicolon + 1)...].drop { $0 == 0x20 || $0 == 0x09 }
    guard let sign = rest.firstIndex(of: UInt8(ascii: "=")) else { return nil }
    let key = String(decoding: rest[..<sign], as: UTF8.self).lowercased()
    rest = rest[(sign + 1)...]
    var found: [UInt8] = []
    if rest.first == UInt8(ascii: "\"") {
      rest = rest.dropFirst()
      while let byte = rest.first, byte != UInt8(ascii: "\"") {
        rest = rest.dropFirst()
        // Browsers escape nothing this way, but for the two characters that would end the text.
        if byte == UInt8(ascii: "\\"), let next = rest.first, next == UInt8(ascii: "\"") || next == byte {
          found.append(next)
          rest = rest.dropFirst()
        } else {
          found.append(byte)
        }
      }
      if rest.isEmpty { return nil }
      rest = rest.dropFirst()
    } else {
      found = Array(rest.prefix { $0 != UInt8(ascii: ";") && $0 != 0x20 })
      rest = rest.dropFirst(found.count)
    }
    if key == name { return String(validating: found, as: UTF8.self) }
  }
  return nil
}
