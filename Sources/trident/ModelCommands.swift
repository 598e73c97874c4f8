// `trident inspect`, `verify` and `version`: what a model file holds, whether it is whole, and which
// program this is.
import Application
import ArgumentParser
import Compute
import Segmentation
import System

/// A model file as an argument, as in every other command, or in TRIDENT_MODEL.
struct ModelFlags: ParsableArguments {
  @Argument(help: "Model file made by trident-quantize.", completion: .file()) var file: String?
  @Option(
    name: [.customShort("m"), .customLong("model")], help: "The same (also TRIDENT_MODEL).",
    completion: .file())
  var named: String?

  /// What was named; nil for nothing.
  func given() throws -> String? {
    guard file == nil || named == nil else {
      throw SegmentationError(.usage("name one model file: '\(file ?? "")' or '\(named ?? "")'"))
    }
    return file ?? named
  }

  func path() throws -> String { try modelPath(try given()) }
}

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract:
      "Lists configuration, tensors, sizes and provenance of a model file, or the words of a vocabulary.")

  @OptionGroup var model: ModelFlags

  @Flag(help: "One JSON object on standard output.") var json = false

  @Flag(help: "List every tensor.") var tensors = false

  func run() throws {
    if let path = try model.given(), VocabularyListing.isVocabulary(path) {
      let listing = try VocabularyListing(path)
      print(json ? listing.json.text() : listing.text)
      return
    }
    let listing = try ModelListing(try model.path())
    print(json ? listing.json.text() : listing.text(lists: tensors))
  }
}

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Checks every checksum of a model file, and that it is the model it says it is.")

  @OptionGroup var model: ModelFlags

  @Flag(help: "One JSON object on standard output.") var json = false

  @Flag(name: .shortAndLong, help: "No progress.") var quiet = false

  func run() throws {
    let path = try model.path()
    let listing = try ModelListing(path)
    try listing.verify(Console(quiet: quiet).progressDisplay())
    print(
      json
        ? listing.verified.text()
        : "\(path): \(listing.tensorCount) tensors, all checksums and the identity agree")
  }
}

/// Prints the version, the CPU paths, and which model is named.
struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Version, and which CPU paths are built, supported and chosen.",
    discussion:
      "With --model or TRIDENT_MODEL also that file's name and id; with -v the libraries of single jobs.")

  @Option(name: .shortAndLong, help: "Model file (also TRIDENT_MODEL).", completion: .file()) var model:
    String?

  @Flag(help: "One JSON object on standard output.") var json = false

  @Flag(name: .shortAndLong, help: "Also which libraries of single jobs are there.") var verbose = false

  /// Each library and the file it was found as, nil where it is missing.
  private var libraries: [(library: OptionalLibrary, file: String?)] {
    guard verbose else { return [] }
    return OptionalLibrary.all.map { ($0, try? $0.open().file) }
  }

  func run() throws {
    let chosen = try CPUPath.choose(forced: environment("TRIDENT_CPU"))
    let paths = CPUPath.all.map { path in
      let state =
        path == chosen ? "chosen" : path.isSupported ? "supported" : path.isBuilt ? "built" : "not built here"
      return (name: path.name, state: state)
    }
    let named = model ?? environment("TRIDENT_MODEL").flatMap { $0.isEmpty ? nil : $0 }
    let identity = try named.map { try ModelListing(modelPath($0)).identity }
    if json {
      var fields: [(String, JSON)] = [("version", .string(Segmentation.Trident.version))]
      fields.append(("cpu_paths", .object(paths.map { ($0.name, .string($0.state)) })))
      if let named, let identity {
        fields += [("model", .string(named)), ("model_id", .string(identity))]
      }
      if verbose {
        let found = libraries.map { ($0.library.name, $0.file.map { JSON.string($0) } ?? .null) }
        fields.append(("libraries", .object(found)))
      }
      print(JSON.object(fields).text())
      return
    }
    print("trident \(Segmentation.Trident.version)")
    for path in paths { print("  \(padded(path.name, 14)) \(path.state)") }
    for (library, file) in libraries {
      let state = file ?? "missing; apt install \(library.package)"
      print("  \(padded(library.name, 14)) \(padded(library.purpose, 20)) \(state)")
    }
    if let named, let identity { print("  model \(printable(named, limit: 400)), id \(identity)") }
  }
}
