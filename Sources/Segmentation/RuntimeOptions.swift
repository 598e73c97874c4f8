// How a run uses the machine. None of it changes results.
import Raster
import System

/// Threads, memory and weights of a run.
public struct RuntimeOptions: Equatable, Sendable {
  /// Worker threads; default: the cores this process may use.
  public var threads: Int
  /// Largest private memory, bytes; nil: no limit.
  public var memoryLimit: Int?
  /// Most seconds that a photo, or the words, may be planned to take.
  public var timeLimit = 7200.0
  /// What strangers' files may ask for without being told to is not bounded: memory beyond three quarters of
  /// the machine's, time, scans of a photo, photos that are held whole.
  public var liftsCeilings = false
  /// Weights stay resident between blocks.
  public var keepsWeights = false
  /// The model is read into private memory and not mapped: a file that is cut while in use is then an error
  /// at most, where touching a mapped one would end the process by SIGBUS. For hosts that share their
  /// process.
  public var copiesModel = false
  /// Every checksum is checked before use.
  public var verifiesWeights = false
  /// A CPU path by name; nil: the fastest supported.
  public var cpuPath: String?
  /// Every reservation of scratch memory has guard pages of its own: `TRIDENT_ARENA=guarded`, for tests.
  package var guardsArena = Self.isArenaGuarded

  /// The memory limit that holds where none was named, too.
  package var memoryCeiling: Int {
    memoryLimit ?? (liftsCeilings ? .max : Self.machineMemory / 4 * 3)
  }
  package var photoCeilings: PhotoCeilings { liftsCeilings ? .lifted : .usual }
  private static let machineMemory = System.machineMemory()

  /// All cores that this process may use, no limit.
  public init() { threads = Self.availableCores }

  private static let isArenaGuarded = environment("TRIDENT_ARENA") == "guarded"

  /// Cores that the scheduler lets this process use.
  public static var availableCores: Int { System.availableCores() }
}
