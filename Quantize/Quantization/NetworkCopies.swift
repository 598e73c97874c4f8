// Several copies of one network in a file: which one is taken, by a rule that is said and recorded.

import System

/// The copies of a network in a checkpoint, by the prefixes of their tensors' names.
///
/// Training keeps a network more than once. What is meant to be used is the slow copy: a teacher, an average
/// (EMA), a momentum or target network. It is taken before one of no such name, and that before a student or
/// an online network, however deep the word stands. Among equals the shortest prefix wins, then the first in
/// the file.
struct NetworkCopies {
  private static let slow: Set<String> = [
    "teacher", "ema", "momentum", "target", "averaged", "swa", "shadow", "k",
  ]
  private static let fast: Set<String> = ["student", "online", "predictor", "source", "q"]

  /// Prefixes of all copies, in file order.
  let prefixes: [String]
  /// The one that is taken.
  let chosen: String
  /// Said and recorded where there was a choice.
  let note: String?

  /// `option`: the flag that names another prefix, if there is one; `asked`: what it named.
  ///
  /// - Errors: `unsupportedModel` for a prefix that no copy has.
  init?(
    _ prefixes: [String], of directory: TensorDirectory, option: String?, asked: String?
  ) throws(QuantizationError) {
    guard !prefixes.isEmpty else { return nil }
    self.prefixes = prefixes
    let list = prefixes.map { "'\($0)'" }.joined(separator: ", ")
    if let asked {
      let wanted = asked.isEmpty || asked.hasSuffix(".") ? asked : asked + "."
      guard let found = prefixes.first(where: { $0 == wanted }) else {
        throw QuantizationError(
          .unsupportedModel("\(option ?? "prefix") '\(asked)' is none of the copies in this file: \(list)"),
          path: directory.path)
      }
      (chosen, note) = (found, nil)
      return
    }
    let ranked = prefixes.enumerated().min { a, b in
      let left = (Self.rank(a.element), a.element.utf8.count, a.offset)
      return left < (Self.rank(b.element), b.element.utf8.count, b.offset)
    }
    chosen = ranked?.element ?? prefixes[0]
    note =
      prefixes.count < 2
      ? nil
      : "\(directory.path): \(prefixes.count) copies of the network, below \(list); '\(chosen)' is taken "
        + "(teacher, EMA and momentum first)" + (option.map { "; \($0) takes another" } ?? "")
  }

  /// 0 for a slow copy, 2 for a fast one.
  private static func rank(_ prefix: String) -> Int {
    let words = Set(prefix.lowercased().split { !$0.isLetter && !$0.isNumber }.map(String.init))
    if !words.isDisjoint(with: slow) { return 0 }
    return words.isDisjoint(with: fast) ? 1 : 2
  }
}

extension TensorDirectory {
  /// What stands in front of each tensor of this name, in file order.
  func prefixes(before anchor: String) -> [String] {
    names.filter { $0 == anchor || $0.hasSuffix("." + anchor) }.map { String($0.dropLast(anchor.utf8.count)) }
  }
}
