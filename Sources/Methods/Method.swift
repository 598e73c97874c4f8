// What every method is: a value that turns a photo and text vectors into scores of classes on a grid.
import Compute

/// A published method.
package protocol SegmentationMethod {
  /// What its model file must hold.
  static var networks: [NetworkRole] { get }

  /// - Errors: `.model` for a file that lacks a network; `.usage` for options that cannot work with it.
  init(_ model: Model, _ options: SegmentOptions) throws(SegmentationError)

  /// Scores of one photo.
  ///
  /// - Shapes: `text` [phrases, embedWidth], unit rows, none where nobody asks for them; `words.phraseClass`
  ///   [phrases], ascending from 0.
  /// - Memory: the result stays reserved; everything else is given back.
  func score(_ photo: any PhotoPixels, text: Rows, words: Wording, in run: RunContext) throws -> Scored

  /// Scores of a photo that was scored under other options, which its networks do not tell from these.
  ///
  /// - Memory: the result stays reserved.
  func scores(of scored: Scored, _ photo: any PhotoPixels, in run: RunContext) throws -> any ScoreField

  /// What of a tile's scores fades into its neighbours'.
  func fading(_ tile: Scored) -> FadingScores

  /// A raster. `blended`: with the field that its tiles faded into as its scores, and all that was found in
  /// them.
  ///
  /// - Memory: the result stays reserved.
  func raster(_ blended: Scored, _ photo: any PhotoPixels, words: Wording, in run: RunContext) throws
    -> Scored
}

extension SegmentationMethod {
  package func fading(_ tile: Scored) -> FadingScores { FadingScores(tile.scores) }

  package func raster(_ blended: Scored, _: any PhotoPixels, words _: Wording, in _: RunContext) throws
    -> Scored
  {
    blended
  }

  /// Where labels alone look at such options.
  package func scores(of scored: Scored, _: any PhotoPixels, in _: RunContext) throws -> any ScoreField {
    scored.scores
  }
}

/// A tile's scores that fade into its neighbours'.
package struct FadingScores {
  package let field: any ScoreField
  /// How densely a tile is read.
  package let cells: (rows: Int, columns: Int)

  /// `cells`: nil: as many as the field has.
  package init(_ field: any ScoreField, cells: (rows: Int, columns: Int)? = nil) {
    self.field = field
    self.cells = cells ?? (field.grid.rows, field.grid.columns)
  }
}

/// What scoring leaves behind.
package struct Scored {
  package let scores: any ScoreField
  /// What is reported as scores: cosines of the best phrase of each class.
  package let reported: any ScoreField
  /// Where scores are reported; the method's scores may lie on another grid.
  package let grid: (rows: Int, columns: Int)
  /// SAM's embedding of the whole photo, where refinement asked for it. Shapes: [grid * grid, neckWidth].
  package let embedding: Rows?
  package let geometry: PhotoGeometry
  /// What a guided refinement works with.
  package let guided: GuidedSettings
  /// Where the method asks which classes are there.
  package let found: PresenceFindings?
  /// Where the rule `purify` asks how classes stood its test.
  package let purity: ClassPurity?

  package init(
    scores: any ScoreField, reported: (any ScoreField)? = nil, grid: (rows: Int, columns: Int),
    embedding: Rows?, geometry: PhotoGeometry, guided: GuidedSettings = GuidedSettings(),
    found: PresenceFindings? = nil, purity: ClassPurity? = nil
  ) {
    (self.guided, self.found, self.purity) = (guided, found, purity)
    (self.scores, self.reported, self.grid) = (scores, reported ?? scores, grid)
    (self.embedding, self.geometry) = (embedding, geometry)
  }
}

extension SegmentationMethod {
  /// Whatever of its networks the file does not hold.
  ///
  /// - Errors: `.model`, naming the first.
  static func require<Network>(_ network: Network?, _ role: NetworkRole, of model: Model)
    throws(SegmentationError)
    -> Network
  {
    if let network { return network }
    if model.config.roles.allSatisfy({ $0 == .siglip || $0 == .text }) {
      throw SegmentationError(
        .model(
          "\(model.file.path) holds a text tower and no network for photos: make a vocabulary with "
            + "'trident text', then give it as --vocabulary with the model file that holds the others"))
    }
    throw SegmentationError(
      .model(
        "\(model.file.path) holds no \(role.rawValue) network, which this method needs; it holds "
          + model.config.roles.map(\.rawValue).joined(separator: ", ")))
  }
}

/// The method that a run asks for.
package func makeMethod(_ model: Model, _ options: SegmentOptions) throws(SegmentationError)
  -> any SegmentationMethod
{
  options.tile > 0 ? try TiledMethod(model, options) : try makeWholeMethod(model, options)
}

/// The method for a photo that is not cut into tiles, and for each tile of one that is.
func makeWholeMethod(_ model: Model, _ options: SegmentOptions) throws(SegmentationError)
  -> any SegmentationMethod
{
  switch options.method {
  case .trident: try TridentMethod(model, options)
  case .radseg: try RADSegMethod(model, options)
  case .scCLIP: try SCCLIPMethod(model, options)
  case .pnpOVSS: try PnPOVSSMethod(model, options)
  }
}

extension Session {
  /// The method that the model file is for, by the networks it holds.
  package var method: MethodName {
    if model.config.blip != nil { return .pnpOVSS }
    if model.config.radio != nil || model.config.siglip != nil { return .radseg }
    return model.config.dino == nil || model.config.sam == nil ? .scCLIP : .trident
  }
}
