// Asks the system for the next block's weights while this one computes, and gives the last one's pages back.
import Container

/// Streams a network's weights block by block through resident memory.
///
/// - Memory: about two blocks of file-backed pages; with `keepsWeights` all that was read stays mapped in.
package struct LayerStream {
  private let model: MappedModel
  private let ranges: [Range<Int>]
  private let keepsWeights: Bool

  /// Ranges by tensor name prefix, in order of use.
  package init(_ reader: ModelReader, prefixes: [String], keepsWeights: Bool) {
    model = reader.model
    ranges = prefixes.map { reader.range(of: $0) }
    self.keepsWeights = keepsWeights
  }

  /// Blocks `config.name.blocks.0.` ... in order.
  package init(_ reader: ModelReader, _ config: EncoderConfig, keepsWeights: Bool) {
    self.init(
      reader, prefixes: (0..<config.depth).map { "\(config.name).blocks.\($0)." }, keepsWeights: keepsWeights)
  }

  /// Call before computing with range `index`.
  package func enter(_ index: Int) {
    if index == 0 { model.advise(ranges[0], .willNeed) }
    if index + 1 < ranges.count { model.advise(ranges[index + 1], .willNeed) }
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
