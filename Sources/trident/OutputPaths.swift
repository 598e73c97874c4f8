// Where the results of each photo go, checked before anything is computed.
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The files of one photo; nil where one is not wanted.
struct PhotoOutputs {
  var map: String?
  /// Beside the map; a map on standard output has none.
  var legend: String?
  var overlay: String?
  var scores: String?

  var all: [String] { [map, legend, overlay, scores].compactMap { $0 } }
}

/// The photos of a command and the files of each.
struct OutputPaths {
  /// Photos as named, and those directly inside folders, by name.
  let photos: [String]
  /// Several photos or a folder: outputs name folders.
  let isMany: Bool
  /// The one output that `-` names goes to standard output, and nothing else may.
  let writesStandardOutput: Bool
  private let flags: OutputFlags

  /// `others`: files that the command reads beside photos; `drawing`: an SVG that it writes beside the photos' outputs.
  ///
  /// - Errors: `.usage` for no photo, a file where a folder is needed, outputs that would replace an input or each other
  ///   or are called what they are not.
  init(photos arguments: [String], others: [String], outputs: OutputFlags, drawing: String? = nil) throws {
    let (photos, hasFolder) = photoPaths(arguments)
    guard !photos.isEmpty else {
      throw SegmentationError(.usage("no photos found in \(arguments.joined(separator: ", "))"))
    }
    self.photos = photos
    isMany = photos.count > 1 || hasFolder
    flags = outputs
    let named = [outputs.output, outputs.overlay, outputs.scores].compactMap { $0 }
    writesStandardOutput = named.contains("-")
    if writesStandardOutput {
      let problem = isMany ? "takes one photo" : outputs.json ? "is taken by --json" : "is a terminal; redirect it"
      guard !isMany, !outputs.json, isatty(STDOUT_FILENO) == 0 else {
        throw SegmentationError(.usage("'-' as an output is standard output, which \(problem)"))
      }
    }
    if isMany, let file = named.first(where: { fileExists($0) && !isFolder($0) }) {
      throw SegmentationError(.usage("'\(file)' is a file; several photos need a folder"))
    }
    try checkNames()
    try check(inputs: photos + others, drawing: drawing)
  }

  /// The files of a photo.
  func files(of photo: String) -> PhotoOutputs {
    func place(_ named: String?, _ ending: String) -> String? {
      guard let named else { return nil }
      guard isFolderOutput(named) else { return named }
      return named + (named.hasSuffix("/") ? "" : "/") + baseName(photo) + ending
    }
    let map = place(flags.output, ".png")
    let legend = map.flatMap { $0 == "-" ? nil : ($0.hasSuffix(".png") ? String($0.dropLast(4)) : $0) + ".json" }
    return PhotoOutputs(map: map, legend: legend, overlay: place(flags.overlay, ".png"), scores: place(flags.scores, ".npy"))
  }

  /// Label maps go to a folder, where those of an earlier run may lie.
  var mapsAreInFolder: Bool { flags.output.map { isFolderOutput($0) } ?? false }

  /// Makes the folders that the outputs name.
  func makeFolders() throws {
    for named in [flags.output, flags.overlay, flags.scores].compactMap({ $0 }) where isFolderOutput(named) {
      try makeFolder(named)
    }
  }

  private func isFolderOutput(_ named: String) -> Bool { isMany || named.hasSuffix("/") || isFolder(named) }

  /// - Errors: `.usage` for two photos whose files would have one name.
  private func checkNames() throws {
    var photoOfName: [String: String] = [:]
    for path in photos where isMany && !files(of: path).all.isEmpty {
      guard let other = photoOfName.updateValue(path, forKey: baseName(path)) else { continue }
      throw SegmentationError(.usage("'\(other)' and '\(path)' would both become \(baseName(path)).png"))
    }
  }

  private func check(inputs: [String], drawing: String?) throws {
    var inputOfFile: [String: String] = [:]
    for path in inputs where path != "-" { inputOfFile[Self.identity(path)] = path }
    var seen: Set<String> = []
    for path in photos.flatMap({ files(of: $0).all }) + [drawing].compactMap({ $0 }) {
      let file = Self.identity(path)
      if let input = inputOfFile[file] {
        throw SegmentationError(.usage("the output '\(path)' would replace the input '\(input)'; name another"))
      }
      if !seen.insert(file).inserted {
        throw SegmentationError(.usage(path == "-" ? "'-' takes one output" : "two outputs would be the file '\(path)'"))
      }
    }
    if let drawing, !drawing.hasSuffix(".svg") {
      throw SegmentationError(.usage("'\(drawing)' would be an SVG; name it so"))
    }
    for photo in photos {
      let files = files(of: photo)
      for path in [files.map, files.overlay].compactMap({ $0 }) {
        if let ending = PhotoFile.endings.first(where: { $0 != ".png" && path.lowercased().hasSuffix($0) }) {
          throw SegmentationError(.usage("'\(path)' would be a PNG; name it so, not \(ending)"))
        }
      }
    }
  }

  /// The same text for two names of one file.
  private static func identity(_ path: String) -> String {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return path }
    return "\(status.st_dev):\(status.st_ino)"
  }
}
