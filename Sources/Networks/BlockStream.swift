// Asks the system for the next block's weights while this one computes, and gives the last one's pages back.
import Compute
import Container

/// Streams a network's weights block by block through resident memory.
///
/// The first time a block is entered, the checksums of its scales, sums, biases, norms and positions are
/// compared: one wrong bit in those can ruin every pixel. The INT8 weights themselves are left to `verify`;
/// see docs/trust.md.
///
/// - Memory: about two blocks of file-backed pages; with `keepsWeights` all that was read stays mapped in.
package struct BlockStream {
  private let run: RunContext
  private let schemas: [BlockSchema]
  private let layers: [[any WeightSpec]]
  private let outside: [any WeightSpec]
  private let ranges: [Range<Int>]
  /// Weights that the stage reads, bytes.
  let byteCount: Int

  init(_ run: RunContext, _ schema: some NetworkSchema) {
    self.run = run
    (schemas, layers) = (schema.blocks, schema.layers)
    outside = schema.head + schema.tail
    ranges = schema.layers.map { run.model.range(of: $0) }
    byteCount = run.model.range(of: schema.streamed).count
  }

  /// Takes blocks one after another.
  ///
  /// - Errors: `.model` for a wrong checksum; `CancellationError` between blocks; what `body` throws.
  package func forEach(_ blocks: Range<Int>, _ body: (_ block: Int, _ weights: BlockWeights) throws -> Void)
    throws
  {
    for index in blocks { try with(index) { try body(index, $0) } }
  }

  /// Takes one block.
  ///
  /// - Errors: as `forEach`.
  package func with<Result>(_ block: Int, _ body: (BlockWeights) throws -> Result) throws -> Result {
    try withLayer(block) { try body(BlockWeights(run.model, schemas[block])) }
  }

  /// Takes one block whose weights the caller finds.
  ///
  /// - Errors: as `forEach`.
  package func withLayer<Result>(_ index: Int, _ body: () throws -> Result) throws -> Result {
    if !run.isPlanning {
      try run.checkCancelled()
      try enter(index)
    }
    let result = try body()
    if !run.isPlanning && !run.keepsWeights { leave(index) }
    return result
  }

  /// Gives a block's pages back, half of them on another thread: 10,000 pages take a millisecond.
  private func leave(_ index: Int) {
    let (file, range) = (run.model.file, ranges[index])
    let middle = (range.lowerBound + range.count / 2) / file.pageByteCount * file.pageByteCount
    guard range.contains(middle) else { return file.advise(range, .dontNeed) }
    run.engine.pool.run(count: 2, chunk: 1) { half, _ in
      file.advise(
        half.lowerBound == 0 ? range.lowerBound..<middle : middle..<range.upperBound, .dontNeed)
    }
  }

  private func enter(_ index: Int) throws(SegmentationError) {
    let file = run.model.file
    if index == 0 { file.advise(ranges[0], .willNeed) }
    if index + 1 < ranges.count { file.advise(ranges[index + 1], .willNeed) }
    _ = try run.model.checks.check(layers[index], file)
    guard index == 0, try run.model.checks.check(outside, file) else { return }
    for tensor in outside.flatMap(\.tensors) where tensor.type != .i8 {
      if let record = file.header.tensor(tensor.name) { file.advise(record.range, .dontNeed) }
    }
  }

  /// The largest two neighbouring blocks: what is resident at a time.
  var hotByteCount: Int {
    if run.keepsWeights { return ranges.reduce(0) { $0 + $1.count } }
    var best = ranges.first?.count ?? 0
    for index in ranges.indices.dropFirst() {
      best = max(best, ranges[index - 1].count + ranges[index].count)
    }
    return best
  }
}

/// Remembers which parts of a model were checked, so that each is checked once a process.
package final class StreamChecks {
  private var done: Set<String> = []

  /// Compares everything but INT8 weights of some parts; false where they were compared before.
  func check(_ parts: [any WeightSpec], _ file: MappedModel) throws(SegmentationError) -> Bool {
    guard let first = parts.first, done.insert(first.name).inserted else { return false }
    let names = Set(parts.flatMap(\.tensors).filter { $0.type != .i8 }.map(\.name))
    do throws(ContainerError) {
      try file.verifyTensors { names.contains($0.name) }
    } catch {
      throw SegmentationError(.model(error.description))
    }
    return true
  }
}
