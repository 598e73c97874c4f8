// A fixed set of threads that share out ranges of rows. Chunks are taken as workers become free, so unequal
// cores finish together; what a chunk computes never depends on who computes it.
import CKernels
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Fixed threads; row ranges in.
///
/// - Memory: `threadCount - 1` threads with stacks of 256 KiB (touched: a few pages each).
package final class WorkerPool: @unchecked Sendable {
  package let threadCount: Int
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private let done = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private let generation = Atomic<Int>(0)
  private let running = Atomic<Int>(0)
  private var stopping = false
  /// Looks at a counter before a thread sleeps: sleeping and waking takes 50 us or more, about as long as the
  /// work between two runs. None where threads have to share cores.
  private let patience: Int
  fileprivate var job: ((Int) -> Void)?
  private var threads: [pthread_t] = []
  private let next = Atomic<Int>(0)

  package init(threadCount: Int) throws(ComputeError) {
    precondition(threadCount >= 1, "a pool needs a thread")
    self.threadCount = threadCount
    patience = threadCount <= sysconf(Int32(_SC_NPROCESSORS_ONLN)) ? 2000 : 0
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(wake, nil)
    pthread_cond_init(done, nil)
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, 256 << 10)
    defer { pthread_attr_destroy(&attributes) }
    for index in 1..<max(threadCount, 1) {
      let start = Unmanaged.passRetained(WorkerStart(pool: self, index: index)).toOpaque()
      var thread = pthread_t()
      let code = pthread_create(
        &thread, &attributes,
        { argument in
          let start = Unmanaged<WorkerStart>.fromOpaque(argument!).takeRetainedValue()
          start.pool.loop(start.index)
          return nil
        }, start)
      guard code == 0 else {
        Unmanaged<WorkerStart>.fromOpaque(start).release()
        stop()
        throw ComputeError(.threadUnavailable(code))
      }
      threads.append(thread)
    }
  }

  /// Ends the threads. The pool must not be used afterwards.
  package func stop() {
    pthread_mutex_lock(mutex)
    stopping = true
    pthread_cond_broadcast(wake)
    pthread_mutex_unlock(mutex)
    for thread in threads { pthread_join(thread, nil) }
    threads = []
  }

  deinit {
    mutex.deallocate()
    wake.deallocate()
    done.deallocate()
  }

  /// Runs `body` over `0 ..< count` in chunks of at most `chunk`; `worker` is in `0 ..< threadCount`.
  /// Returns when all chunks are done. Chunk borders depend on `count` and `chunk` alone.
  package func run(count: Int, chunk: Int, _ body: (_ range: Range<Int>, _ worker: Int) -> Void) {
    let chunkCount = (count + chunk - 1) / chunk
    if threadCount == 1 || chunkCount <= 1 {
      for index in 0..<chunkCount { body(index * chunk..<min(count, (index + 1) * chunk), 0) }
      return
    }
    withoutActuallyEscaping(body) { body in
      next.store(0, ordering: .relaxed)
      let work: (Int) -> Void = { [self] worker in
        while true {
          let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
          if index >= chunkCount { return }
          body(index * chunk..<min(count, (index + 1) * chunk), worker)
        }
      }
      pthread_mutex_lock(mutex)
      job = work
      running.store(threads.count, ordering: .relaxed)
      generation.wrappingAdd(1, ordering: .releasing)
      pthread_cond_broadcast(wake)
      pthread_mutex_unlock(mutex)
      work(0)
      linger { running.load(ordering: .acquiring) > 0 }
      if running.load(ordering: .acquiring) > 0 {
        pthread_mutex_lock(mutex)
        while running.load(ordering: .acquiring) > 0 { pthread_cond_wait(done, mutex) }
        pthread_mutex_unlock(mutex)
      }
      job = nil
    }
  }

  /// A chunk size that gives every thread the same number of chunks of at most `limit` rows.
  package func chunk(count: Int, limit: Int, multiple: Int = 1) -> Int {
    let rounds = max(1, (count + threadCount * limit - 1) / (threadCount * limit))
    let size = (count + threadCount * rounds - 1) / (threadCount * rounds)
    return max(1, min(limit, (size + multiple - 1) / multiple * multiple))
  }

  private func loop(_ worker: Int) {
    var seen = 0
    while true {
      linger { generation.load(ordering: .acquiring) == seen }
      if generation.load(ordering: .acquiring) == seen {
        pthread_mutex_lock(mutex)
        while generation.load(ordering: .acquiring) == seen && !stopping { pthread_cond_wait(wake, mutex) }
        let ends = stopping
        pthread_mutex_unlock(mutex)
        if ends { return }
      }
      seen = generation.load(ordering: .acquiring)
      perform(worker)
      if running.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 {
        pthread_mutex_lock(mutex)
        pthread_cond_signal(done)
        pthread_mutex_unlock(mutex)
      }
    }
  }

  /// Waits a little, without sleeping, for something to change.
  private func linger(while unchanged: () -> Bool) {
    var left = patience
    while left > 0 && unchanged() {
      ck_relax()
      left -= 1
    }
  }
}

extension WorkerPool {
  /// Runs the job in a frame of its own, so that it is let go of before the worker reports back: the caller's
  /// closure must not be held by anyone once `run` returns.
  @inline(never)
  private func perform(_ worker: Int) { job?(worker) }
}

/// What a new thread is told.
private final class WorkerStart {
  let pool: WorkerPool
  let index: Int
  init(pool: WorkerPool, index: Int) {
    self.pool = pool
    self.index = index
  }
}
