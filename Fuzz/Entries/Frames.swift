// JPEGs in a stream.
import System

/// A stream in pieces gives what it gives at once, and no picture that does not begin and end as one.
func fuzzFrames(_ bytes: UnsafeBufferPointer<UInt8>) {
  let whole = pictures(bytes, pieces: max(1, bytes.count))
  for count in [1, 3, 64] {
    precondition(pictures(bytes, pieces: count) == whole, "pieces of \(count) bytes give other pictures")
  }
  for picture in whole where !picture.isEmpty {
    precondition(
      picture.starts(with: [0xFF, 0xD8, 0xFF]) && picture.suffix(2) == [0xFF, 0xD9], "no picture")
  }
}

/// Whole pictures; one that broke is empty.
private func pictures(_ bytes: UnsafeBufferPointer<UInt8>, pieces count: Int) -> [[UInt8]] {
  // What is too long is seen at the end of a piece, so no limit is met here.
  var (frames, found, open) = (JPEGFrames(limit: .max), [[UInt8]](), [UInt8]())
  func take(_ event: JPEGFrames.Event) {
    switch event {
    case .begin: open = []
    case .bytes(let bytes): open += bytes
    case .end: found.append(open)
    case .broken: found.append([])
    }
  }
  for start in stride(from: 0, to: bytes.count, by: count) {
    frames.push(
      UnsafeRawBufferPointer(
        rebasing: UnsafeRawBufferPointer(bytes)[start..<min(start + count, bytes.count)]), take)
  }
  frames.finish(take)
  return found
}
