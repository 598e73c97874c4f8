// The program `trident`: photo and class names in, label map out.
import Application
import ArgumentParser
import Compute
import Segmentation
import System

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
      6 output. To a scheduler 2, 4 and 5 are final, 3 is to be recorded, 6 to be tried \
      again (docs/scale.md).

      A command's --help shows what is used daily, --help-all every option.
      """,
    version: "trident \(Segmentation.Trident.version)",
    subcommands: [
      SegmentCommand.self, MergeCommand.self, EvaluateCommand.self, TextCommand.self, MatchCommand.self,
      TuneCommand.self, PlanCommand.self,
      MeasureCommand.self,
      BenchCommand.self, PullCommand.self, WatchCommand.self, ServeCommand.self,
      InspectCommand.self, VerifyCommand.self, VersionCommand.self,
    ])

  /// Parses, runs, and turns errors into one line and an exit code.
  static func main() {
    prepareProcess()
    do {
      try checkArguments()
      try checkCommand(programArguments.first)
      // `--version -v` is `version -v`: which CPU paths are chosen, which libraries are there.
      let asked = Set(programArguments)
      let wantsPaths =
        asked.contains("--version") && asked.isSubset(of: ["--version", "-v", "--verbose"]) && asked.count > 1
      let arguments = programArguments.map { $0 == "--help-all" ? "--help-hidden" : $0 }
      var command = try parseAsRoot(wantsPaths ? ["version", "-v"] : arguments)
      try command.run()
      // A closed pipe or a full disk behind standard output shows when the last of it is written.
      try finishPrinting()
    } catch {
      leave(report(error))
    }
  }

  /// - Errors: `.usage` for a first word that is no subcommand; the parser would only call it unexpected.
  private static func checkCommand(_ word: String?) throws {
    guard let word, !word.hasPrefix("-") else { return }
    let known = configuration.subcommands.compactMap { $0.configuration.commandName }
    if known.contains(word) || word == "help" { return }
    throw SegmentationError(
      .usage("there is no command '\(word)'; commands: \(known.joined(separator: ", "))"))
  }

  /// - Errors: `.usage` for bytes that are no UTF-8, which words in files may not have either.
  private static func checkArguments() throws {
    guard let broken = brokenArgument() else { return }
    throw SegmentationError(
      .usage(
        "argument \(broken.number), '\(broken.text)', is not UTF-8; write it in UTF-8, or rename the file"))
  }

  /// With what the flag takes, where the parser keeps that to itself: it does so of flags that --help leaves
  /// out.
  private static func completed(_ text: String) -> String {
    let lines = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
    let row = OptionTable.rows.first { row in
      row.flag.map { lines[0].hasSuffix("is invalid for '\($0)'") } ?? false
    }
    guard let row else { return text }
    return "\(lines[0]): it takes \(row.takes)" + (lines.count > 1 ? "\n" + lines[1] : "")
  }

  /// Prints what went wrong; returns the exit code.
  static func report(_ error: any Error) -> Int32 {
    switch error {
    case let error as SegmentationError:
      complain(error.description)
      return error.exitCode
    case let error as SystemError:
      complain(error.description)
      return 6
    case let error as ComputeError:
      complain(error.description)
      switch error.reason {
      case .pathUnavailable: return 2
      case .temporaryFile: return 6
      default: return 5
      }
    case let code as ExitCode:
      return code.rawValue
    default:
      let code = exitCode(for: error).rawValue
      if code == 0 {
        print(fullMessage(for: error))
        return 0
      }
      let text = completed(fullMessage(for: error))
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
