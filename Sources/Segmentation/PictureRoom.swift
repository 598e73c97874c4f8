// A picture too large for private memory, in a file without a name.
import Compute
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Room for a picture of any size: mapped pages of an unlinked temporary file, which the system writes out
/// and takes back as it likes. A phone's photo has 36 MiB of pixels, a plan of a run less.
///
/// - Shapes: `pixels` [byteCount], zero at first.
/// - Memory: none that is private. Pages stay resident until `letGo`.
/// - Errors: `temporaryFile` where the folder has no room, or is memory of which the limit leaves too little.
package final class PictureRoom {
  package let pixels: UnsafeMutablePointer<UInt8>
  private let byteCount: Int
  private let file: UnnamedFile
  private var rows = 0

  /// `memoryRoom`: bytes that may be used where files take memory.
  package init(byteCount: Int, memoryRoom: Int = .max) throws(ComputeError) {
    precondition(byteCount > 0, "an empty picture")
    self.byteCount = byteCount
    do throws(SystemError) { file = try UnnamedFile() } catch {
      throw ComputeError(.temporaryFile(error.description))
    }
    if file.isInMemory && byteCount > memoryRoom {
      throw ComputeError(
        .temporaryFile(
          "the overlay's pixels need \(mebibytes(byteCount)) MiB in \(file.folder), which is memory, of "
            + "which the limit leaves too little; --overlay-size makes it smaller, TMPDIR names another "
            + "folder"))
    }
    // A page without a block would end the process when it is written.
    let code = posix_fallocate(file.descriptor, 0, off_t(byteCount))
    guard code == 0 else {
      throw ComputeError(
        .temporaryFile(
          "\(file.folder): no room for the overlay's pixels, \(mebibytes(byteCount)) MiB: "
            + systemMessage(code) + "; --overlay-size makes it smaller, TMPDIR names another folder"))
    }
    let address = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor, 0)
    guard let address, address != MAP_FAILED else {
      throw ComputeError(.temporaryFile("\(file.folder): cannot map: \(systemMessage(errno))"))
    }
    pixels = address.assumingMemoryBound(to: UInt8.self)
  }

  deinit { munmap(pixels, byteCount) }

  /// Counts a row that is done with for now; lets all pages go now and then. Their contents stay.
  package func passRow() {
    rows += 1
    if rows % 32 == 0 { letGo() }
  }

  /// No page is resident on account of this process any more.
  package func letGo() { madvise(pixels, byteCount, MADV_DONTNEED) }
}
