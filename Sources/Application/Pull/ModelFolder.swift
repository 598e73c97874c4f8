// Where models are that `trident pull` made, and which of them is used where none is named.
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// `$XDG_DATA_HOME/trident`, or `~/.local/share/trident`: `models`, with a link `default.gguf` to the usual
/// one, and `checkpoints`.
package struct ModelFolder: Sendable {
  package let path: String

  /// Nil where the environment names no folder.
  package init?() {
    guard let base = userFolder("XDG_DATA_HOME", "/.local/share") else { return nil }
    self.init(path: base + "/trident")
  }

  package init(path: String) { self.path = path }

  package var models: String { path + "/models" }
  package var checkpoints: String { path + "/checkpoints" }
  private var defaultLink: String { models + "/default.gguf" }

  /// The file of a model by name.
  package func model(_ name: String) -> String { "\(models)/\(name).gguf" }

  /// The file that is used where none is named; nil for none.
  package var usual: String? { fileExists(defaultLink) ? defaultLink : nil }

  /// The name of that model.
  package var usualName: String? {
    guard usual != nil, let target = realpath(defaultLink, nil) else { return nil }
    defer { free(target) }
    return baseName(String(cString: target))
  }

  /// Makes a model the usual one. The link changes at once; it names the file without its folder, so that the
  /// folder may be moved.
  ///
  /// - Errors: `.output`.
  package func makeUsual(_ name: String) throws(SegmentationError) {
    let passing = models + "/.default-\(getpid())"
    unlink(passing)
    guard symlink(name + ".gguf", passing) == 0, rename(passing, defaultLink) == 0 else {
      let reason = systemMessage(errno)
      unlink(passing)
      throw SegmentationError(.output("cannot make the link: \(reason)"), path: defaultLink)
    }
  }

  /// What `--model` means: a file, or the name of a model here.
  package static func resolved(_ named: String) -> String {
    guard !named.contains("/"), !fileExists(named), let folder = ModelFolder() else { return named }
    let path = folder.model(named)
    return fileExists(path) ? path : named
  }
}
