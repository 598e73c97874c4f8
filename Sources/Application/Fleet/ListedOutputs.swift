// Files a photo of a list, named after its whole path.
import Segmentation
import System

/// Where the results of each photo of a list go: for `a/b.jpg` in a folder `labels`, `labels/a/b.jpg.png`.
///
/// The whole path, extension and all, so that no two photos of a list, whichever process does them, share a
/// file, and nobody has to know the other names.
package struct ListedOutputs: Sendable {
  private let targets: [OutputTarget]
  /// What the run reads beside photos.
  private let inputs: [String]
  private let overwrites: Bool

  /// - Errors: `.usage` for standard output, and for a file in the place of a folder.
  package init(
    _ targets: [OutputTarget], inputs: [String], overwrites: Bool = false
  ) throws(SegmentationError) {
    (self.targets, self.inputs, self.overwrites) = (targets, inputs, overwrites)
    for target in targets where target.named == "-" || fileExists(target.named) && !isFolder(target.named) {
      throw SegmentationError(.usage("'\(target.named)' is no folder; photos of a list need one"))
    }
  }

  /// What was asked for, for the head of a part.
  var names: [String] { targets.map { "\($0.format.name) \($0.named)" } }

  /// Makes the folders of a photo's files, and what writes these.
  ///
  /// - Errors: `.usage` for files that something else made, `.output` for folders that cannot be made.
  func sinks(of photo: String) throws(SegmentationError) -> [any ResultSink] {
    var files = JobFiles(reading: inputs + [photo])
    var sinks: [any ResultSink] = []
    for target in targets {
      let path = try path(target, photo)
      for file in target.format.files(path) { try files.write(file, overwrites: overwrites) }
      do throws(SystemError) { try Folder.makeAll(folder(of: path)) } catch {
        throw SegmentationError(.output(error.description))
      }
      sinks += target.format.sinks(path)
    }
    return sinks
  }

  private func path(_ target: OutputTarget, _ photo: String) throws(SegmentationError) -> String {
    let parts = photo.split(separator: "/").filter { $0 != "." }
    guard !parts.contains("..") else {
      throw SegmentationError(
        .usage("'\(photo)': a path of a list says where its results go; write it without '..'"))
    }
    return target.named + (target.named.hasSuffix("/") ? "" : "/") + parts.joined(separator: "/")
      + target.format.ending
  }
}
