// Photos line by line, from a list of any length or from a command line.
import Segmentation
import System

/// One photo of a list.
package struct ListedPhoto: Equatable, Sendable {
  /// Its place among all photos, from 0.
  package var line: Int
  package var path: String
  /// What its file should be, where the list says so; lower-case hexadecimal.
  package var byteCount: Int?
  package var sha256: String?

  package init(line: Int, path: String, byteCount: Int? = nil, sha256: String? = nil) {
    (self.line, self.path, self.byteCount, self.sha256) = (line, path, byteCount, sha256)
  }

  /// Its line in a list, with what is known of it.
  var json: JSON {
    var members: [(String, JSON)] = [("path", .string(path))]
    if let byteCount { members.append(("bytes", .int(byteCount))) }
    if let sha256 { members.append(("sha256", .string(sha256))) }
    return .object(members)
  }
}

/// The photos of a shard, in the order of their list.
///
/// A line is a path, or a JSON object with `path` and, if known, `bytes` and `sha256`; other members are not
/// looked at. Empty lines are none. Lines of other shards are counted, not read.
///
/// - Memory: a line; a list of any length takes the same.
/// - Errors: `.usage` with file and line for a line that is neither; `.photo` for a list that cannot be read.
package final class ListedPhotos {
  private enum Source {
    case lines(StreamLines)
    case names([String])
  }

  private let source: Source
  private let path: String
  private let shard: Shard
  /// Photos so far, of all shards.
  package private(set) var count = 0
  /// Lines so far, empty ones included.
  private var lineNumber = 0

  /// `path`: a file, a pipe, or `-` for standard input.
  package init(path: String, shard: Shard = .whole) throws(SegmentationError) {
    (self.path, self.shard) = (path == "-" ? "standard input" : path, shard)
    do throws(SystemError) {
      source = .lines(try StreamLines(path: path))
    } catch { throw SegmentationError(.photo(error.reason.description), path: self.path) }
  }

  /// Photos that a command names.
  package init(names: [String], shard: Shard = .whole) {
    source = .names(names)
    (path, self.shard) = ("", shard)
  }

  /// SHA-256 over the list, once its last line was read: equal for processes that were given the same.
  package var sha256: String {
    switch source {
    case .lines(let lines): return lines.sha256Hex
    case .names(let names):
      var digest = SHA256Digest()
      for name in names { digest.update(name + "\n") }
      return digest.finishHex()
    }
  }

  /// The next photo of the shard; nil behind the last.
  package func next() throws(SegmentationError) -> ListedPhoto? {
    if case .names(let names) = source {
      while count < names.count {
        count += 1
        if shard.holds(count - 1) { return ListedPhoto(line: count - 1, path: names[count - 1]) }
      }
      return nil
    }
    while let text = try nextLine() { if let text { return try photo(text) } }
    return nil
  }

  /// The next line; its bytes only where it is a photo of the shard.
  private func nextLine() throws(SegmentationError) -> [UInt8]?? {
    guard case .lines(let lines) = source else { return nil }
    do throws(SystemError) {
      let line = try lines.next { bytes -> [UInt8]? in
        lineNumber += 1
        if bytes.isEmpty { return nil }
        count += 1
        return shard.holds(count - 1) ? Array(bytes) : nil
      }
      return line
    } catch { throw SegmentationError(.photo(error.reason.description), path: path, line: lineNumber + 1) }
  }

  private func photo(_ line: [UInt8]) throws(SegmentationError) -> ListedPhoto {
    func refuse(_ text: String) -> SegmentationError {
      SegmentationError(.usage(text), path: path, line: lineNumber)
    }
    var photo = ListedPhoto(line: count - 1, path: "")
    if line.first == 0x7B {
      let json: JSON
      do throws(SystemError) { json = try JSONReader.parse(line) } catch {
        throw refuse("is no JSON object (\(error.reason.description)); a path that begins so goes into one")
      }
      guard case .string(let name) = json.member("path") else { throw refuse("has no \"path\"") }
      photo.path = name
      switch json.member("bytes") {
      case nil, .null: break
      case .int(let count) where count >= 0: photo.byteCount = count
      default: throw refuse("\"bytes\" is no number of bytes")
      }
      switch json.member("sha256") {
      case nil, .null: break
      case .string(let text) where text.utf8.count == 64 && text.allSatisfy(\.isHexDigit):
        photo.sha256 = text.lowercased()
      default: throw refuse("\"sha256\" is no 64 hexadecimal digits")
      }
    } else if let name = String(validating: line, as: UTF8.self) {
      photo.path = name
    } else {
      throw refuse("is not UTF-8")
    }
    if photo.path.isEmpty || photo.path == "-" || photo.path.utf8.contains(0) {
      throw refuse("names no file")
    }
    return photo
  }
}
