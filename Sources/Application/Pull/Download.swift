// One file from an address: whole and checked, or not there.
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Downloads to `NAME.partial` beside the target, which gets its name when size and sum are right. What a
/// broken connection left is gone on with, in this call and in the next; a server without ranges gives all
/// of it again.
///
/// - Memory: libcurl's, and 1 MiB while the sum is taken.
/// - Errors: `.output` for whatever lies between here and the file, `.model` for a file that is another one.
struct Download {
  /// Attempts that get no further, before it gives up.
  private static let patience = 4

  let address: String
  let target: String
  /// Lower-case hexadecimal; nil: whatever comes.
  let sha256: String?
  let listener: any JobListener

  private var partial: String { target + ".partial" }

  /// Returns the file's SHA-256, and whether it was there already.
  func run(_ curl: Curl) throws(SegmentationError) -> (sha256: String, wasThere: Bool) {
    if fileExists(target) {
      let sum = try digest(target)
      if sha256 == nil || sum == sha256 { return (sum, true) }
      listener.warn(
        "warning: \(target) is not the file that was published (SHA-256 \(sum)); it is fetched again")
    }
    let descriptor = open(partial, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw failure("cannot be opened: \(systemMessage(errno))", partial) }
    defer { close(descriptor) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw failure("another 'trident pull' is fetching it", partial)
    }
    try fetch(curl, descriptor)
    guard fsync(descriptor) == 0 else { throw failure("cannot be written: \(systemMessage(errno))", partial) }
    let sum = try digest(partial)
    if let sha256, sum != sha256 {
      unlink(partial)
      throw SegmentationError(
        .model(
          "what came from \(address) is not what was published: its SHA-256 is \(sum), not \(sha256); "
            + "it was deleted"),
        path: target)
    }
    guard rename(partial, target) == 0 else {
      throw failure("cannot be renamed: \(systemMessage(errno))", partial)
    }
    return (sum, false)
  }

  private func failure(_ text: String, _ path: String? = nil) -> SegmentationError {
    SegmentationError(.output(text), path: path)
  }

  private func size(_ descriptor: Int32) -> Int {
    var status = stat()
    return fstat(descriptor, &status) == 0 ? Int(status.st_size) : 0
  }

  private func fetch(_ curl: Curl, _ descriptor: Int32) throws(SegmentationError) {
    let display = listener.progressDisplay()
    defer { display?.finish() }
    var failures = 0
    // The most that was there: what a server without ranges gives again gets no further.
    var most = size(descriptor)
    while true {
      let first = size(descriptor)
      if first > 0 { listener.note("\(fileName(of: target)): going on after \(mebibytes(first)) MiB") }
      var problem: Int32 = 0
      let name = fileName(of: target)
      let end = curl.fetch(address, from: first) { bytes in
        var rest = bytes
        while !rest.isEmpty {
          let count = write(descriptor, rest.baseAddress, rest.count)
          if count < 0 && errno == EINTR { continue }
          guard count > 0 else {
            problem = errno
            return false
          }
          rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
        }
        return true
      } progress: { total, now in
        let (done, all) = (first + Int(now), total > 0 ? first + Int(total) : 0)
        let detail = " \(mebibytes(done))" + (all > 0 ? " of \(mebibytes(all))" : "") + " MiB"
        display?.show(name, all > 0 ? Double(done) / Double(all) : 0, detail: detail)
      }
      switch end.kind {
      case .done: return
      case .unwanted: throw failure("cannot be written: \(systemMessage(problem))", partial)
      case .refused(let status):
        throw failure("\(address): the server answers \(status) (\(end.message))")
      case .noRange:
        guard first > 0, ftruncate(descriptor, 0) == 0 else { throw failure("\(address): \(end.message)") }
        listener.note("\(name): the server gives no part of it; once more from the start")
        failures += 1
      case .broken:
        let now = size(descriptor)
        failures = now > most ? 1 : failures + 1
        most = max(most, now)
      }
      if failures >= Self.patience {
        throw failure(
          "\(address): \(end.message); \(mebibytes(size(descriptor))) MiB are there, the same command goes "
            + "on with them")
      }
      sleep(UInt32(1 << (failures - 1)) - 1)
    }
  }

  private func digest(_ path: String) throws(SegmentationError) -> String {
    do throws(SystemError) { return try InputFile<SystemError>.open(path: path).sha256Hex() } catch {
      throw SegmentationError(.output(error.description))
    }
  }
}
