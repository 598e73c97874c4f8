// A session's model file and the system's cache of it.
import Container
import System

extension Session {
  /// Drops the model's pages, in this process and in the system's cache of files, so that the next run reads
  /// storage.
  ///
  /// - Source: `madvise` and `posix_fadvise` with DONTNEED; pages that other processes map stay.
  package func dropWeights() {
    model.file.advise(0..<model.file.byteCount, .dontNeed)
    dropCachedPages(of: modelPath)
  }
}
