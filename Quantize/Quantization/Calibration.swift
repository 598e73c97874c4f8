// Looks at a few photos through the model just made.

import Compute
import Container
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The photos of a folder that calibration looks at.
///
/// - Errors: a folder that cannot be read or holds no photo.
struct CalibrationPhotos {
  /// More photos change the maxima little.
  static let limit = 16

  /// The first by name.
  let paths: [String]

  /// What the model file says about it.
  var note: String { "smoothquant 0.5, \(paths.count) photo\(paths.count == 1 ? "" : "s")" }

  init(folder: String) throws(QuantizationFailure) {
    let names: [String]
    do throws(SystemError) {
      names = try Folder.names(in: folder, endings: PhotoFile.endings)
    } catch {
      throw .photo("\(folder): \(error.reason.description)")
    }
    guard !names.isEmpty else {
      throw .photo("\(folder): no photos to calibrate with (\(PhotoFile.endings.joined(separator: ", ")))")
    }
    let base = folder.hasSuffix("/") ? folder : folder + "/"
    paths = names.prefix(Self.limit).map { base + $0 }
  }
}

extension ModelQuantizer {
  /// Largest magnitudes behind the norms of the image networks, over all photos.
  ///
  /// The model file is removed as soon as it is mapped.
  func observe(
    _ photos: CalibrationPhotos, model: ModelWriter
  ) throws(QuantizationFailure) -> [String: [Float]] {
    do {
      let session: Session
      do {
        defer { model.discard() }
        session = try Session(modelPath: model.temporaryPath, runtime: RuntimeOptions())
      }
      let observer = NormObserver()
      for (index, path) in photos.paths.enumerated() {
        func show(_ fraction: Double) {
          progress(
            QuantizationProgress(
              stage: .calibrating, name: fileName(of: path), done: 1000 * index + Int(1000 * fraction),
              total: 1000 * photos.paths.count))
        }
        show(0)
        try session.observe(try PhotoFile(path: path), observer) { show($0) }
      }
      return session.maxima(observer)
    } catch let error as SegmentationError {
      if case .photo = error.reason { throw .photo(error.description) }
      throw .run("calibration: \(error.description)")
    } catch {
      throw .run("calibration: \(error)")
    }
  }
}
