// Photos and words in, results by format out: what `trident segment` does.
import Segmentation
import System

/// The photos of one command, one after another.
package final class SegmentJob {
  private let job: PhotoJob
  private let paths: OutputPaths
  private let measures: Bool
  private let overwrites: Bool
  /// Of all photos, from the first one's start: words come before and have their own.
  private lazy var display = job.listener.progressDisplay()

  /// `overwrites`: in a folder, what is done is done again, and maps that anything else made are replaced.
  package init(_ job: PhotoJob, _ paths: OutputPaths, measures: Bool = false, overwrites: Bool = false) {
    (self.job, self.paths, self.measures, self.overwrites) = (job, paths, measures, overwrites)
  }

  /// Does all photos that are not done; hands over a report of each. `failed`: a photo of several that could
  /// not be done.
  ///
  /// - Errors: with several photos, those that are bad or do not fit in memory are told to the listener, and
  ///   the last error is thrown at the end, after `ended`. `.usage` for label maps that something else made,
  ///   before any work.
  package func run(
    each: (SegmentReport) throws -> Void,
    failed: (_ photo: String, SegmentationError) throws -> Void = { _, _ in },
    ended: (SegmentTally) throws -> Void = { _ in }
  ) throws {
    announce()
    try paths.makeFolders()
    let rest = try photosToDo()
    var tally = SegmentTally(
      photoCount: paths.photos.count, leftOut: paths.leftOut.fileCount, places: paths.places)
    tally.skipped = paths.photos.count - rest.count
    var last: SegmentationError?
    for (index, path) in rest.enumerated() {
      // Another process may work on the same folder.
      if earlier(path) == .done {
        tally.skipped += 1
        continue
      }
      do {
        let photo = try PhotoFile(path: path, ceilings: job.session.runtime.photoCeilings)
        let progress = progress(index, of: rest.count)
        let report: SegmentReport
        do {
          defer { if progress != nil { display?.finish() } }
          report = try job.run(
            photo, name: path, measures: measures, into: paths.sinks(of: path), progress: progress)
          warn(of: report)
        }
        try each(report)
        tally.done += 1
      } catch let error as SegmentationError where paths.isMany && [3, 5].contains(error.exitCode) {
        // Only a photo's own errors name it.
        let named = error.exitCode == 5 ? error.at(path: path) : error
        last = named
        tally.failed += 1
        job.listener.fail(named)
        try failed(path, named)
      }
    }
    if paths.isMany { try ended(tally) }
    guard let last else { return }
    let text =
      "\(tally.failed) of \(tally.photoCount) photos could not be segmented; the last: \(last.description)"
    throw last.exitCode == 5 ? last : SegmentationError(.photo(text))
  }

  /// Says what classes and options will not do as one may expect, and what is left out.
  private func announce() {
    if job.words.count == 1 && mustChoose {
      job.listener.note(
        "warning: with one class every pixel belongs to it; name what else the photos show, too"
          + (canAskRelevancy ? ", or let --absent relevancy say where it is not" : ""))
    }
    if !job.words.named.isAsked {
      let word = job.words.count == 1 ? "the word does not fit" : "neither word fits"
      job.listener.note(
        "pixels that \(word) are 'unknown', label \(job.words.count); --absent keep gives every pixel a word")
    }
    if job.options.probabilityThreshold > 1 / Float(job.words.named.all.count) && mustChoose {
      job.listener.note(
        "warning: pixels below --probability-threshold get the first class, "
          + "'\(printable(job.words.classes.titles[0], limit: 100))'; --background puts one of its own "
          + "there, --unknown-threshold leaves them without")
    }
    if job.options.areaThreshold >= 0 && !job.words.classes.background {
      job.listener.note(
        "warning: --area-threshold never drops the first class, "
          + "'\(printable(job.words.classes.titles[0], limit: 100))'; --background puts one of its own there")
    }
    if !paths.leftOut.text.isEmpty { job.listener.note("left out: \(paths.leftOut.text)") }
  }

  /// Shows how far one photo of several is; nil: nobody looks.
  private func progress(_ index: Int, of count: Int) -> ((_ stage: String, _ fraction: Double) -> Void)? {
    guard job.listener.showsProgress else { return nil }
    return { [self] stage, fraction in
      let stage = count > 1 ? "photo \(index + 1) of \(count), \(stage)" : stage
      display?.show(stage, (Double(index) + fraction) / Double(count), detail: "")
    }
  }

  /// Every pixel gets one of the classes, whatever the photo shows: no rule of absence leaves fewer than one.
  private var mustChoose: Bool {
    let (words, phrases) = (job.words, job.words.named.all.count)
    // The best of n phrases has at least 1 / n; one alone has 1.
    let refuses = phrases > 1 && job.options.unknownThreshold > 1 / Float(phrases)
    return words.named.negatives.isEmpty && !refuses && !words.classes.background && !words.isPresenceTold
  }

  /// Whether `--absent relevancy` would be taken.
  private var canAskRelevancy: Bool {
    [.trident, .scCLIP].contains(job.options.method) && !job.words.isStored
  }

  /// Two or three words of which one has nearly all: it may be there, or neither is.
  private func warn(of report: SegmentReport) {
    let pixels = report.run.refinement.pixels
    let count = pixels.reduce(0, +)
    guard (2...3).contains(job.words.count), mustChoose, let most = pixels.max(), most * 20 > count * 19,
      let winner = pixels.firstIndex(of: most), winner < job.words.count
    else { return }
    let name = printable(job.words.classes.titles[winner], limit: 100)
    job.listener.note(
      "warning: '\(name)' got \(fixed(100 * Double(most) / Double(count), 0)) % of the pixels; with "
        + "\(job.words.count) words the best of them wins everywhere, also where none is: "
        + (canAskRelevancy ? "try --absent relevancy, or " : "") + "name what else the photo shows"
        + (job.words.isStored
          ? ", or put phrases of no class into the vocabulary: 'trident text --negative'" : ""))
  }

  /// What an earlier run left of a photo.
  private enum Earlier { case nothing, done, other }

  private func earlier(_ photo: String) -> Earlier {
    let files = paths.files(of: photo)
    guard !overwrites, let legend = paths.legendInFolder(of: photo), let map = paths.map(of: photo),
      fileExists(map), let text = try? FileBytes.read(legend, limit: 1 << 28),
      let sha256 = try? contentDigest(photo)
    else { return .nothing }
    if !text.starts(with: SegmentReport.firstLines(of: job, sha256: sha256).utf8) { return .other }
    return files.allSatisfy(fileExists) ? .done : .nothing
  }

  /// Photos that are not done yet.
  private func photosToDo() throws(SegmentationError) -> [String] {
    let found = paths.photos.map { (photo: $0, earlier: earlier($0)) }
    let others = found.filter { $0.earlier == .other }
    if let map = others.first.flatMap({ paths.map(of: $0.photo) }) {
      let more = others.count > 1 ? " and \(others.count - 1) more were" : " was"
      throw SegmentationError(
        .usage(
          "'\(map)'\(more) made with another photo, model, classes or options; "
            + "--overwrite replaces what is there, another --output keeps it"))
    }
    let rest = found.filter { $0.earlier == .nothing }.map(\.photo)
    if rest.count < found.count {
      job.listener.note(
        "\(found.count - rest.count) of \(found.count) photos are done already; --overwrite does them again")
    }
    return rest
  }
}

/// What became of several photos.
package struct SegmentTally: Sendable {
  package let photoCount: Int
  /// Files of folders that are no photos.
  package let leftOut: Int
  /// Where results are.
  let places: String
  package fileprivate(set) var done = 0
  /// Done by an earlier run, or by another one meanwhile.
  package fileprivate(set) var skipped = 0
  package fileprivate(set) var failed = 0

  init(photoCount: Int, leftOut: Int, places: String) {
    (self.photoCount, self.leftOut, self.places) = (photoCount, leftOut, places)
  }

  /// One line for people.
  package var text: String {
    var text = "\(photoCount) photos: \(done) done, \(skipped) skipped (done before), \(failed) failed"
    if leftOut > 0 { text += "; \(leftOut) other file\(leftOut == 1 ? "" : "s") left out" }
    return places.isEmpty ? text : text + " -> " + places
  }

  package var json: JSON {
    .object([
      ("photos", .int(photoCount)), ("done", .int(done)), ("skipped", .int(skipped)),
      ("failed", .int(failed)), ("left_out", .int(leftOut)),
    ])
  }
}

extension SegmentationError {
  /// A photo that could not be done, for who reads a line a photo.
  package func json(photo: String) -> JSON {
    .object([("photo", .string(photo)), ("error", .string(description)), ("exit_code", .int(Int(exitCode)))])
  }
}
