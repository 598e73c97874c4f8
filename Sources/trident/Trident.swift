// The program `trident`: photo and class names in, label map out.
import ArgumentParser
import Compute
import Container
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@main
struct Trident: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trident",
    abstract: "Tells every pixel of a photo which of your words it belongs to.",
    discussion: """
      Needs a model file made by trident-quantize. A first run:

        trident segment --model models/demo/demo.gguf --class "dog; puppy" \\
          --class grass photo.jpg --output labels.png --overlay overlay.png

      Exit codes: 0 done, 2 usage, 3 photo, 4 model or checkpoint, 5 memory budget, \
      6 output.
      """,
    version: "trident \(Segmentation.Trident.version)",
    subcommands: [
      SegmentCommand.self, EvaluateCommand.self, TextCommand.self, PlanCommand.self, MeasureCommand.self, BenchCommand.self,
      InspectCommand.self, VerifyCommand.self, VersionCommand.self,
    ])

  /// Parses, runs, and turns errors into one line and an exit code.
  static func main() {
    prepareProcess()
    do {
      try checkCommand(CommandLine.arguments.dropFirst().first)
      // `--version -v` is `version`: which CPU paths are built, supported, chosen.
      let asked = Set(CommandLine.arguments.dropFirst())
      let wantsPaths = asked.contains("--version") && asked.isSubset(of: ["--version", "-v", "--verbose"]) && asked.count > 1
      var command = try parseAsRoot(wantsPaths ? ["version"] : nil)
      try command.run()
      // A closed pipe or a full disk behind standard output shows when the last of it is written.
      if fflush(nil) != 0 { throw SegmentationError(.output("standard output: \(String(cString: strerror(errno)))")) }
    } catch {
      leave(report(error))
    }
  }

  /// - Errors: `.usage` for a first word that is no subcommand; the parser would only call it unexpected.
  private static func checkCommand(_ word: String?) throws {
    guard let word, !word.hasPrefix("-") else { return }
    let known = configuration.subcommands.compactMap { $0.configuration.commandName }
    if known.contains(word) || word == "help" { return }
    throw SegmentationError(.usage("there is no command '\(word)'; commands: \(known.joined(separator: ", "))"))
  }

  /// Prints what went wrong; returns the exit code.
  static func report(_ error: any Error) -> Int32 {
    switch error {
    case let error as SegmentationError:
      complain(error.description)
      return error.exitCode
    case let error as ComputeError:
      complain(error.description)
      if case .pathUnavailable = error.reason { return 2 }
      return 5
    default:
      let code = exitCode(for: error).rawValue
      let text = fullMessage(for: error)
      if code == 0 {
        print(text)
        return 0
      }
      let named = text.hasPrefix("Error: ") ? "trident: error: " + String(text.dropFirst(7)) : text
      standardError(named + "\n")
      return code == ExitCode.validationFailure.rawValue || code == 64 ? 2 : code
    }
  }
}

/// Ends the process (named so because a command has an `exit` of its own).
func leave(_ code: Int32) -> Never { exit(code) }

/// Says what went wrong. Names in it may come from a stranger's file.
func complain(_ text: String) { standardError("trident: error: \(printable(text, limit: 4000))\n") }

/// Writes to standard error.
func standardError(_ text: String) {
  var text = text
  text.withUTF8 { bytes in
    var offset = 0
    while offset < bytes.count {
      let count = write(STDERR_FILENO, bytes.baseAddress! + offset, bytes.count - offset)
      if count <= 0 { return }
      offset += count
    }
  }
}

/// Prints the version and the CPU paths.
struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Version, and which CPU paths are built, supported and chosen.")

  func run() throws {
    print("trident \(Segmentation.Trident.version)")
    let chosen = try CPUPath.choose(forced: environment("TRIDENT_CPU"))
    for path in CPUPath.all {
      let state = path == chosen ? "chosen" : path.isSupported ? "supported" : path.isBuilt ? "built" : "not built here"
      print("  \(padded(path.name, 14)) \(state)")
    }
  }
}
