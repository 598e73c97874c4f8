// Published checkpoints in, a model file out: what `trident pull` does.
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Fetches what a name stands for, and quantizes where `trident-quantize` is at hand.
package final class PullJob {
  /// What a user may say.
  package struct Request: Sendable {
    /// In the place of `$XDG_DATA_HOME/trident`.
    package var folder: String?
    /// Address of a folder that holds the files by their names, instead of the publishers'.
    package var mirror: String?
    /// What a single file's SHA-256 must be.
    package var sha256: String?
    /// The model becomes the usual one, also where there is one.
    package var becomesUsual = false

    package init() {}
  }

  private let request: Request
  private let folder: ModelFolder
  private let listener: any JobListener

  /// - Errors: `.usage` for a sum or an address that is none, or where no folder is known.
  package init(
    _ request: Request, listener: any JobListener = SilentListener()
  ) throws(SegmentationError) {
    (self.request, self.listener) = (request, listener)
    if let path = request.folder {
      folder = ModelFolder(path: path)
    } else if let usual = ModelFolder() {
      folder = usual
    } else {
      throw SegmentationError(.usage("neither XDG_DATA_HOME nor HOME names a folder; give --folder"))
    }
    if let sum = request.sha256, sum.utf8.count != 64 || !sum.allSatisfy(\.isHexDigit) {
      throw SegmentationError(.usage("--sha256 is '\(sum)', not 64 hexadecimal digits"))
    }
    let kinds = ["https://", "http://", "file://"]
    if let mirror = request.mirror, !kinds.contains(where: { mirror.lowercased().hasPrefix($0) }) {
      throw SegmentationError(.usage("--from is '\(mirror)', not an address that begins with https://"))
    }
  }

  /// Everything that has a name, and what of it is here; lines for people.
  package var list: String {
    let usual = folder.usualName
    let models = Catalogue.models.map { model -> String in
      let bytes = model.parts.reduce(0) { $0 + $1.file.about }
      let state = !fileExists(folder.model(model.name)) ? "" : model.name == usual ? "here, usual" : "here"
      return padded(model.name, 21) + padded(Self.size(bytes), 9, right: true) + "  "
        + (state.isEmpty ? model.purpose : padded(model.purpose, 40) + state)
    }
    let files = Catalogue.files.map { file -> String in
      let state = fileExists(folder.checkpoints + "/" + file.file) ? "  (here)" : ""
      return padded(file.name, 21) + padded(Self.size(file.about), 9, right: true) + "  " + file.licence
        + state
    }
    return "Models (download, then quantized):\n" + models.joined(separator: "\n") + "\n\nCheckpoints:\n"
      + files.joined(separator: "\n") + "\n\nIn \(folder.path)"
  }

  private static func size(_ bytes: Int) -> String {
    bytes < 100_000_000 ? "\(fixed(Double(bytes) / 1e6, 1)) MB" : "\(fixed(Double(bytes) / 1e9, 2)) GB"
  }

  /// Fetches a model or a checkpoint; returns what is there now, for people.
  ///
  /// - Errors: `.usage` for a name that nothing has, those of `Download`; `.model` where
  ///   `trident-quantize` refuses.
  package func run(_ name: String) throws(SegmentationError) -> String {
    signal(SIGPIPE, SIG_IGN)
    if let model = Catalogue.models.first(where: { $0.name == name }) { return try run(model) }
    guard let file = Catalogue.files.first(where: { $0.name == name }) else {
      let names = Catalogue.models.map(\.name) + Catalogue.files.map(\.name)
      throw SegmentationError(
        .usage("there is nothing called '\(name)' to pull; there are: \(names.joined(separator: ", "))"))
    }
    return try fetch([file]).joined(separator: "\n")
  }

  private func run(_ model: PublishedModel) throws(SegmentationError) -> String {
    if request.sha256 != nil {
      throw SegmentationError(.usage("--sha256 is for one file; '\(model.name)' is made of several"))
    }
    var lines = try fetch(model.parts.map(\.file))
    let target = folder.model(model.name)
    let arguments =
      model.parts.flatMap { [$0.flag, "\(folder.checkpoints)/\($0.file.file)"] } + model.arguments
      + ["--output", target]
    guard let program = Self.quantizer else {
      lines.append(
        "trident-quantize is not installed here; where it is: trident-quantize "
          + arguments.joined(separator: " "))
      return lines.joined(separator: "\n")
    }
    try make(folder.models)
    if fileExists(target) {
      lines.append("\(target): there already")
    } else {
      listener.note("quantizing: \(model.name)")
      try quantize(program, arguments)
      lines.append("-> \(target)")
    }
    // `segment` looks for the usual one in the usual folder alone.
    let isSearched = folder.path == ModelFolder()?.path
    if model.segments, isSearched, request.becomesUsual || folder.usual == nil {
      try folder.makeUsual(model.name)
    }
    if isSearched && folder.usualName == model.name {
      lines.append("the usual model: trident segment --class cat photo.jpg --output labels.png")
    }
    return lines.joined(separator: "\n")
  }

  private func make(_ path: String) throws(SegmentationError) {
    do throws(SystemError) { try Folder.makeAll(path) } catch {
      throw SegmentationError(.output(error.description))
    }
  }

  private func fetch(_ files: [PublishedFile]) throws(SegmentationError) -> [String] {
    let curl: Curl
    do throws(SystemError) { curl = try Curl(agent: "trident/\(Trident.version)") } catch {
      throw SegmentationError(.output(error.description))
    }
    for file in files {
      let from = request.mirror ?? file.address
      listener.note("\(file.name): \(Self.size(file.about)) from \(from), licence \(file.licence)")
    }
    var lines: [String] = []
    for file in files {
      let target = "\(folder.checkpoints)/\(file.file)"
      try make(System.folder(of: target))
      let address = request.mirror.map { $0 + ($0.hasSuffix("/") ? "" : "/") + file.file } ?? file.address
      let wanted = request.sha256?.lowercased() ?? file.sha256
      let (sum, wasThere) = try Download(
        address: address, target: target, sha256: wanted, listener: listener
      ).run(curl)
      let checked = wanted == nil ? "SHA-256 \(sum); its publisher states none" : "SHA-256 as published"
      lines.append(
        "\(target): \(wasThere ? "there already" : "fetched"), \(checked), licence \(file.licence)")
    }
    return lines
  }

  /// `trident-quantize` beside this program, or on the PATH.
  private static var quantizer: String? {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    var folders: [String] = []
    if count > 0 {
      let program = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
      folders.append(System.folder(of: program))
    }
    folders += (environment("PATH") ?? "").split(separator: ":").map { $0 + "/" }
    return folders.map { $0 + "trident-quantize" }.first { access($0, X_OK) == 0 && !isFolder($0) }
  }

  /// - Errors: `.model` where it ends with anything but 0; it has said why.
  private func quantize(_ program: String, _ arguments: [String]) throws(SegmentationError) {
    let hasEnded: Bool
    do throws(SystemError) {
      hasEnded = try runProgram(program, arguments + (listener.showsProgress ? [] : ["--quiet"]))
    } catch { throw SegmentationError(.output(error.description)) }
    guard hasEnded else {
      throw SegmentationError(
        .model("trident-quantize refused what was fetched; it is in \(folder.checkpoints)"))
    }
  }
}
