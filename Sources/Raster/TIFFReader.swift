// TIFF in: libtiff, opened when a TIFF comes, behind CRaster's rows.

import CRaster
import System

/// libtiff's functions.
struct TIFFLibrary: @unchecked Sendable {
  /// In the order of `cr_tiff_names`; nil for what an old version lacks.
  let functions: [UnsafeMutableRawPointer?]

  /// The library, once it was asked for.
  static let shared: Result<TIFFLibrary, SystemError> = {
    do throws(SystemError) {
      let library = try OptionalLibrary.tiff.open()
      let names = withUnsafeBytes(of: cr_tiff_names) { raw in
        raw.bindMemory(to: UnsafePointer<CChar>?.self).compactMap { $0.map { String(cString: $0) } }
      }
      var functions = library.addresses(names)
      if let missing = functions.prefix(Int(CR_TIFF_NEEDED)).firstIndex(of: nil) {
        throw SystemError(.unsupported("\(library.file) has no \(names[missing])"))
      }
      // All of the new ones, or none.
      if functions.contains(nil) {
        for index in Int(CR_TIFF_NEEDED)..<functions.count { functions[index] = nil }
      }
      return .success(TIFFLibrary(functions: functions))
    } catch { return .failure(error) }
  }()

  /// Reads the directory of a file; nil, and why in `failure`.
  func open(_ file: InputFile, _ info: inout cr_tiff_info, _ failure: inout cr_failure) -> OpaquePointer? {
    functions.withUnsafeBufferPointer {
      cr_tiff_open(file.descriptor, Int64(file.byteCount), $0.baseAddress!, &info, &failure)
    }
  }
}
