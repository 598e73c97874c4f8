// What jobs ask of the file system besides photos and results.
import Raster
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// SHA-256 of a file's bytes.
///
/// - Memory: 1 MiB. Time: 4 ms a MiB.
/// - Errors: the system's, naming the file.
func contentDigest(_ path: String) throws(SystemError) -> String {
  try System.InputFile<SystemError>.open(path: path).sha256Hex()
}

/// The same of a photo or of its label map. Errors: `.photo`.
func photoDigest(_ path: String) throws(SegmentationError) -> String {
  do throws(SystemError) { return try contentDigest(path) } catch {
    throw SegmentationError(.photo(error.description))
  }
}

/// Writes a whole text file.
///
/// - Errors: `.output`.
package func writeText(_ text: String, to path: String) throws {
  try namingOutput { try FileBytes.replace(path, with: Array(text.utf8)) }
}

/// Runs what writes results, and gives its errors their public name.
func namingOutput<Value>(_ body: () throws -> Value) throws -> Value {
  do { return try body() } catch let error as RasterError {
    throw SegmentationError(.output(error.description))
  } catch let error as SystemError {
    throw SegmentationError(.output(error.description))
  }
}

/// Current frequency of the first core in MHz, where the system tells.
func cpuMegahertz() -> Int? {
  guard let file = fopen("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "r") else { return nil }
  defer { fclose(file) }
  var buffer = [CChar](repeating: 0, count: 32)
  guard fgets(&buffer, 32, file) != nil else { return nil }
  return strtol(buffer, nil, 10) / 1000
}
