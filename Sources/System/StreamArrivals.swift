// JPEGs that come through a pipe, faster than they can be worked on.
//
// A pipe that nobody reads stops the camera, and gives old pictures later. So a thread reads all the time and
// keeps the newest whole picture. There are three places in memory: one is filled, one holds the newest, one
// is being worked on; places are exchanged, never copied.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The JPEGs of a stream.
///
/// - Memory: 64 KiB, and three files in memory of the longest pictures' size.
/// - Errors: reading fails; a stream that holds no JPEG.
package final class StreamArrivals: ArrivalSource, @unchecked Sendable {
  /// Bytes without a picture after which a stream is taken for something else.
  private static let patience = 32 << 20
  private let path: String
  private let input: Int32
  private let keepsAll: Bool
  private let bell: Bell
  private let lock = Lock()
  private let room = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  // Of the reading thread alone.
  private var frames: JPEGFrames
  private var filling: Int32

  // Under the lock.
  private var newest: Int32
  private var taken: Int32
  private var hasNewest = false
  private var newestTime = 0.0
  private var newestNumber = 0
  private var wholeCount = 0
  private var dropped = 0
  private var broken = 0
  private var lastFlaw = ""
  private var hasEnded = false
  private var failure: SystemError?

  /// `-` is standard input; pipes and files of JPEGs are streams, too. `keepsAll`: whoever writes waits until
  /// a picture is taken; none is dropped. `limit`: bytes of the longest picture.
  package init(path: String, keepsAll: Bool = false, limit: Int = 64 << 20) throws(SystemError) {
    self.path = path == "-" ? "standard input" : path
    self.keepsAll = keepsAll
    frames = JPEGFrames(limit: limit)
    bell = try Bell()
    var places: [Int32] = []
    for _ in 0..<3 {
      let place = cs_create_in_memory()
      guard place >= 0 else { throw SystemError(.system(action: "make a file in memory", code: -place)) }
      places.append(place)
    }
    (filling, newest, taken) = (places[0], places[1], places[2])
    input = path == "-" ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
    pthread_cond_init(room, nil)
    guard input >= 0 else { throw .errno("open", self.path) }
    try BackgroundThread.run { self.readAll() }
  }

  // The thread holds the object until the stream has ended.
  deinit {
    for descriptor in [input, filling, newest, taken] where descriptor >= 0 { close(descriptor) }
    pthread_cond_destroy(room)
    room.deallocate()
  }

  package var descriptor: Int32 { bell.descriptor }
  package var droppedCount: Int { lock.with { dropped } }
  package var brokenCount: Int { lock.with { broken } }

  package func take() throws(SystemError) -> Taken {
    lock.lock()
    defer { lock.unlock() }
    bell.silence()
    if hasNewest {
      swap(&newest, &taken)
      hasNewest = false
      pthread_cond_signal(room)
      if hasEnded { bell.ring() }
      return .arrival(
        Arrival(
          name: "\(path), picture \(newestNumber)", path: "/proc/self/fd/\(taken)", time: newestTime))
    }
    guard hasEnded else { return .nothing }
    bell.ring()
    if let failure { throw failure }
    return .ended
  }

  private func readAll() {
    let window = ScratchBytes(count: 1 << 16)
    var byteCount = 0
    while true {
      let count = read(input, window.base, window.count)
      if count < 0, errno == EINTR { continue }
      if count < 0 { return end(.errno("read", path)) }
      if count == 0 { break }
      byteCount += count
      frames.push(UnsafeRawBufferPointer(start: window.base, count: count)) { take($0) }
      if let failure = lock.with({ failure }) { return end(failure) }
      if byteCount > Self.patience, lock.with({ wholeCount }) == 0 { return end(noPicture(byteCount)) }
    }
    frames.finish { take($0) }
    end(lock.with { wholeCount } == 0 ? noPicture(byteCount) : nil)
  }

  private func noPicture(_ byteCount: Int) -> SystemError {
    let why = lock.with { broken > 0 ? "; of \(broken) that began none is whole: the last \(lastFlaw)" : "" }
    return SystemError(
      .malformed(
        "\(byteCount) bytes without a whole JPEG" + why
          + "; a camera must give JPEGs (rpicam-vid --codec mjpeg, ffmpeg -f mjpeg)"), path: path)
  }

  private func end(_ error: SystemError?) {
    lock.with {
      if failure == nil { failure = error }
      hasEnded = true
    }
    bell.ring()
  }

  private func take(_ event: JPEGFrames.Event) {
    // A picture that could not be kept is not delivered, and what follows it is not read.
    if lock.with({ failure != nil }) { return }
    switch event {
    case .begin:
      if ftruncate(filling, 0) != 0 || lseek(filling, 0, SEEK_SET) != 0 { fail(errno) }
    case .bytes(let bytes):
      guard let base = bytes.baseAddress else { return }
      let code = cs_write_all(filling, base, bytes.count)
      if code != 0 { fail(code) }
    case .broken(let reason):
      lock.with {
        broken += 1
        lastFlaw = reason
      }
    case .end: deliver()
    }
  }

  private func fail(_ code: Int32) {
    lock.with { failure = SystemError(.system(action: "keep a picture of", code: code), path: path) }
  }

  private func deliver() {
    lock.lock()
    while keepsAll, hasNewest { lock.wait(room) }
    if hasNewest { dropped += 1 }
    swap(&filling, &newest)
    hasNewest = true
    wholeCount += 1
    (newestNumber, newestTime) = (wholeCount, realSeconds())
    lock.unlock()
    bell.ring()
  }
}
