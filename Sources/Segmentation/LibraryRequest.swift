// What the library is asked and what it hands back as it goes: a photo, words, options; rows.
import Raster

extension Trident {
  /// Where a photo comes from.
  public enum Photo {
    /// JPEG, PNG or PPM; EXIF orientation is applied.
    case file(String)
    /// RGB bytes, upright, row by row, `stride` bytes from one row to the next.
    ///
    /// - Shapes: [height, stride], the first 3 * width of a row are read; borrowed during the call.
    case pixels(UnsafePointer<UInt8>, width: Int, height: Int, stride: Int)
  }

  /// Where classes come from.
  public enum Words {
    /// A phrase each, or synonyms separated by "; ", then " := " and a description if you like.
    /// `background`: class 0 is what nothing else is; `negatives`: phrases whose pixels are of no class;
    /// `templates`: the sentences that phrases are placed in: "all" (80), "seven", "one", or a file of lines
    /// with one "{}" each; nil: all.
    case classes(
      [String], background: Bool = false, negatives: [String] = [], templates: String? = nil)
    /// A file made by `trident text` or, as `.npz`, elsewhere: the only words for a model without a text
    /// tower, such as RADSeg's.
    case vocabulary(String)
  }

  /// One photo's work.
  public struct Request {
    public var photo: Photo
    public var words: Words
    public var options: SegmentOptions

    public init(_ photo: Photo, _ words: Words, _ options: SegmentOptions = SegmentOptions()) {
      (self.photo, self.words, self.options) = (photo, words, options)
    }
  }

  /// What is known before the first row.
  public struct Outline: Sendable {
    /// Of the upright photo, pixels.
    public let width: Int
    /// Of the upright photo, pixels.
    public let height: Int
    /// What results call each label; the last is "unknown" where pixels may be of no class.
    public let titles: [String]
  }

  /// Takes results while they are made; whatever is nil is not computed.
  ///
  /// A call that returns false ends the work: `segment` throws `CancellationError`.
  public struct Receiver {
    public var begin: ((Outline) -> Bool)?
    /// Labels of a row, top to bottom, and how sure the scores are of its pixels (255 is certain) where
    /// `wantsConfidence`. Shapes: [width]; valid during the call.
    public var row: (_ y: Int, _ labels: UnsafePointer<UInt16>, _ confidence: UnsafePointer<UInt8>?) -> Bool
    public var wantsConfidence = false
    /// Cosine scores before upsampling, class by class and row by row of the grid. Shapes: [columns].
    public var scores: ((_ row: UnsafeBufferPointer<Float>) -> Bool)?
    /// A stage's name and the share of all work that is done.
    public var progress: ((_ stage: String, _ fraction: Double) -> Bool)?

    public init(
      row: @escaping (_ y: Int, _ labels: UnsafePointer<UInt16>, _ confidence: UnsafePointer<UInt8>?) -> Bool
    ) {
      self.row = row
    }
  }

  /// What one photo took and gave.
  public struct Summary: Sendable {
    /// Of the upright photo, pixels.
    public var width = 0
    public var height = 0
    /// Pixels of each label. Shapes: [labels].
    public var pixelCounts: [Int] = []
    /// Of the grid that scores lie on.
    public var scoreRows = 0
    public var scoreColumns = 0
    /// Regions that SAM's masks replaced, and those that kept their coarse labels.
    public var refinedRegions = 0
    public var failedRegions = 0
    /// Of the photo; words that had to be encoded are not counted.
    public var seconds = 0.0
  }
}

extension Trident.Photo {
  /// Opens a file; lends pixels.
  func open(_ ceilings: PhotoCeilings) throws -> any PhotoPixels {
    switch self {
    case .file(let path): return try PhotoFile(path: path, ceilings: ceilings)
    case .pixels(let base, let width, let height, let stride):
      try Trident.check(width: width, height: height)
      guard stride >= 3 * width else {
        throw SegmentationError(.photo("rows are \(stride) bytes apart, \(width) pixels take \(3 * width)"))
      }
      return PhotoInMemory(pixels: base, width: width, height: height, stride: stride)
    }
  }
}
