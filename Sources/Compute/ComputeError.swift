// What can go wrong in the compute layer that is not our own mistake.

/// An error of the compute layer.
package struct ComputeError: Error, Equatable, Sendable, CustomStringConvertible {
  package enum Reason: Equatable, Sendable {
    /// A reservation did not fit: bytes asked for, bytes left.
    case arenaExhausted(requested: Int, available: Int)
    /// The operating system refused the arena's address range.
    case arenaUnavailable(byteCount: Int)
    /// `TRIDENT_CPU` (or the caller) names a path that does not exist, is not built or is not supported here.
    case pathUnavailable(String)
    /// OpenBLAS could not be loaded (float32 mode only).
    case openBLASMissing(String)
    /// A worker thread could not be started.
    case threadUnavailable(Int32)
    /// What does not fit in scratch memory cannot be kept in a temporary file either.
    case temporaryFile(String)
  }

  package var reason: Reason

  package init(_ reason: Reason) { self.reason = reason }

  package var description: String {
    switch reason {
    case .arenaExhausted(let requested, let available):
      return "scratch arena exhausted: \(requested) bytes asked for, \(available) left"
    case .arenaUnavailable(let byteCount):
      return "the system refused \(byteCount) bytes of address space for the scratch arena"
    case .pathUnavailable(let text): return text
    case .openBLASMissing(let text):
      return "float32 precision needs OpenBLAS (\(text)); install libopenblas0, or use --precision int8"
    case .temporaryFile(let text):
      return "masks of regions need a temporary file: \(text); name a folder with room in TMPDIR"
    case .threadUnavailable(let code): return "a worker thread could not be started (error \(code))"
    }
  }
}
