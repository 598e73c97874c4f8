// What the process does about signals: no litter, a clear last word, the right exit code.
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Settles the heap and installs the handlers.
func prepareProcess() {
  Heap.settle()
  Signals.prepare()
  Signals.endOnLostPages(
    saying: """
      trident: error: the model file could not be read while in use (truncated, or the storage failed); \
      run 'trident verify' on it

      """)
}
