// Where the results of each photo go, checked before anything is computed.
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One format that was asked for, and the file or folder that was named for it.
package struct OutputTarget: Sendable {
  package let format: ResultFormat
  package let named: String

  package init(_ format: ResultFormat, _ named: String) { (self.format, self.named) = (format, named) }

  /// What writes to the named place, taken as a file.
  package var sinks: [any ResultSink] { format.sinks(named) }
}

/// The photos of a job and the files of each.
package struct OutputPaths: Sendable {
  /// Photos as named, and those inside folders, by name.
  package let photos: [String]
  /// What folders hold besides photos.
  package let leftOut: LeftOut
  /// Several photos or a folder: outputs name folders.
  package let isMany: Bool
  /// The one output that `-` names goes to standard output, and nothing else may.
  package let writesStandardOutput: Bool
  private let targets: [OutputTarget]
  /// What the results of each photo are called, where outputs are folders.
  private let names: [String: String]

  /// `recursive`: photos in folders inside folders, too.
  ///
  /// `others`: files that the job reads beside photos; `drawing`: an SVG that it writes beside the photos'
  /// outputs; `printsJSON`: standard output is taken; `overwrites`: files that this program did not make may
  /// go.
  ///
  /// - Errors: `.usage` for no photo, a file where a folder is needed, outputs that would replace an input,
  ///   each other or anything that this program did not make, or are called what they are not.
  package init(
    photos arguments: [String], recursive: Bool = false, others: [String], targets: [OutputTarget],
    printsJSON: Bool = false, drawing: String? = nil, overwrites: Bool = false
  ) throws(SegmentationError) {
    var list = PhotoList(arguments, recursive: recursive, except: targets.map(\.named))
    guard !list.photos.isEmpty else {
      let found = list.leftOut.text.isEmpty ? "" : "; there is " + list.leftOut.text
      throw SegmentationError(.usage("no photos found in \(arguments.joined(separator: ", "))" + found))
    }
    isMany = list.photos.count > 1 || list.hasFolder
    if !targets.isEmpty { list.dropRepeated() }
    photos = list.photos
    leftOut = list.leftOut
    names = isMany ? Dictionary(zip(list.photos, list.names)) { first, _ in first } : [:]
    self.targets = targets
    writesStandardOutput = targets.contains { $0.named == "-" }
    if writesStandardOutput {
      let problem =
        isMany ? "takes one photo" : printsJSON ? "is taken by --json" : "is a terminal; redirect it"
      guard !isMany, !printsJSON, isatty(STDOUT_FILENO) == 0 else {
        throw SegmentationError(.usage("'-' as an output is standard output, which \(problem)"))
      }
    }
    if targets.contains(where: { $0.named == "-" && ($0.format.ending.isEmpty || $0.format.isAlwaysFolder) })
    {
      throw SegmentationError(.usage("'-' as an output is standard output, which is no folder"))
    }
    let folders = targets.filter { isMany || $0.format.isAlwaysFolder }
    if let file = folders.first(where: { fileExists($0.named) && !isFolder($0.named) })?.named {
      throw SegmentationError(
        .usage("'\(file)' is a file; " + (isMany ? "several photos need a folder" : "name a folder")))
    }
    try checkFolders()
    try check(inputs: photos + others, drawing: drawing, overwrites: overwrites)
  }

  /// The file of a photo in one format.
  private func path(_ target: OutputTarget, _ photo: String) -> String {
    let isFolder = target.format.ending.isEmpty ? isMany : isFolderOutput(target)
    guard isFolder else { return target.named }
    return target.named + (target.named.hasSuffix("/") ? "" : "/") + (names[photo] ?? baseName(photo))
      + target.format.ending
  }

  /// All files of a photo.
  package func files(of photo: String) -> [String] { targets.flatMap { $0.format.files(path($0, photo)) } }

  /// What writes the files of a photo.
  func sinks(of photo: String) -> [any ResultSink] { targets.flatMap { $0.format.sinks(path($0, photo)) } }

  /// The label map of a photo.
  package func map(of photo: String) -> String? { mapTarget.map { path($0, photo) } }

  /// The legend of a photo whose label map goes to a folder, where those of an earlier run may lie.
  func legendInFolder(of photo: String) -> String? {
    guard let target = mapTarget, isFolderOutput(target) else { return nil }
    return target.format.files(path(target, photo)).last
  }

  private var mapTarget: OutputTarget? { targets.first { $0.format.name == ResultFormat.labelMap.name } }

  /// Makes the folders that the outputs name, and those inside them that photos lie in.
  func makeFolders() throws(SegmentationError) {
    let inner = Set(names.values.map { folder(of: $0) }).filter { !$0.isEmpty }
    for target in targets where isFolderOutput(target) {
      do throws(SystemError) {
        try Folder.make(target.named)
        for place in inner where isMany { try Folder.makeAll(target.named + "/" + place) }
      } catch {
        throw SegmentationError(.output(error.description))
      }
    }
  }

  /// The places that were named, for people.
  package var places: String { targets.map { printable($0.named, limit: 400) }.joined(separator: ", ") }

  private func isFolderOutput(_ target: OutputTarget) -> Bool {
    isMany || target.format.isAlwaysFolder || target.named.hasSuffix("/") || isFolder(target.named)
  }

  /// - Errors: `.usage` for a folder that would be made under a name that files have.
  private func checkFolders() throws(SegmentationError) {
    let pictures = PhotoFile.endings + [".gif", ".bmp", ".heic", ".avif"]
    for target in targets where isFolderOutput(target) && !fileExists(target.named) {
      let own = target.format.isAlwaysFolder || target.format.ending.isEmpty ? [] : [target.format.ending]
      let name = fileName(of: target.named).lowercased()
      guard let ending = (pictures + own).first(where: { name.hasSuffix($0) }) else { continue }
      let reason = isMany ? ", because there are several photos" : ""
      throw SegmentationError(
        .usage("'\(target.named)' would be a folder\(reason); name one that does not end in \(ending)"))
    }
  }

  private func check(
    inputs: [String], drawing: String?, overwrites: Bool
  ) throws(SegmentationError) {
    var files = JobFiles(reading: inputs)
    for photo in photos {
      for target in targets {
        // Taps are for who works on this program.
        let overwrites = overwrites || target.format.name == ResultFormat.taps.name
        for path in target.format.files(path(target, photo)) { try files.write(path, overwrites: overwrites) }
      }
    }
    if let drawing { try files.write(drawing, overwrites: overwrites) }
    if let drawing, !drawing.hasSuffix(".svg") {
      throw SegmentationError(.usage("'\(drawing)' would be an SVG; name it so"))
    }
    for target in targets where target.format.ending == ".png" {
      for path in photos.map({ path(target, $0) }) {
        if target.format.name == ResultFormat.overlay.name && OverlaySink.isJPEG(path) { continue }
        let others = PhotoFile.endings.filter { $0 != ".png" && !target.format.otherEndings.contains($0) }
        if let ending = others.first(where: { path.lowercased().hasSuffix($0) }) {
          throw SegmentationError(.usage("'\(path)' would be a PNG; name it so, not \(ending)"))
        }
      }
    }
  }
}
