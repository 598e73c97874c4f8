// Which classes each photo shows, as the user says: names, or a list of photos with theirs.
import Segmentation
import System

/// What `--present` names.
package struct PresentClasses: Sendable {
  private static let byteLimit = 64 << 20

  /// Of the option or of the file: part of what a result depends on.
  let digest: String
  private let everywhere: [Int]?
  private let byPhoto: [String: [Int]]
  private let path: String?

  /// `argument`: a file of lines `photo: name, name`, or names separated by commas.
  ///
  /// - Errors: `.classes` for a name that is no class's, with its line; `.usage` for an empty list.
  init(_ argument: String, _ classes: ClassList) throws(SegmentationError) {
    guard fileExists(argument), !isFolder(argument) else {
      (digest, path, byPhoto) = (SHA256Digest.hex(of: argument), nil, [:])
      everywhere = try Self.labels(argument, classes)
      return
    }
    let bytes: [UInt8]
    do throws(SystemError) { bytes = try FileBytes.read(argument, limit: Self.byteLimit) } catch {
      throw SegmentationError(.classes(error.reason.description), path: argument)
    }
    guard let whole = String(validating: bytes, as: UTF8.self) else {
      throw SegmentationError(.classes("not UTF-8; save the list as UTF-8"), path: argument)
    }
    var lists: [String: [Int]] = [:]
    for (number, line) in whole.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let line = Self.trimmed(line)[...]
      if line.isEmpty { continue }
      do throws(SegmentationError) {
        guard let colon = line.utf8.firstIndex(of: 0x3A) else {
          throw SegmentationError(.classes("no colon; lines read 'photo.jpg: name, name'"))
        }
        let photo = baseName(Self.trimmed(line[..<colon]))
        let names = String(line[line.utf8.index(after: colon)...])
        guard lists.updateValue(try Self.labels(names, classes), forKey: photo) == nil else {
          throw SegmentationError(.classes("'\(photo)' stands here twice; remove one"))
        }
      } catch {
        throw SegmentationError(error.reason, path: argument, line: number + 1)
      }
    }
    (digest, path, byPhoto, everywhere) = (SHA256Digest.hex(of: whole), argument, lists, nil)
  }

  /// The classes of one photo, ascending.
  ///
  /// - Errors: `.classes` for a photo that the file does not list.
  func labels(of photo: String) throws(SegmentationError) -> [Int] {
    if let everywhere { return everywhere }
    guard let labels = byPhoto[baseName(photo)] else {
      throw SegmentationError(.classes("no line for '\(baseName(photo))'; add one"), path: path)
    }
    return labels
  }

  /// As many classes as any photo has: for plans. Shapes: ascending.
  var most: [Int] { everywhere ?? byPhoto.values.max { $0.count < $1.count } ?? [] }

  private static func labels(_ names: String, _ classes: ClassList) throws(SegmentationError) -> [Int] {
    var labels: Set<Int> = []
    for part in names.split(separator: ",") {
      let name = trimmed(part)
      if name.isEmpty { continue }
      guard let phrase = classes.phrases.firstIndex(where: { $0 == name }) else {
        throw SegmentationError(.classes("--present '\(name)' is no class's name"))
      }
      let label = Int(classes.classIndex[phrase])
      guard !(classes.background && label == 0) else {
        throw SegmentationError(.classes("--present '\(name)' is the background, which is always there"))
      }
      labels.insert(label)
    }
    guard !labels.isEmpty else {
      throw SegmentationError(.classes("--present names no class; name at least one"))
    }
    return labels.sorted()
  }

  private static func trimmed(_ text: Substring) -> String {
    String(decoding: ClassList.trimmed(Array(text.utf8)[...]), as: UTF8.self)
  }
}
