// The library's face: pixels and words in, labels and scores out.
import Compute
import System

/// A model that is ready to segment photos.
///
/// ```swift
/// let trident = try Trident(model: "demo.gguf")
/// let words = ["dog; puppy", "grass", "sky"]
/// let result = try trident.segment(rgb: pixels, width: 640, height: 480, classes: words)
/// print(result.labels[0], result.pixelCounts)
/// ```
///
/// Any thread may call; calls wait for each other, and each uses all threads of `RuntimeOptions`. Words are
/// encoded once for calls with the same classes.
///
/// The model file stays mapped. If somebody cuts it short meanwhile, the system ends the process with SIGBUS;
/// `RuntimeOptions.copiesModel` reads it into memory instead. One that is rewritten in place makes calls
/// throw `.model`.
///
/// - Memory: the model stays mapped, not loaded; a call reserves what `plannedByteCount` says and gives it
///   back. Text vectors of the last classes stay: 2 KiB a phrase with B/16.
/// - Errors: every throwing function throws `SegmentationError`, whose text names what to change.
/// - Source: Trident (arXiv 2411.09219).
public final class Trident: @unchecked Sendable {
  /// The release, of the library and of the programs.
  public static let version = "0.1.0"

  /// Held by whoever uses what is below.
  private let lock = Lock()
  private let session: Session
  /// Made with the first words; vocabularies need none.
  private var tokenizer: PromptTokenizer?
  /// Phrases that were encoded last, in which sentences and arithmetic, and their vectors.
  private var encoded: (key: VectorKey, vectors: [Float])?

  /// What decides vectors.
  private struct VectorKey: Equatable {
    let phrases: [String]
    let templates: String
    let precision: PrecisionChoice
  }

  /// What a request's words come to.
  private struct RequestWords {
    let list: NamedPhrases
    var templates = TemplateList.all
    /// Where a vocabulary brings them. Shapes: [phrases, embedWidth].
    var vectors: [Float]?
  }

  /// Opens a model file made by `trident-quantize`.
  ///
  /// - Memory: about 1 MiB more for the tokenizer of published models, with the first words.
  /// - Errors: `.model` for a file that is missing, damaged or of another kind; `.usage` for a CPU path that
  ///   cannot run.
  public init(model path: String, runtime: RuntimeOptions = RuntimeOptions()) throws {
    session = try Self.named { try Session(modelPath: path, runtime: runtime) }
  }

  /// The defaults of the method that the model file is for.
  public var defaultOptions: SegmentOptions { SegmentOptions(method: session.method) }

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
    /// Cosine scores before upsampling, the best phrase of each class. Shapes: [classes, scoreRows,
    /// scoreColumns].
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
      precondition(
        (0..<width).contains(x) && (0..<height).contains(y), "pixel \(x), \(y) is outside the photo")
      return Int(labels[y * width + x])
    }
  }

  /// Segments one photo that is already in memory.
  ///
  /// - Shapes: `rgb` [height, width, 3]; `classes`: a phrase each, or synonyms separated by "; ", then " := "
  ///   and a description if you like.
  /// - Units: sRGB bytes, 0 to 255. `background`: class 0 is what nothing else is. `negatives`: phrases whose
  ///   pixels are of no class; their label is the one behind the last class. `templates`: the sentences that
  ///   phrases are placed in: "all" (80), "seven", "one", or a file of lines with one "{}" each; nil: all.
  /// - Memory: the result holds 2 bytes a pixel; the rest is planned and given back.
  /// - Errors: `.photo` where sizes disagree, `.classes`, `.usage` for options, `.memory` where the limit is
  ///   too small.
  public func segment(
    rgb: [UInt8], width: Int, height: Int, classes: [String], background: Bool = false,
    negatives: [String] = [], templates: String? = nil, options: SegmentOptions = SegmentOptions()
  ) throws -> Result {
    try Self.check(width: width, height: height)
    guard rgb.count == width * height * 3 else {
      throw SegmentationError(
        .photo("\(rgb.count) bytes are not \(width) x \(height) pixels of three bytes"))
    }
    return try rgb.withUnsafeBufferPointer { pixels in
      let photo = Photo.pixels(pixels.baseAddress!, width: width, height: height, stride: 3 * width)
      let words = Words.classes(
        classes, background: background, negatives: negatives, templates: templates)
      return try result(Request(photo, words, options))
    }
  }

  /// Segments a JPEG, PNG or PPM file; EXIF orientation is applied.
  ///
  /// - Shapes, memory: as above; the photo itself is read row by row.
  /// - Errors: as above; `.photo` for a file that is missing, damaged or of another kind.
  public func segment(
    file path: String, classes: [String], background: Bool = false, negatives: [String] = [],
    templates: String? = nil, options: SegmentOptions = SegmentOptions()
  ) throws -> Result {
    let words = Words.classes(classes, background: background, negatives: negatives, templates: templates)
    return try result(Request(.file(path), words, options))
  }

  /// Private memory that a photo of this size will take, with everything that the process holds already.
  ///
  /// - Units: bytes; `width` and `height` in pixels.
  /// - Errors: those of `segment`; nothing is computed.
  public func plannedByteCount(
    width: Int, height: Int, classes: [String], templates: String? = nil,
    options: SegmentOptions = SegmentOptions()
  ) throws -> Int {
    try Self.check(width: width, height: height)
    return try lock.with {
      try Self.named {
        let words = try words(of: .classes(classes, templates: templates), options)
        let wording = words.list.wording(.prompts(try prompts(words.list.all, words.templates)))
        let size = PhotoSize(width: width, height: height)
        let plan = try session.plan(size, wording, words.list.settle(options))
        return max(plan.peak, try describedByteCount(words.list, options))
      }
    }
  }

  /// What the texts of descriptions take, which are encoded by themselves; 0 without any.
  private func describedByteCount(_ list: NamedPhrases, _ options: SegmentOptions) throws -> Int {
    let described = list.described
    if described.isEmpty { return 0 }
    return try session.planText(try prompts(list.texts(of: described), .plain), options.precision).peak
  }

  /// Private memory that a request will take, with everything that the process holds already.
  ///
  /// - Units: bytes.
  /// - Errors: those of `segment`; of a photo the header is read, words are encoded only where the plan is
  ///   for later.
  public func plannedByteCount(_ request: Request, wantsConfidence: Bool = false) throws -> Int {
    try lock.with {
      try Self.named {
        let photo = try request.photo.open(session.runtime.photoCeilings)
        let words = try words(of: request.words, request.options)
        let list = words.list
        let source: TextSource =
          try words.vectors.map { .vectors($0) } ?? .prompts(prompts(list.all, words.templates))
        let plan = try session.plan(
          photo, list.wording(source), list.settle(request.options), scores: true,
          confidence: wantsConfidence)
        if words.vectors != nil { return plan.peak }
        return max(plan.peak, try describedByteCount(list, request.options))
      }
    }
  }

  static func check(width: Int, height: Int) throws(SegmentationError) {
    let sides = 1...100_000
    guard sides.contains(width), sides.contains(height) else {
      throw SegmentationError(.photo("no photo has \(width) x \(height) pixels"))
    }
  }

  /// Segments one photo and hands rows on as they are made.
  ///
  /// Work ends early where a call of `receiver` returns false or the current task is cancelled: at the next
  /// block of a network, or row of labels. Words are encoded to the end.
  ///
  /// - Memory: planned, and given back; nothing of the photo's size is held.
  /// - Errors: `.photo`, `.classes`, `.vocabulary`, `.otherModel`, `.usage` for options, `.memory` where the
  ///   limit is too small, `.time`; `CancellationError`.
  public func segment(_ request: Request, _ receiver: Receiver) throws -> Summary {
    try lock.with {
      try Self.named {
        let photo = try request.photo.open(session.runtime.photoCeilings)
        let words = try words(of: request.words, request.options)
        let list = words.list
        let options = list.settle(request.options)
        let wording = list.wording(.vectors(try words.vectors ?? vectors(words, options)))
        let plan = try session.plan(
          photo, wording, options, scores: receiver.scores != nil, confidence: receiver.wantsConfidence)
        try session.checkTime(plan, options.precision)
        let outline = Outline(width: photo.width, height: photo.height, titles: list.titles(options))
        if receiver.begin?(outline) == false { throw CancellationError() }
        return try run(photo, wording, options, plan, receiver)
      }
    }
  }

  private func run(
    _ photo: any PhotoPixels, _ wording: Wording, _ options: SegmentOptions, _ plan: MemoryPlan,
    _ receiver: Receiver
  ) throws -> Summary {
    var (isStopped, confidence) = (false, UnsafePointer<UInt8>?.none)
    func goOn(_ answer: Bool) -> Bool {
      if !answer { isStopped = true }
      return !isStopped && !Task.isCancelled
    }
    var sinks = RunSinks { y, labels in goOn(receiver.row(y, labels, confidence)) }
    if receiver.wantsConfidence {
      sinks.confidence = { _, row in
        confidence = row
        return true
      }
    }
    if let take = receiver.scores {
      sinks.scores = { _, _, _ in
        { if !isStopped { _ = goOn(take(UnsafeBufferPointer(start: $0, count: $1))) } }
      }
    }
    if let tell = receiver.progress { sinks.progress = { if !isStopped { _ = goOn(tell($0, $1)) } } }
    sinks.isCancelled = { isStopped || Task.isCancelled }
    let report = try session.run(photo, wording, options, plan: plan, measures: false, sinks)
    if isStopped || Task.isCancelled { throw CancellationError() }
    return Summary(
      width: report.width, height: report.height, pixelCounts: report.refinement.pixels,
      scoreRows: report.gridRows, scoreColumns: report.gridColumns,
      refinedRegions: report.refinement.refined, failedRegions: report.refinement.failed,
      seconds: report.seconds)
  }

  /// Everything at once.
  private func result(_ request: Request) throws -> Result {
    var labels: [UInt16] = []
    var scores: [Float] = []
    var width = 0
    var receiver = Receiver { _, line, _ in
      labels.append(contentsOf: UnsafeBufferPointer(start: line, count: width))
      return true
    }
    receiver.begin = { outline in
      width = outline.width
      labels.reserveCapacity(outline.width * outline.height)
      return true
    }
    receiver.scores = {
      scores.append(contentsOf: $0)
      return true
    }
    let summary = try segment(request, receiver)
    return Result(
      labels: labels, width: summary.width, height: summary.height, pixelCounts: summary.pixelCounts,
      scores: scores, scoreRows: summary.scoreRows, scoreColumns: summary.scoreColumns,
      refinedRegions: summary.refinedRegions, failedRegions: summary.failedRegions, seconds: summary.seconds)
  }

  /// Runs what may throw errors of the layer below, and gives them the public name.
  private static func named<Value>(_ body: () throws -> Value) throws -> Value {
    do { return try body() } catch let error as ComputeError {
      if case .pathUnavailable = error.reason { throw SegmentationError(.usage(error.description)) }
      if case .temporaryFile = error.reason { throw SegmentationError(.output(error.description)) }
      throw SegmentationError(.model(error.description))
    }
  }

  /// The phrases of a request, and their vectors where a vocabulary brings them.
  private func words(of words: Words, _ options: SegmentOptions) throws -> RequestWords {
    switch words {
    case .classes(let classes, let background, let negatives, let templates):
      let named = try NamedPhrases(classes, background: background, negatives: negatives, options)
      let list = try templates.map { name throws(SegmentationError) in try TemplateList(argument: name) }
      try session.check(named, hasTemplates: list != nil)
      return RequestWords(list: named, templates: list ?? .all)
    case .vocabulary(let path):
      let vocabulary = try VocabularyFile.read(path: path)
      do throws(SegmentationError) {
        try vocabulary.check(modelID: session.textIdentity, width: session.embedWidth)
      } catch {
        throw error.at(path: path)
      }
      guard options.absent.phrases.isEmpty else {
        throw SegmentationError(.usage("negative phrases must be encoded here; a vocabulary has vectors"))
      }
      return RequestWords(
        list: NamedPhrases(vocabulary.classes, stored: vocabulary.negatives), vectors: vocabulary.vectors)
    }
  }

  private func prompts(_ phrases: [String], _ templates: TemplateList) throws -> PromptSource {
    let tokenizer = try tokenizer ?? session.makeTokenizer()
    self.tokenizer = tokenizer
    return PromptSource(phrases: phrases, tokenizer: tokenizer, templates: templates)
  }

  /// Text vectors of all phrases. Shapes: [phrases, embedWidth].
  private func vectors(_ words: RequestWords, _ options: SegmentOptions) throws -> [Float] {
    let list = words.list
    let described = list.described
    let key = VectorKey(
      phrases: list.all + list.describedLines, templates: words.templates.identifier,
      precision: options.precision)
    if let encoded, encoded.key == key { return encoded.vectors }
    func encode(_ source: PromptSource) throws -> [Float] {
      let plan = try session.planText(source, options.precision)
      return try session.encodeText(source, options.precision, plan: plan, measures: false).vectors
    }
    var vectors = try encode(try prompts(list.all, words.templates))
    if !described.isEmpty {
      let texts = try encode(try prompts(list.texts(of: described), .plain))
      list.mix(&vectors, with: texts, of: described, width: session.embedWidth)
    }
    encoded = (key, vectors)
    return vectors
  }
}
