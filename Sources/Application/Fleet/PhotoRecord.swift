// What a shard remembers of a photo: a line of its journal.
import Segmentation
import System

/// A photo that was done, or could not be.
///
/// - Memory: with annotations their run lengths, some KiB a photo.
package struct PhotoRecord {
  package enum Outcome {
    case done(Findings)
    case failed(Failure)
  }

  /// What a photo holds.
  package struct Findings {
    package var width = 0
    package var height = 0
    package var seconds = 0.0
    /// Of the process, when the photo was done, bytes.
    package var peakResident = 0
    /// Of each label.
    package var pixels: [Int] = []
    /// The table that `--csv` writes, its head included.
    package var table = ""
    /// Annotations as `--coco` writes them, without their numbers; nil where none were asked for.
    package var annotations: [JSON]?

    package init() {}
  }

  /// Why a photo could not be done.
  package struct Failure: Equatable {
    /// `photo`, `sum`, `memory` or `time`.
    package var kind: String
    package var message: String

    package init(kind: String, message: String) { (self.kind, self.message) = (kind, message) }

    /// - Returns: nil for an error that is no photo's: the run ends with it.
    package init?(_ error: SegmentationError) {
      switch error.reason {
      case .photo: kind = "photo"
      case .memory: kind = "memory"
      case .time: kind = "time"
      default: return nil
      }
      message = error.description
    }

    /// A line about the photo, without its line break; `path` lets it stand in a list of photos.
    func line(of path: String) -> String {
      JSON.object([("failed", .string(kind)), ("path", .string(path)), ("message", .string(message))])
        .text(indent: -1)
    }

    /// 3 for a bad photo, 5 for one that was given too little.
    var exitCode: Int32 { kind == "memory" || kind == "time" ? 5 : 3 }
  }

  /// With the size and the digest that were found.
  package var photo: ListedPhoto
  package var outcome: Outcome

  package init(_ photo: ListedPhoto, _ outcome: Outcome) { (self.photo, self.outcome) = (photo, outcome) }

  /// One JSON object without line breaks.
  package var line: String {
    var members: [(String, JSON)] = [("line", .int(photo.line)), ("photo", .string(photo.path))]
    members.append(("bytes", photo.byteCount.map { .int($0) } ?? .null))
    members.append(("sha256", photo.sha256.map { .string($0) } ?? .null))
    switch outcome {
    case .failed(let failure):
      members += [("error", .string(failure.kind)), ("message", .string(failure.message))]
    case .done(let found):
      members += [
        ("width", .int(found.width)), ("height", .int(found.height)), ("seconds", .number(found.seconds)),
        ("peak_resident_bytes", .int(found.peakResident)), ("pixels", .array(found.pixels.map { .int($0) })),
        ("table", .string(found.table)),
      ]
      if let annotations = found.annotations { members.append(("annotations", .array(annotations))) }
    }
    return JSON.object(members).text(indent: -1)
  }

  /// Reads a line; nil where it is none.
  package init?(line: String) {
    guard let json = try? JSONReader.parse(Array(line.utf8)), case .int(let number)? = json.member("line"),
      case .string(let path)? = json.member("photo")
    else { return nil }
    photo = ListedPhoto(line: number, path: path)
    if case .int(let count)? = json.member("bytes") { photo.byteCount = count }
    if case .string(let sum)? = json.member("sha256") { photo.sha256 = sum }
    if case .string(let kind)? = json.member("error"), case .string(let message)? = json.member("message") {
      outcome = .failed(Failure(kind: kind, message: message))
      return
    }
    guard let found = Findings(json) else { return nil }
    outcome = .done(found)
  }
}

extension PhotoRecord.Findings {
  fileprivate init?(_ json: JSON) {
    guard case .int(let width)? = json.member("width"), case .int(let height)? = json.member("height"),
      case .int(let peak)? = json.member("peak_resident_bytes"),
      case .array(let pixels)? = json.member("pixels"), case .string(let table)? = json.member("table")
    else { return nil }
    (self.width, self.height, self.peakResident, self.table) = (width, height, peak, table)
    switch json.member("seconds") {
    case .number(let value)?: seconds = value
    case .int(let value)?: seconds = Double(value)
    default: return nil
    }
    for value in pixels {
      guard case .int(let count) = value, count >= 0 else { return nil }
      self.pixels.append(count)
    }
    if case .array(let list)? = json.member("annotations") { annotations = list }
  }
}

/// Counts of photos, by what became of them.
package struct RecordTally: Equatable {
  package private(set) var done = 0
  package private(set) var failures: [String: Int] = [:]
  /// Of each label: its pixels, and the photos that hold it.
  package private(set) var pixels: [Int] = []
  package private(set) var photos: [Int] = []
  package private(set) var seconds = 0.0
  package private(set) var peakResident = 0
  /// The last failure of each exit code.
  package private(set) var last: [Int32: PhotoRecord.Failure] = [:]

  package init(labelCount: Int) {
    pixels = Array(repeating: 0, count: labelCount)
    photos = pixels
  }

  package var failed: Int { failures.values.reduce(0, +) }

  package mutating func add(_ record: PhotoRecord) {
    switch record.outcome {
    case .failed(let failure):
      failures[failure.kind, default: 0] += 1
      last[failure.exitCode] = failure
    case .done(let found):
      done += 1
      seconds += found.seconds
      peakResident = max(peakResident, found.peakResident)
      for (label, count) in found.pixels.prefix(pixels.count).enumerated() where count > 0 {
        pixels[label] += count
        photos[label] += 1
      }
    }
  }

  var failuresJSON: JSON { .object(failures.sorted { $0.key < $1.key }.map { ($0.key, .int($0.value)) }) }

  func classesJSON(_ titles: [String]) -> JSON {
    let total = Double(max(1, pixels.reduce(0, +)))
    return .array(
      titles.indices.map { label in
        .object([
          ("id", .int(label)), ("name", .string(titles[label])), ("pixels", .int(pixels[label])),
          ("share", .number(Double(pixels[label]) / total)), ("photos", .int(photos[label])),
        ])
      })
  }
}
