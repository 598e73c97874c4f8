// Sizes that one photo takes on its way through the method: sections 1 and 2, and the grids of 5 to 7.
import Compute

/// One encoding by SAM: of the whole photo or of a half of it.
struct SAMPass {
  /// Of the photo with sides rounded up to whole patches.
  let columns: Range<Int>
  let width: Int
  let height: Int
  /// The pass pulls the canvas together.
  let aggregates: Bool
  /// The pass makes the embedding that refinement asks.
  let embeds: Bool
  /// First column of its part of the valid grid.
  let mapColumn: Int
}

/// Sizes of one photo's copies and grids.
struct TridentLayout {
  let geometry: PhotoGeometry
  let plan: WindowPlan
  let canvas: (rows: Int, columns: Int)
  /// SAM's grid without its padding.
  let grid: (rows: Int, columns: Int)
  let passes: [SAMPass]

  init(_ photo: any PhotoPixels, _ method: TridentMethod) {
    let (options, sam, patch) = (method.options, method.sam, method.clip.patch)
    geometry = PhotoGeometry(
      height: photo.height, width: photo.width, patch: patch, grid: sam.grid, imageSide: sam.imageSide)
    plan = WindowPlan(
      photoWidth: photo.width, photoHeight: photo.height, shortSide: options.shortSide,
      window: options.window,
      stride: options.stride, patch: patch)
    let ratio = CLIPWindows.canvasRatio(
      window: options.window, clipPatch: patch, featurePatch: options.readsDINO ? method.dino.patch : patch)
    canvas = (plan.gridRows * ratio, plan.gridColumns * ratio)
    passes = Self.passes(geometry, options, sam)
    let aggregating =
      options.halves && options.paradigm == .splice ? passes.filter(\.aggregates) : Array(passes.suffix(1))
    let side = sam.vision.patch
    grid = (max(1, aggregating[0].height / side), aggregating.reduce(0) { $0 + max(1, $1.width / side) })
  }

  /// The whole photo; or its halves (Cityscapes), and then the whole once more where refinement wants it.
  private static func passes(_ geometry: PhotoGeometry, _ options: SegmentOptions, _ sam: SAMConfig)
    -> [SAMPass]
  {
    let refines = options.refinement == .sam
    func whole(aggregates: Bool) -> SAMPass {
      SAMPass(
        columns: 0..<geometry.paddedWidth, width: geometry.inputWidth, height: geometry.inputHeight,
        aggregates: aggregates, embeds: refines, mapColumn: 0)
    }
    func half(_ columns: Range<Int>, mapColumn: Int) -> SAMPass {
      let size = PhotoGeometry.fitted(geometry.paddedHeight, columns.count, longSide: sam.imageSide)
      return SAMPass(
        columns: columns, width: size.width, height: size.height, aggregates: true, embeds: false,
        mapColumn: mapColumn)
    }
    guard options.halves else { return [whole(aggregates: options.paradigm == .splice)] }
    let middle = geometry.paddedWidth / 2
    let left = half(0..<middle, mapColumn: 0)
    let right = half(middle..<geometry.paddedWidth, mapColumn: left.width / sam.vision.patch)
    return refines ? [left, right, whole(aggregates: false)] : [left, right]
  }

  /// Room for the copy that one pass encodes.
  func samCopy(_ pass: SAMPass, in run: RunContext) throws -> CopyRequest {
    CopyRequest(
      kind: .sam(
        paddedWidth: geometry.paddedWidth, paddedHeight: geometry.paddedHeight, columns: pass.columns),
      width: pass.width, height: pass.height,
      pixels: try run.arena.reserve(UInt8.self, pass.width * pass.height * 3))
  }

  /// Canvas columns and valid grid of one pass.
  func target(of pass: SAMPass, _ canvas: SpliceCanvas, patch: Int) -> AffinityTarget {
    let middle = canvas.columns / 2
    let isHalf = pass.columns.count < geometry.paddedWidth
    let columns = !isHalf ? 0..<canvas.columns : pass.mapColumn == 0 ? 0..<middle : middle..<canvas.columns
    return AffinityTarget(
      name: isHalf && pass.mapColumn > 0 ? "affinity.1" : "affinity", canvas: canvas, columns: columns,
      validRows: min(grid.rows, max(1, pass.height / patch)), validColumns: max(1, pass.width / patch))
  }
}
