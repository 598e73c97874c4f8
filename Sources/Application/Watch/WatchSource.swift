// What `trident watch` is pointed at.
import Segmentation
import System

/// Opens whatever a source names.
package struct WatchSource {
  package let arrivals: any ArrivalSource
  /// Where photos arrive as files.
  package let folder: String?

  /// `path`: a folder, `-` for standard input, a pipe or file of JPEGs, a camera. `includesExisting`: what a
  /// folder holds already arrived first; `keepsAll`: nothing is given up for newer ones; `cameraSize`: the
  /// pixels that a camera is asked for; `cameraFormat`: the form of its pictures (`CameraArrivals.formats`).
  ///
  /// - Errors: `.usage` for what is none of these, `.photo` for what cannot be opened.
  package init(
    _ path: String, includesExisting: Bool = false, keepsAll: Bool = false,
    cameraSize: (width: Int, height: Int) = (1280, 720), cameraFormat: String? = nil
  ) throws(SegmentationError) {
    do throws(SystemError) {
      if isFolder(path) {
        arrivals = try FolderArrivals(path, includesExisting: includesExisting, keepsAll: keepsAll)
        folder = path
        return
      }
      folder = nil
      if includesExisting {
        throw SystemError(.unsupported("--existing is for folders; '\(path)' is none"))
      }
      if isDevice(path) {
        if keepsAll {
          throw SystemError(
            .unsupported("--all is for files and streams; '\(path)', a camera, does not wait"))
        }
        arrivals = try CameraArrivals(
          path: path, width: cameraSize.width, height: cameraSize.height, format: cameraFormat)
        return
      }
      // Of a file every picture is meant: none is newer than the others.
      arrivals = try StreamArrivals(path: path, keepsAll: keepsAll || fileSize(path) != nil)
    } catch {
      if case .unsupported(let text) = error.reason { throw SegmentationError(.usage(text)) }
      throw SegmentationError(.photo(error.description))
    }
  }
}
