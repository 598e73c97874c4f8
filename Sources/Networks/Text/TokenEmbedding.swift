// What a text tower begins with: the row of a token, plus the row of its place.
import Compute

/// Token rows (stored as bytes with a scale each) plus positions, gathered where they are mapped.
struct TokenEmbedding {
  private let run: RunContext
  private let table: UnsafePointer<Int8>
  private let scale: UnsafePointer<Float>
  private let position: PositionSpec

  init(_ run: RunContext, _ tokens: TableSpec, _ position: PositionSpec) {
    (self.run, self.position) = (run, position)
    (table, scale) = run.model[tokens]
  }

  /// - Shapes: `out` [width], overwritten.
  func write(_ token: Int, at place: Int, into out: UnsafeMutablePointer<Float>) {
    run.model.load(position, place..<place + 1, run.engine, into: out)
    let (row, factor) = (table + token * position.width, scale[token])
    for channel in 0..<position.width { out[channel] += Float(row[channel]) * factor }
  }
}
