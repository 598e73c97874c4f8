// The identity of a model, shown once a file and machine, so that nobody borrows another model's.
import Container
import System

/// What was shown of model files, in a folder that only this user may write to.
///
/// The identity in a file is a claim: anyone can write another model's there, and the checksums to match.
/// Before anything is kept under an identity (text vectors, vocabularies, legends, results), it is computed
/// from the contents: SHA-256 over the file. That it was, is noted under the file's device, inode, size and
/// times of modification and change, the last of which nobody but the system sets; so it is one pass for each
/// file, not for each run. docs/decisions/0007-identity.md has the reasons.
///
/// - Memory: a few hundred bytes.
/// - Errors: none; without a usable folder every file is new.
package struct ModelProofs: Sendable {
  private let folder: String?

  /// Uses `$XDG_CACHE_HOME/trident/models`, or `~/.cache/trident/models`.
  package init() { self.init(base: userFolder("XDG_CACHE_HOME", "/.cache")) }

  /// Uses `base/trident/models`; nil for `base` means there is none.
  package init(base: String?) { folder = base.map { $0 + "/trident/models" } }

  /// Whether the identity of this file, unchanged since, was shown before.
  package func has(_ identity: String, _ stamp: FileStamp?) -> Bool {
    guard let stamp, let path = path(of: stamp), makeFolder() else { return false }
    let line = Array(line(identity, stamp).utf8)
    return (try? FileBytes.read(path, limit: line.count)) == line
  }

  /// Notes that it was.
  package func add(_ identity: String, _ stamp: FileStamp?) {
    // A file that was changed this very second can change again without another time.
    guard let stamp, stamp.isSettled, let path = path(of: stamp), makeFolder() else { return }
    try? FileBytes.replace(path, with: Array(line(identity, stamp).utf8))
  }

  private func line(_ identity: String, _ stamp: FileStamp) -> String { "\(stamp.text) \(identity)\n" }

  private func path(of stamp: FileStamp) -> String? {
    folder.map { "\($0)/\(stamp.device)-\(stamp.inode).id" }
  }

  private func makeFolder() -> Bool { folder.map { (try? Folder.makePrivate($0)) != nil } ?? false }
}

extension Session {
  /// Shows that the model is what it says it is, unless that was shown before.
  ///
  /// - Errors: `.model` where it is another.
  package func proveIdentity(
    _ proofs: ModelProofs = ModelProofs(), progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws(SegmentationError) {
    if isProven { return }
    try model.prove(proofs, progress: progress)
    isProven = true
  }
}

extension Model {
  /// As `Session.proveIdentity`.
  func prove(
    _ proofs: ModelProofs, progress: (_ done: Int, _ total: Int) -> Void
  ) throws(SegmentationError) {
    if proofs.has(identity, file.stamp) { return }
    do throws(ContainerError) { try file.proveIdentity(progress: progress) } catch {
      throw SegmentationError(.model(error.description))
    }
    proofs.add(identity, file.stamp)
  }
}
