// Asks the system for the next block's weights while this one computes, and gives the last one's pages back.
import Container

/// Streams a network's weights block by block through resident memory.
///
/// The first time a block is entered, the checksums of its scales, sums, biases, norms and positions are compared: one
/// wrong bit in those can ruin every pixel. The INT8 weights themselves are left to `verify`; see docs/trust.md.
///
/// - Memory: about two blocks of file-backed pages; with `keepsWeights` all that was read stays mapped in.
package struct LayerStream {
  private let model: MappedModel
  private let checks: StreamChecks
  private let network: String
  private let ranges: [Range<Int>]
  private let keepsWeights: Bool

  /// Blocks `config.name.blocks.0.` ... in order.
  package init(_ reader: ModelReader, _ config: EncoderConfig, keepsWeights: Bool) {
    model = reader.model
    checks = reader.checks
    network = config.name + "."
    ranges = (0..<config.depth).map { reader.range(of: "\(config.name).blocks.\($0).") }
    self.keepsWeights = keepsWeights
  }

  /// Call before computing with range `index`.
  ///
  /// - Errors: `.model` for a wrong checksum.
  package func enter(_ index: Int) throws(SegmentationError) {
    if index == 0 { model.advise(ranges[0], .willNeed) }
    if index + 1 < ranges.count { model.advise(ranges[index + 1], .willNeed) }
    try checks.check(ranges[index], model)
    if index == 0 { try checks.checkOutsideBlocks(of: network, model) }
  }

  /// Call when range `index` has been used.
  package func leave(_ index: Int) {
    if !keepsWeights { model.advise(ranges[index], .dontNeed) }
  }

  /// The largest two neighbouring ranges: what is resident at a time.
  package var hotByteCount: Int {
    if keepsWeights { return ranges.reduce(0) { $0 + $1.count } }
    var best = ranges.first?.count ?? 0
    for index in ranges.indices.dropFirst() { best = max(best, ranges[index - 1].count + ranges[index].count) }
    return best
  }
}

/// Remembers which parts of a model were checked, so that each is checked once a process.
package final class StreamChecks {
  private var done: Set<Int> = []
  private var networks: Set<String> = []

  /// Everything but INT8 weights in a stretch of the file.
  fileprivate func check(_ range: Range<Int>, _ model: MappedModel) throws(SegmentationError) {
    guard done.insert(range.lowerBound).inserted else { return }
    try verify(model) { range.contains($0.offset) }
  }

  /// Everything but INT8 weights of a network outside its blocks; the pages go again.
  fileprivate func checkOutsideBlocks(of network: String, _ model: MappedModel) throws(SegmentationError) {
    guard networks.insert(network).inserted else { return }
    func isOutside(_ tensor: TensorRecord) -> Bool {
      tensor.name.hasPrefix(network) && !tensor.name.hasPrefix(network + "blocks.")
    }
    try verify(model, isOutside)
    for tensor in model.tensors where isOutside(tensor) && tensor.type != .i8 { model.advise(tensor.range, .dontNeed) }
  }

  private func verify(_ model: MappedModel, _ isWanted: (TensorRecord) -> Bool) throws(SegmentationError) {
    do throws(ContainerError) {
      try model.verifyTensors { $0.type != .i8 && isWanted($0) }
    } catch {
      throw SegmentationError(.model(error.description))
    }
  }
}
