// The identity of a source file.
import Container

extension InputFile {
  /// SHA-256 of the whole file, in lower-case hexadecimal.
  ///
  /// - Memory: 1 MiB. Time: one pass over the file.
  package func sha256Hex(progress: ((Int) -> Void)? = nil) throws(QuantizationError) -> String {
    let window = ScratchBytes(count: min(1 << 20, max(byteCount, 1)))
    var digest = SHA256Digest()
    var done = 0
    while done < byteCount {
      let count = min(window.count, byteCount - done)
      try read(at: done, count: count, into: window.base)
      digest.update(UnsafeRawBufferPointer(start: window.base, count: count))
      done += count
      progress?(done)
    }
    return digest.finishHex()
  }
}
