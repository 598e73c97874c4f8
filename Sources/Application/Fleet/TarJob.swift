// Photos in a tar archive in, their results in another out: what `trident segment --tar` does.
import Segmentation
import System

/// Segments the photos of a WebDataset archive as they come by.
///
/// Members whose names are alike up to the first dot behind the last slash, their key, are one sample. Its
/// photo is the first member whose name goes on with an ending of photos and nothing else (`.jpg`); results
/// have its key. The archive that is written begins with `__trident__`, which says what made it; a photo that
/// could not be done leaves `KEY.failed.json`.
///
/// - Memory: what one photo takes, its file and its results, at most 256 MiB each; archives of any size.
/// - Errors: a photo that is bad or does not fit is told to the listener, and damaged spots of the archive
///   are; the rest is done. Everything else ends the run, and no archive appears.
package final class TarJob {
  static let first = "__trident__"
  static let statisticsBeginning = "{\n  \"trident_archive\": 1,"
  /// In front of results' names: a place where no file can be, so that all else that is written meanwhile
  /// goes where it belongs.
  private static let prefix = "/dev/null/"
  /// Of a photo's file.
  private static let photoLimit = 256 << 20

  package struct Request: Sendable {
    /// `-` for standard input and output.
    package var input = ""
    package var output = ""
    package var formats: [ResultFormat] = []
    /// Done again also if it is there.
    package var overwrites = false
    /// What else the run reads.
    package var inputs: [String] = []

    package init() {}
  }

  private let job: PhotoJob
  private let request: Request
  private let each: (SegmentReport) throws -> Void
  package private(set) var tally: RecordTally
  /// Spots of the archive that are no members, and members cut short.
  package private(set) var damaged = 0

  /// Formats that can be members: a file a photo, which no other file must lie beside.
  ///
  /// - Errors: `.usage` for one that cannot, one that is named twice, and none.
  package static func formats(_ names: String) throws(SegmentationError) -> [ResultFormat] {
    var formats: [ResultFormat] = []
    for name in names.split(separator: ",") {
      let usual = ResultFormat.all.filter {
        !$0.ending.isEmpty && !["yolo", "gdal", "taps"].contains($0.name)
      }
      guard let format = usual.first(where: { $0.name == name }) else {
        throw SegmentationError(
          .usage("'\(name)' is none of \(usual.map(\.name).joined(separator: ", "))"), field: "--tar-formats")
      }
      formats.append(format)
    }
    guard !formats.isEmpty, Set(formats.map(\.name)).count == formats.count else {
      throw SegmentationError(.usage("'\(names)' names nothing, or one twice"), field: "--tar-formats")
    }
    return formats
  }

  /// - Errors: `.usage` for outputs that would replace an input or what this program did not make.
  package init(
    _ job: PhotoJob, _ request: Request, each: @escaping (SegmentReport) throws -> Void = { _ in }
  ) throws(SegmentationError) {
    (self.job, self.request, self.each) = (job, request, each)
    tally = RecordTally(labelCount: job.titles.count)
    var files = JobFiles(reading: request.inputs + [request.input])
    try files.write(request.output, overwrites: request.overwrites)
    if let path = statisticsPath { try files.write(path, overwrites: request.overwrites) }
  }

  /// Beside the archive, written last: an archive that has it is whole.
  private var statisticsPath: String? {
    guard request.output != "-" else { return nil }
    let path = request.output
    return (path.hasSuffix(".tar") ? String(path.dropLast(4)) : path) + "_stats.json"
  }

  /// Does the whole archive.
  ///
  /// - Returns: false where an earlier run has done it: the same bytes in, model, words and options.
  package func run() throws -> Bool {
    try job.session.proveIdentity()
    if !request.overwrites && isDone() { return false }
    let reader: TarReader
    do throws(SystemError) { reader = try TarReader(path: request.input) } catch {
      throw SegmentationError(.photo(error.description))
    }
    try namingOutput {
      let writer = try TarWriter(path: request.output)
      AtomicFile.receiver = (Self.prefix, writer)
      defer { AtomicFile.receiver = nil }
      try writer.add(Self.first, Array((JSON.object(origin).text() + "\n").utf8))
      try forEachPhoto(reader) { key, name, bytes in
        try segment(key, name, bytes, writer)
      }
      try writer.finish()
      let statistics = json(reader, writer)
      if let path = statisticsPath {
        try FileBytes.replace(path, with: Array((statistics.text() + "\n").utf8))
      }
    }
    return true
  }

  /// A photo's bytes, or why there are none.
  private typealias Content = Result<AtomicFile, SegmentationError>

  /// Hands over the photo of every sample.
  private func forEachPhoto(
    _ reader: TarReader, _ body: (_ key: String, _ name: String, _ bytes: Content) throws -> Void
  ) throws {
    var done: String?
    while true {
      let event: TarReader.Event?
      do throws(SystemError) { event = try reader.next() } catch {
        throw error.isPassing
          ? SegmentationError(.output(error.description)) : .init(.photo(error.description))
      }
      switch event {
      case nil: return
      case .damage(let offset, let byteCount):
        damaged += 1
        job.listener.fail(
          SegmentationError(
            .photo("\(byteCount) bytes from byte \(offset) on are no member; the rest is done"),
            path: reader.path))
      case .member(let name, let byteCount):
        guard let key = Self.key(ofPhoto: name), key != done else { continue }
        done = key
        try body(key, name, content(reader, name, byteCount))
      }
    }
  }

  /// The key of a member that is a photo.
  static func key(ofPhoto name: String) -> String? {
    let file = fileName(of: name)
    guard let dot = file.firstIndex(of: "."), dot != file.startIndex,
      PhotoFile.endings.contains(file[dot...].lowercased())
    else { return nil }
    return folder(of: name) + file[..<dot]
  }

  /// Label map and legend have the plain endings; what shares one with them says what it is.
  private static func ending(_ format: ResultFormat) -> String {
    let isPlain = format.name == ResultFormat.labelMap.name || ![".png", ".json"].contains(format.ending)
    return (isPlain ? "" : "." + format.name) + format.ending
  }

  private func content(_ reader: TarReader, _ name: String, _ byteCount: Int) -> Content {
    func bad(_ text: String) -> Content { .failure(SegmentationError(.photo(text), path: name)) }
    if byteCount > Self.photoLimit { return bad("\(byteCount) bytes, at most \(Self.photoLimit) are taken") }
    if byteCount == 0 { return bad("is empty") }
    do throws(SystemError) {
      let file = try AtomicFile(inMemory: name)
      try reader.read { (piece) throws(SystemError) in try file.write(piece) }
      return .success(file)
    } catch {
      damaged += 1
      return bad(error.reason.description)
    }
  }

  private func segment(_ key: String, _ name: String, _ bytes: Content, _ writer: TarWriter) throws {
    do {
      let file = try bytes.get()
      let path = "/proc/self/fd/\(file.openDescriptor)"
      let photo: PhotoFile
      do throws(SegmentationError) {
        photo = try PhotoFile(path: path, ceilings: job.session.runtime.photoCeilings)
      } catch {
        let text = error.description
        throw SegmentationError(
          .photo(text.hasPrefix(path) ? name + text.dropFirst(path.count) : "\(name): \(text)"))
      }
      let record = RecordSink(wantsAnnotations: false)
      let sinks = request.formats.flatMap { $0.sinks(Self.prefix + key + Self.ending($0)) } + [record]
      let display = job.listener.showsProgress ? job.listener.progressDisplay() : nil
      defer { display?.finish() }
      let report = try job.run(
        photo, name: request.input + "/" + name, into: sinks,
        progress: display.map { display in { display.show("\(name), \($0)", $1, detail: "") } })
      tally.add(PhotoRecord(ListedPhoto(line: 0, path: name), .done(record.findings)))
      try each(report)
    } catch let error as SegmentationError {
      guard let failure = PhotoRecord.Failure(error) else { throw error }
      job.listener.fail(error)
      tally.add(PhotoRecord(ListedPhoto(line: 0, path: name), .failed(failure)))
      try writer.add(key + ".failed.json", Array((failure.line(of: name) + "\n").utf8))
    }
  }

  // MARK: what made it

  private var origin: [(String, JSON)] {
    [
      ("version", .string(Trident.version)), ("model_id", .string(job.session.modelIdentity)),
      ("settings", .string(job.settings)),
      ("formats", .array(request.formats.map { .string($0.name) })),
    ]
  }

  private func json(_ reader: TarReader, _ writer: TarWriter) -> JSON {
    return .object(
      [("trident_archive", .int(1))] + origin + [
        ("input", .string(request.input)), ("input_bytes", .int(reader.byteCount)),
        ("input_sha256", .string(reader.sha256Hex)), ("output_bytes", .int(writer.byteCount)),
        ("output_sha256", .string(writer.sha256Hex)), ("done", .int(tally.done)),
        ("failed", .int(tally.failed)), ("failures", tally.failuresJSON), ("damaged", .int(damaged)),
        ("seconds", .number(tally.seconds)), ("peak_resident_bytes", .int(tally.peakResident)),
        ("options", job.options.json), ("classes", tally.classesJSON(job.titles)),
      ])
  }

  /// Whether the archive that is there is what this run would write.
  private func isDone() -> Bool {
    guard let path = statisticsPath, let bytes = try? FileBytes.read(path, limit: 1 << 28),
      let json = try? JSONReader.parse(bytes), fileSize(request.output) != nil, request.input != "-"
    else { return false }
    for (key, value) in origin {
      guard let other = json.member(key), other.text(indent: -1) == value.text(indent: -1) else {
        return false
      }
    }
    guard case .string(let input)? = json.member("input_sha256"),
      case .string(let output)? = json.member("output_sha256")
    else { return false }
    return (try? contentDigest(request.input)) == input && (try? contentDigest(request.output)) == output
  }
}
