// The worker pool: every row once, by a worker that exists, whatever the counts. Also run under
// ThreadSanitizer.
import Compute
import TestSupport
import Testing

@Suite struct WorkerPoolTests {
  @Test(arguments: [1, 2, 3, 8]) func everyRowOnce(threadCount: Int) throws {
    let pool = try WorkerPool(threadCount: threadCount)
    defer { pool.stop() }
    #expect(pool.threadCount == threadCount)
    var random = SeededRandom(seed: UInt64(threadCount))
    for _ in 0..<400 {
      let count = Int(random.next() % 200)
      let chunk = 1 + Int(random.next() % 40)
      let visits = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: count)
      visits.initialize(repeating: 0)
      let workers = UnsafeMutableBufferPointer<UInt32>.allocate(capacity: threadCount)
      workers.initialize(repeating: 0)
      defer {
        visits.deallocate()
        workers.deallocate()
      }
      pool.run(count: count, chunk: chunk) { range, worker in
        // Plain memory on purpose: rows belong to one chunk, and a worker's own counter to that worker.
        for row in range { visits[row] += 1 }
        workers[worker] += 1
      }
      #expect(visits.allSatisfy { $0 == 1 }, "\(count) rows in chunks of \(chunk)")
      #expect(workers.reduce(0, +) == UInt32((count + chunk - 1) / chunk))
    }
  }

  @Test func resultsOfOneRunAreSeenByTheNext() throws {
    let pool = try WorkerPool(threadCount: 4)
    defer { pool.stop() }
    let values = UnsafeMutableBufferPointer<Int>.allocate(capacity: 64)
    values.initialize(repeating: 0)
    defer { values.deallocate() }
    for _ in 0..<500 {
      // Chunks go to other workers in every run.
      pool.run(count: 64, chunk: 1) { range, _ in values[range.lowerBound] += range.lowerBound }
    }
    #expect(values.enumerated().allSatisfy { $1 == 500 * $0 })
  }

  @Test func poolsComeAndGo() throws {
    for threadCount in 1...12 {
      let pool = try WorkerPool(threadCount: threadCount)
      pool.run(count: threadCount, chunk: 1) { _, worker in precondition(worker < threadCount) }
      pool.stop()
    }
  }
}
