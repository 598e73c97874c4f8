// The library's face: pixels and words in, labels and scores out.
import Compute

/// A model that is ready to segment photos.
///
/// ```swift
/// let trident = try Trident(model: "demo.gguf")
/// let result = try trident.segment(rgb: pixels, width: 640, height: 480, classes: ["dog; puppy", "grass", "sky"])
/// print(result.labels[0], result.pixelCounts)
/// ```
///
/// One call at a time; a call uses all threads of `RuntimeOptions`. Words are encoded once for calls with the same classes.
///
/// - Memory: the model stays mapped, not loaded; a call reserves what `plannedByteCount` says and gives it back. Text
///   vectors of the last classes stay: 2 KiB a phrase with B/16.
/// - Errors: every throwing function throws `SegmentationError`, whose text names what to change.
/// - Source: Trident (arXiv 2411.09219).
public final class Trident {
  /// The release, of the library and of the programs.
  public static let version = "0.1.0"

  private let session: Session
  private let tokenizer: BytePairTokenizer
  /// Phrases that were encoded last, in which arithmetic, and their vectors.
  private var encoded: (phrases: [String], precision: PrecisionChoice, vectors: [Float])?

  /// Opens a model file made by `trident-quantize`.
  ///
  /// - Memory: about 1 MiB for the tokenizer of published models.
  /// - Errors: `.model` for a file that is missing, damaged or of another kind; `.usage` for a CPU path that cannot run.
  public init(model path: String, runtime: RuntimeOptions = RuntimeOptions()) throws {
    session = try Self.named { try Session(modelPath: path, runtime: runtime) }
    tokenizer = try session.makeTokenizer()
  }

  /// Everything one photo gave.
  public struct Result: Sendable {
    /// A class index for each pixel of the upright photo, row by row. Shapes: [height, width].
    public var labels: [UInt16]
    /// Of the upright photo, pixels.
    public let width: Int
    /// Of the upright photo, pixels.
    public let height: Int
    /// Pixels of each class. Shapes: [classes].
    public var pixelCounts: [Int]
    /// Cosine scores before upsampling, the best phrase of each class. Shapes: [classes, scoreRows, scoreColumns].
    public var scores: [Float]
    public var scoreRows: Int
    public var scoreColumns: Int
    /// Regions that SAM's masks replaced.
    public var refinedRegions: Int
    /// Regions that kept their coarse labels.
    public var failedRegions: Int
    /// Of the photo; words that had to be encoded are not counted.
    public var seconds: Double

    /// The class index of one pixel; traps outside the photo.
    public subscript(x: Int, y: Int) -> Int {
      precondition((0..<width).contains(x) && (0..<height).contains(y), "pixel \(x), \(y) is outside the photo")
      return Int(labels[y * width + x])
    }
  }

  /// Segments one photo that is already in memory.
  ///
  /// - Shapes: `rgb` [height, width, 3]; `classes`: a phrase each, or synonyms separated by "; ".
  /// - Units: sRGB bytes, 0 to 255. `background`: class 0 is what nothing else is.
  /// - Memory: the result holds 2 bytes a pixel; the rest is planned and given back.
  /// - Errors: `.photo` where sizes disagree, `.classes`, `.usage` for options, `.memory` where the limit is too small.
  public func segment(
    rgb: [UInt8], width: Int, height: Int, classes: [String], background: Bool = false,
    options: SegmentOptions = SegmentOptions()
  ) throws -> Result {
    try Self.check(width: width, height: height)
    guard rgb.count == width * height * 3 else {
      throw SegmentationError(
        .photo("\(rgb.count) bytes are not \(width) x \(height) pixels of three bytes"))
    }
    return try rgb.withUnsafeBufferPointer { pixels in
      try segment(
        PhotoInMemory(pixels: pixels.baseAddress!, width: width, height: height), classes, background, options)
    }
  }

  /// Segments a JPEG, PNG or PPM file; EXIF orientation is applied.
  ///
  /// - Shapes, memory: as above; the photo itself is read row by row.
  /// - Errors: as above; `.photo` for a file that is missing, damaged or of another kind.
  public func segment(
    file path: String, classes: [String], background: Bool = false, options: SegmentOptions = SegmentOptions()
  ) throws -> Result {
    try segment(try PhotoFile(path: path), classes, background, options)
  }

  /// Private memory that a photo of this size will take, with everything that the process holds already.
  ///
  /// - Units: bytes; `width` and `height` in pixels.
  /// - Errors: those of `segment`; nothing is computed.
  public func plannedByteCount(
    width: Int, height: Int, classes: [String], options: SegmentOptions = SegmentOptions()
  ) throws -> Int {
    try Self.check(width: width, height: height)
    let list = try ClassList(arguments: classes, background: false)
    let words = Wording(
      source: .prompts(PromptSource(phrases: list.phrases, tokenizer: tokenizer)),
      phraseClass: list.classIndex.map { Int($0) })
    return try Self.named { try session.plan(PhotoSize(width: width, height: height), words, options).peak }
  }

  private static func check(width: Int, height: Int) throws(SegmentationError) {
    let sides = 1...100_000
    guard sides.contains(width), sides.contains(height) else {
      throw SegmentationError(.photo("no photo has \(width) x \(height) pixels"))
    }
  }

  private func segment(
    _ photo: PhotoPixels, _ classes: [String], _ background: Bool, _ options: SegmentOptions
  ) throws -> Result {
    let list = try ClassList(arguments: classes, background: background)
    var result = Result(
      labels: [], width: photo.width, height: photo.height, pixelCounts: [], scores: [], scoreRows: 0,
      scoreColumns: 0, refinedRegions: 0, failedRegions: 0, seconds: 0)
    result.labels.reserveCapacity(photo.width * photo.height)
    var sinks = RunSinks { _, line in
      result.labels.append(contentsOf: UnsafeBufferPointer(start: line, count: photo.width))
      return true
    }
    sinks.scores = { _, _, _ in
      { row, count in result.scores.append(contentsOf: UnsafeBufferPointer(start: row, count: count)) }
    }
    try Self.named {
      let words = Wording(source: .vectors(try vectors(list.phrases, options)), phraseClass: list.classIndex.map { Int($0) })
      let plan = try session.plan(photo, words, options)
      let report = try session.run(photo, words, options, plan: plan, measures: false, sinks)
      result.pixelCounts = report.refinement.pixels
      result.scoreRows = report.gridRows
      result.scoreColumns = report.gridColumns
      result.refinedRegions = report.refinement.refined
      result.failedRegions = report.refinement.failed
      result.seconds = report.seconds
    }
    return result
  }

  /// Runs what may throw errors of the layer below, and gives them the public name.
  private static func named<Value>(_ body: () throws -> Value) throws -> Value {
    do { return try body() } catch let error as ComputeError {
      if case .pathUnavailable = error.reason { throw SegmentationError(.usage(error.description)) }
      throw SegmentationError(.model(error.description))
    }
  }

  /// Text vectors of phrases. Shapes: [phrases, embedWidth].
  private func vectors(_ phrases: [String], _ options: SegmentOptions) throws -> [Float] {
    if let encoded, encoded.phrases == phrases, encoded.precision == options.precision { return encoded.vectors }
    let source = PromptSource(phrases: phrases, tokenizer: tokenizer)
    let plan = try session.planText(source, options.precision)
    let vectors = try session.encodeText(source, options.precision, plan: plan, measures: false).vectors
    encoded = (phrases, options.precision, vectors)
    return vectors
  }
}
