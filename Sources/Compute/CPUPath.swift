// The set of CPU paths: which are built, which this machine supports, which one was chosen.
import CKernels

/// One named set of kernels.
package struct CPUPath: Sendable, Equatable {
  package let raw: ck_path

  package var name: String { String(cString: ck_path_name(raw)) }
  package var isBuilt: Bool { ck_path_built(raw) != 0 }
  package var isSupported: Bool { ck_path_supported(raw) != 0 }

  /// Every path of the set, simplest first.
  package static var all: [CPUPath] {
    (0..<CK_PATH_COUNT.rawValue).map { CPUPath(raw: ck_path($0)) }
  }

  /// The fastest supported path, or the forced one.
  ///
  /// - Errors: a forced path that is unknown, not built or not supported throws; nothing falls back silently.
  package static func choose(forced: String?) throws(ComputeError) -> CPUPath {
    guard let forced, !forced.isEmpty else { return CPUPath(raw: ck_path_best()) }
    let names = all.filter { $0.isBuilt && $0.isSupported }.map(\.name).joined(separator: ", ")
    guard let path = all.first(where: { $0.name == forced }) else {
      throw ComputeError(.pathUnavailable("cpu path '\(forced)' does not exist; this machine runs: \(names)"))
    }
    guard path.isBuilt, path.isSupported else {
      throw ComputeError(
        .pathUnavailable("cpu path '\(forced)' cannot run on this machine; it runs: \(names)"))
    }
    return path
  }
}
