// Tar archives of photos.
import System

#if canImport(Glibc)
  import Glibc
#endif

/// A tar archive; what can be read can be written, and reads the same again.
func fuzzTar(_ bytes: UnsafeBufferPointer<UInt8>) {
  guard let start = bytes.baseAddress, let file = try? UnnamedFile(), let copy = try? UnnamedFile() else {
    return
  }
  try? file.write(start, count: bytes.count, at: 0)
  let members = readTar("/proc/self/fd/\(file.descriptor)")
  AtomicFile.writesWhole = true
  defer { AtomicFile.writesWhole = false }
  guard let writer = try? TarWriter(path: "/proc/self/fd/\(copy.descriptor)") else { return }
  do throws(SystemError) {
    for member in members { try writer.add(member.name, member.bytes) }
    try writer.finish()
  } catch { return }
  let again = readTar("/proc/self/fd/\(copy.descriptor)")
  precondition(again.map(\.bytes) == members.map(\.bytes), "an archive changes when it is written and read")
}

/// The members up to the first that is cut short.
private func readTar(_ path: String) -> [(name: String, bytes: [UInt8])] {
  var members: [(name: String, bytes: [UInt8])] = []
  guard let reader = try? TarReader(path: path) else { return [] }
  while let event = try? reader.next() {
    guard case .member(let name, _) = event else { continue }
    var content: [UInt8] = []
    do throws(SystemError) {
      try reader.read { (piece) throws(SystemError) in content.append(contentsOf: piece) }
    } catch { return members }
    members.append((name, content))
  }
  return members
}
