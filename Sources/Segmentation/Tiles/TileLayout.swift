// Tiles over a raster: where they lie, and how much of each pixel's scores is theirs.

/// One axis of a raster under tiles of one length, spread evenly.
///
/// Two neighbours share at least `overlap` pixels, in which one fades out linearly as the other fades in.
/// Tiles all have one size, so that all are planned as one; where the last would stick out, all move closer
/// together.
///
/// - Units: pixels.
/// - Memory: 8 bytes a tile.
package struct TileAxis: Equatable, Sendable {
  package let length: Int
  /// Of every tile.
  package let side: Int
  /// First pixel of each tile.
  package let origins: [Int]

  package init(length: Int, tile: Int, overlap: Int) {
    self.length = length
    side = min(length, tile)
    let step = max(1, side - overlap)
    let count = length <= tile ? 1 : (length - overlap + step - 1) / step
    let room = length - side
    origins = (0..<count).map { count == 1 ? 0 : ($0 * room + (count - 1) / 2) / (count - 1) }
  }

  /// What tile `index` would take of a place, before its neighbours are asked.
  private func raw(_ index: Int, _ place: Double) -> Double {
    let start = Double(origins[index])
    guard place >= start, place <= start + Double(side) else { return 0 }
    var share = 1.0
    if index > 0 {
      let shared = Double(origins[index - 1] + side) - start
      share = min(share, (place - start) / max(shared, 1))
    }
    if index + 1 < origins.count {
      let shared = start + Double(side - origins[index + 1])
      share = min(share, (start + Double(side) - place) / max(shared, 1))
    }
    return share
  }

  /// The share of tile `index` in the scores at a place; over all tiles they sum to 1.
  ///
  /// - Units: pixels from the start of the raster; a pixel's centre lies at its half.
  package func share(_ index: Int, at place: Double) -> Float {
    let own = raw(index, place)
    if own == 0 { return 0 }
    // More than two tiles only meet where the raster is a little longer than two.
    var sum = own
    for other in max(0, index - 2)...min(origins.count - 1, index + 2) where other != index {
      sum += raw(other, place)
    }
    return Float(own / sum)
  }
}

/// Tiles of a raster, row by row of tiles.
struct TileLayout: Equatable, Sendable {
  let across: TileAxis
  let down: TileAxis

  init(width: Int, height: Int, tile: Int, overlap: Int) {
    across = TileAxis(length: width, tile: tile, overlap: overlap)
    down = TileAxis(length: height, tile: tile, overlap: overlap)
  }

  var count: Int { across.origins.count * down.origins.count }
}
