// Nothing the user has is lost: what a run may write, decided before it begins.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The files that a run reads and writes, by device and inode, however their paths are spelled.
///
/// An output never replaces a file that the run reads, another of its outputs, or a file that this program
/// did not make. A file that is not there yet is known by its folder and its name, so two spellings of a new
/// file are one, too.
///
/// - Memory: some 100 B a file.
package struct RunFiles {
  package enum Role: Equatable, Sendable {
    case input(String)
    case output(String)
  }

  /// Why a path is no output of the run.
  package enum Conflict: Error, Equatable, Sendable {
    /// The run reads it, as `path`.
    case isInput(path: String)
    /// It is another output, as `path`.
    case isOutput(path: String)
    /// It is there and was made by someone else.
    case isForeign
  }

  private enum Place: Hashable {
    case file(FileIdentity)
    case new(folder: FileIdentity?, rest: String)
  }

  private var roles: [Place: Role] = [:]

  package init() {}

  /// Declares an input. `-`, standard input, is no file.
  package mutating func read(_ path: String) {
    guard path != "-" else { return }
    let place = Self.place(of: path)
    if roles[place] == nil { roles[place] = .input(path) }
  }

  /// Declares an output, after all inputs. `mayReplace` is asked about a file that is there: whether this
  /// program made it, or the user wants it replaced.
  package mutating func write(_ path: String, mayReplace: (String) -> Bool = { _ in true }) throws(Conflict) {
    let place = path == "-" ? Place.new(folder: nil, rest: path) : Self.place(of: path)
    switch roles[place] {
    case .input(let other): throw .isInput(path: other)
    case .output(let other): throw .isOutput(path: other)
    case nil: break
    }
    if case .file = place, !mayReplace(path) { throw .isForeign }
    roles[place] = .output(path)
  }

  /// Where a path leads. What is not there yet lies behind the nearest folder that is.
  private static func place(of path: String) -> Place {
    if let identity = FileIdentity(path) { return .file(identity) }
    var parts = path.split(separator: "/").filter { $0 != "." }
    var rest: [Substring] = []
    while let last = parts.popLast() {
      rest.insert(last, at: 0)
      let above = (path.hasPrefix("/") ? "/" : parts.isEmpty ? "." : "") + parts.joined(separator: "/")
      if let folder = FileIdentity(above) { return .new(folder: folder, rest: rest.joined(separator: "/")) }
    }
    return .new(folder: nil, rest: rest.joined(separator: "/"))
  }
}
