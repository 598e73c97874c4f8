// Photos that wait for their turn, one at a time.
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One photo on its way through a server. Made by the thread of connections, worked on by another.
package final class PhotoCall: @unchecked Sendable {
  package let form: SegmentForm
  package let upload: Upload
  /// Gets the answer, once, on whatever thread has it.
  private let respond: @Sendable (Answer) -> Void
  private let lock = Lock()
  private var isAnswered = false
  private var cancelled = false

  package init(_ form: SegmentForm, _ upload: Upload, respond: @escaping @Sendable (Answer) -> Void) {
    (self.form, self.upload, self.respond) = (form, upload, respond)
  }

  /// Nobody waits for the result any more, or the server ends.
  package var isCancelled: Bool { lock.with { cancelled } }
  package func cancel() { lock.with { cancelled = true } }

  /// Sends the first answer; later ones are dropped.
  package func answer(_ answer: Answer) {
    let isFirst = lock.with {
      defer { isAnswered = true }
      return !isAnswered
    }
    if isFirst { respond(answer) }
  }
}

/// A line of photos with a bounded length. Any thread may call.
package final class PhotoQueue: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private let limit: Int
  private var waiting: [PhotoCall] = []
  private var current: PhotoCall?
  private var isStopped = false

  /// `limit`: of those that wait; one more is worked on.
  package init(limit: Int) {
    self.limit = limit
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(changed, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    pthread_cond_destroy(changed)
    mutex.deallocate()
    changed.deallocate()
  }

  private func locked<Value>(_ body: () -> Value) -> Value {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }

  /// How many wait, and whether one is worked on.
  package var load: (waiting: Int, isBusy: Bool) { locked { (waiting.count, current != nil) } }

  /// There is no room for another.
  package var isFull: Bool { locked { waiting.count >= limit + (current == nil ? 1 : 0) } }

  package enum Offer { case taken, full, stopped }

  /// Lets a photo wait.
  package func offer(_ call: PhotoCall) -> Offer {
    locked {
      if isStopped { return .stopped }
      // Where nobody works, the first of the line is about to be taken.
      if waiting.count >= limit + (current == nil ? 1 : 0) { return .full }
      waiting.append(call)
      pthread_cond_signal(changed)
      return .taken
    }
  }

  /// The next photo, once there is one; nil where the line has ended. The one before is over.
  package func next() -> PhotoCall? {
    locked {
      current = nil
      while waiting.isEmpty && !isStopped { pthread_cond_wait(changed, mutex) }
      if isStopped { return nil }
      current = waiting.removeFirst()
      return current
    }
  }

  /// Takes a photo out whose client is gone; true where it was waiting. One that is worked on ends soon.
  package func withdraw(_ call: PhotoCall) -> Bool {
    call.cancel()
    return locked {
      guard let index = waiting.firstIndex(where: { $0 === call }) else { return false }
      waiting.remove(at: index)
      return true
    }
  }

  /// Ends the line: the one that is worked on is cancelled, those that waited are handed back.
  package func stop() -> [PhotoCall] {
    locked {
      isStopped = true
      current?.cancel()
      defer { waiting = [] }
      pthread_cond_broadcast(changed)
      return waiting
    }
  }
}
