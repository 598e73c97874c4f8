// One pass over a photo, several small copies of it.

/// A copy of a photo: how to resize it, and where it goes.
///
/// - Shapes: `destination` [height * width * 3] of the last stage, RGB, upright, overwritten.
/// - Memory: the destination belongs to the caller and outlives the pass.
package struct PhotoCopy {
  /// A resizing step; sizes are those of the upright picture.
  package enum Stage: Equatable, Sendable {
    /// OpenCV's bilinear rule; see `BilinearRows`.
    case bilinear(width: Int, height: Int)
    /// Pillow's antialiased bilinear rule; see `AntialiasRows`.
    case antialias(width: Int, height: Int)
    /// Pillow's antialiased bicubic rule; see `AntialiasRows`.
    case cubic(width: Int, height: Int)
    /// Columns of the upright picture, cut out; `height` is that of the step before.
    case columns(Range<Int>, height: Int)

    fileprivate var filter: AntialiasRows.Filter {
      if case .cubic = self { return .cubic }
      return .triangle
    }

    /// The size that the step produces, upright, in pixels.
    package var size: (width: Int, height: Int) {
      switch self {
      case .bilinear(let width, let height), .antialias(let width, let height), .cubic(let width, let height):
        return (width, height)
      case .columns(let columns, let height): return (columns.count, height)
      }
    }
  }

  /// Steps in order, each fed by the one before; at least one.
  package var stages: [Stage]
  /// Receives the upright picture.
  package var destination: UnsafeMutablePointer<UInt8>
  /// Told of every row that has been put there, in stored order.
  package var rowStored: (() -> Void)?

  /// Asks for one copy.
  package init(
    stages: [Stage], destination: UnsafeMutablePointer<UInt8>, rowStored: (() -> Void)? = nil
  ) {
    self.stages = stages
    self.destination = destination
    self.rowStored = rowStored
  }
}

/// Feeds every row of a photo to all its copies at once.
///
/// Rows are resized in stored order with widths and heights exchanged where needed, and each finished row is
/// written straight to its upright place, so no copy is held twice. The resizers compute what they would of
/// the upright picture.
///
/// - Memory: `byteCount(...)`, plus the decoder's own `workingByteCount` and `wholeImageByteCount`.
/// - Errors: those of the decoder; destinations are then partly written.
package final class PhotoCopies {
  private let decoder: PhotoDecoder?
  private let copies: [Chain]
  private let workspace: Workspace
  private let row: UnsafeMutablePointer<UInt8>

  private enum Resizer {
    case bilinear(BilinearRows)
    case antialias(AntialiasRows)
    /// Stored rows and stored pixels of a row to keep.
    case crop(rows: Range<Int>, columns: Range<Int>, counter: RowCounter)

    func push(_ row: UnsafePointer<UInt8>, emit: (Int, UnsafePointer<UInt8>) -> Void) {
      switch self {
      case .bilinear(let rows): rows.push(row, emit: emit)
      case .antialias(let rows): rows.push(row, emit: emit)
      case .crop(let rows, let columns, let counter):
        if rows.contains(counter.next) { emit(counter.next - rows.lowerBound, row + 3 * columns.lowerBound) }
        counter.next += 1
      }
    }
  }

  /// How many rows a crop has seen.
  private final class RowCounter { var next = 0 }

  private struct Chain {
    let resizers: [Resizer]
    let store: OrientedStore
    let rowStored: (() -> Void)?

    func push(_ row: UnsafePointer<UInt8>, from stage: Int = 0) {
      resizers[stage].push(row) { y, out in
        if stage + 1 < resizers.count { return push(out, from: stage + 1) }
        store.put(row: y, out)
        rowStored?()
      }
    }
  }

  /// Bytes that the pass works in, for a photo of the stored size and orientation given.
  ///
  /// - Units: bytes, a multiple of 64. Destinations and the decoder are not included.
  package static func byteCount(
    storedWidth: Int, storedHeight: Int, orientation: Orientation, stages: [[PhotoCopy.Stage]]
  ) -> Int {
    var total = Workspace.bytes(3 * storedWidth, of: UInt8.self)
    for list in stages {
      var (width, height) = (storedWidth, storedHeight)
      for stage in list {
        let (w, h) = orientation.size(width: stage.size.width, height: stage.size.height)
        switch stage {
        case .columns: break
        case .bilinear:
          total += BilinearRows.byteCount(sourceWidth: width, targetWidth: w, orientation: orientation)
        case .antialias, .cubic:
          total += AntialiasRows.byteCount(
            sourceWidth: width, sourceHeight: height, targetWidth: w, targetHeight: h,
            orientation: orientation, filter: stage.filter)
        }
        (width, height) = (w, h)
      }
    }
    return total
  }

  /// Prepares the resizers; they allocate here and nowhere else.
  package init(_ decoder: PhotoDecoder, _ copies: [PhotoCopy]) {
    self.decoder = decoder
    workspace = Workspace(nil, byteCount: Workspace.bytes(3 * decoder.storedWidth, of: UInt8.self))
    row = workspace.take(3 * decoder.storedWidth, of: UInt8.self)
    self.copies = copies.map {
      Self.chain($0, decoder.storedWidth, decoder.storedHeight, decoder.orientation)
    }
  }

  /// Prepares the resizers for an upright picture whose rows the caller pushes.
  package init(width: Int, height: Int, _ copies: [PhotoCopy]) {
    decoder = nil
    workspace = Workspace(nil, byteCount: Workspace.bytes(3 * width, of: UInt8.self))
    row = workspace.take(3 * width, of: UInt8.self)
    self.copies = copies.map { Self.chain($0, width, height, .upright) }
  }

  /// Feeds one row of the picture; for passes made with `init(width:height:_:)`.
  package func push(_ row: UnsafePointer<UInt8>) {
    for copy in copies { copy.push(row) }
  }

  private static func chain(
    _ copy: PhotoCopy, _ storedWidth: Int, _ storedHeight: Int, _ orientation: Orientation
  )
    -> Chain
  {
    precondition(!copy.stages.isEmpty, "a copy needs at least one stage")
    var (width, height) = (storedWidth, storedHeight)
    var resizers: [Resizer] = []
    for stage in copy.stages {
      let (w, h) = orientation.size(width: stage.size.width, height: stage.size.height)
      switch stage {
      case .columns(let columns, _):
        resizers.append(crop(columns, width, height, orientation))
      case .bilinear:
        resizers.append(
          .bilinear(
            BilinearRows(
              sourceWidth: width, sourceHeight: height, targetWidth: w, targetHeight: h,
              orientation: orientation)))
      case .antialias, .cubic:
        resizers.append(
          .antialias(
            AntialiasRows(
              sourceWidth: width, sourceHeight: height, targetWidth: w, targetHeight: h,
              orientation: orientation, filter: stage.filter)))
      }
      (width, height) = (w, h)
    }
    let store = OrientedStore(
      storedWidth: width, storedHeight: height, orientation: orientation, destination: copy.destination)
    return Chain(resizers: resizers, store: store, rowStored: copy.rowStored)
  }

  /// Upright columns as stored rows and columns.
  private static func crop(_ columns: Range<Int>, _ width: Int, _ height: Int, _ orientation: Orientation)
    -> Resizer
  {
    let corners = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)].map {
      (stored: $0, seen: orientation.seen(x: $0.0, y: $0.1, width: width, height: height))
    }
    let first = corners[0].seen
    let alongRow = corners[1].seen.x != first.x || width == 1 && corners[2].seen.x == first.x
    let length = alongRow ? width : height
    let isReversed = first.x != 0
    let kept = isReversed ? length - columns.upperBound..<length - columns.lowerBound : columns
    return alongRow
      ? .crop(rows: 0..<height, columns: kept, counter: RowCounter())
      : .crop(rows: kept, columns: 0..<width, counter: RowCounter())
  }

  /// Decodes the whole photo and fills every destination.
  ///
  /// - Memory: the decoder's; a photo that needs the whole picture is refused unless `allowWholeImage`.
  /// - Errors: those of `PhotoDecoder.readRow`.
  package func run(allowWholeImage: Bool) throws(RasterError) {
    guard let decoder else { preconditionFailure("a pass without a file") }
    try decoder.beginDecoding(allowWholeImage: allowWholeImage)
    while decoder.nextRow < decoder.storedHeight {
      try decoder.readRow(into: row)
      for copy in copies { copy.push(row) }
    }
  }
}

/// Puts stored rows where they are seen.
///
/// - Shapes: rows in [storedWidth * 3]; `destination` [seen height * seen width * 3].
/// - Memory: allocates nothing.
package struct OrientedStore {
  private let storedWidth: Int
  private let destination: UnsafeMutablePointer<UInt8>
  /// Pixel of the destination for stored (0, 0), and how it moves with x and y.
  private let origin: Int, perColumn: Int, perRow: Int

  /// Prepares the walk for one picture.
  package init(
    storedWidth: Int, storedHeight: Int, orientation: Orientation, destination: UnsafeMutablePointer<UInt8>
  ) {
    self.storedWidth = storedWidth
    self.destination = destination
    let seenWidth = orientation.size(width: storedWidth, height: storedHeight).width
    func pixel(_ x: Int, _ y: Int) -> Int {
      let seen = orientation.seen(x: x, y: y, width: storedWidth, height: storedHeight)
      return seen.y * seenWidth + seen.x
    }
    origin = pixel(0, 0)
    perColumn = pixel(1, 0) - origin
    perRow = pixel(0, 1) - origin
  }

  /// Writes one stored row.
  package func put(row y: Int, _ row: UnsafePointer<UInt8>) {
    let start = origin + y * perRow
    if perColumn == 1 {
      (destination + 3 * start).update(from: row, count: 3 * storedWidth)
      return
    }
    for x in 0..<storedWidth {
      let target = destination + 3 &* (start &+ x &* perColumn)
      for c in 0..<3 { target[c] = row[3 &* x &+ c] }
    }
  }
}
