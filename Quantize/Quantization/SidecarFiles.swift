// Files that publishers put beside a checkpoint, and what they say that tensors do not.

import Segmentation
import System

/// What the files beside a checkpoint say of an image network.
struct VisionFacts {
  var headWidth: Int?
  var pixels: PixelStatistics?
}

/// `config.json`, `preprocessor_config.json` and their kin.
///
/// A configuration that describes a network of another width or depth belongs to another checkpoint and is
/// left alone, and so is the preprocessor's beside it.
enum SidecarFiles {
  static let byteLimit = 1 << 20

  /// A JSON file of the checkpoint's folder; nil where there is none.
  ///
  /// - Errors: one that cannot be read.
  static func json(
    _ name: String, beside path: String
  ) throws(QuantizationError) -> (file: InputFile, json: JSON)? {
    let file: InputFile
    do throws(QuantizationError) { file = try InputFile.open(path: folder(of: path) + name) } catch {
      if case .cannotOpen = error.reason { return nil }
      throw error
    }
    guard file.byteCount <= byteLimit else {
      throw file.error(.limitExceeded(what: "bytes", limit: byteLimit, found: file.byteCount))
    }
    let bytes = try file.bytes(at: 0, count: file.byteCount)
    return (file, try file.json(bytes, at: 0))
  }

  /// What `config.json` and `preprocessor_config.json` say of a vision transformer of this size.
  static func vision(
    _ directory: TensorDirectory, width: Int, depth: Int
  ) throws(QuantizationError) -> VisionFacts {
    var facts = VisionFacts()
    guard let (file, config) = try json("config.json", beside: directory.path) else { return facts }
    guard config.member("hidden_size")?.count == width, config.member("num_hidden_layers")?.count == depth
    else { return facts }
    if let heads = config.member("num_attention_heads")?.count {
      facts.headWidth = try headWidth(heads: heads, width: width, file)
    }
    facts.pixels = try preprocessor(beside: directory.path)
    return facts
  }

  /// - Errors: heads that do not divide the width.
  static func headWidth(
    heads: Int, width: Int, _ file: InputFile, _ section: String? = nil
  ) throws(QuantizationError) -> Int {
    guard heads > 0, width % heads == 0 else {
      throw file.error(.unsupportedModel("\(heads) heads do not divide a width of \(width)"), name: section)
    }
    return width / heads
  }

  /// Mean and deviation of `preprocessor_config.json`, as transformers' image processors have them, of pixels
  /// from 0 to 1 whatever the file's units are. SAM's processors are for SAM, all others for the rest.
  ///
  /// - Parameter nameless: whether a file that does not tell whose it is counts.
  /// - Errors: steps that this program does not take.
  static func preprocessor(
    beside path: String, ofSAM: Bool = false, nameless: Bool = true
  ) throws(QuantizationError) -> PixelStatistics? {
    guard let (file, json) = try json("preprocessor_config.json", beside: path),
      isOfSAM(json).map({ $0 == ofSAM }) ?? nameless
    else { return nil }
    for key in ["do_flip_channel_order", "offset", "rescale_offset"] where json.member(key)?.boolValue == true
    {
      throw file.error(.unsupportedModel("photos are not prepared so here"), name: key)
    }
    // Bytes times this are what mean and deviation are of.
    var unit: Float = 1 / 255
    if json.member("do_rescale")?.boolValue == false {
      unit = 1
    } else if let factor = json.member("rescale_factor"), factor.isSet {
      guard let number = number(factor), number.isFinite, number > 0 else {
        throw file.error(.unsupportedModel("a factor above 0 is expected"), name: "rescale_factor")
      }
      unit = number
    }
    if json.member("do_normalize")?.boolValue == false {
      let plain = PixelStatistics(mean: SIMD3(repeating: 0), deviation: SIMD3(repeating: 1))
      return try checked(plain, unit, file)
    }
    return try statistics(json.member("image_mean"), json.member("image_std"), file, unit: unit)
  }

  /// Nil where the file does not tell whose it is.
  private static func isOfSAM(_ json: JSON) -> Bool? {
    let names = ["image_processor_type", "processor_class", "feature_extractor_type"]
    let found = names.compactMap { json.member($0)?.stringValue }.first { !$0.isEmpty }
    return found.map { $0.hasPrefix("Sam") }
  }

  /// Three numbers each; nil where nothing is said.
  ///
  /// - Errors: `unsupportedModel` for what is no mean and deviation of pixels.
  static func statistics(
    _ mean: JSON?, _ deviation: JSON?, _ file: InputFile, unit: Float = 1 / 255
  ) throws(QuantizationError) -> PixelStatistics? {
    guard let mean, let deviation, mean.isSet, deviation.isSet else { return nil }
    guard let center = numbers(mean), let width = numbers(deviation) else { throw implausible(file) }
    return try checked(PixelStatistics(mean: center, deviation: width), unit, file)
  }

  /// Of pixels from 0 to 1, where those of bytes times `unit` are given.
  private static func checked(
    _ given: PixelStatistics, _ unit: Float, _ file: InputFile
  ) throws(QuantizationError) -> PixelStatistics {
    let factor = 255 * unit
    // Factors are written with few digits: 0.00392156862745098, 0.003922.
    let isUsual = abs(factor - 1) < 0.001
    let found =
      isUsual ? given : PixelStatistics(mean: given.mean / factor, deviation: given.deviation / factor)
    guard PixelStatistics.isPlausible(found.mean, found.deviation) else { throw implausible(file) }
    return found
  }

  private static func implausible(_ file: InputFile) -> QuantizationError {
    file.error(
      .unsupportedModel("mean and deviation must be three numbers each, of pixels from 0 to 1"),
      name: "image_mean")
  }

  /// Refuses a SAM whose configuration asks for what no SAM of this program has: SAM's mean and deviation,
  /// exact GELU and eight heads of the mask decoder are not in the model file.
  ///
  /// - Parameter width: of the image encoder.
  static func checkSAM(_ directory: TensorDirectory, width: Int) throws(QuantizationError) {
    var isDescribed = false
    if let (file, config) = try json("config.json", beside: directory.path) {
      isDescribed = true
      let vision = config.member("vision_config")
      guard config.member("mask_decoder_config") != nil,
        (vision?.member("hidden_size")?.count ?? width) == width
      else { return }
      if let name = vision?.member("hidden_act")?.stringValue, name != "gelu" {
        throw file.error(.unsupportedModel("activation '\(name)' is not SAM's"), name: "vision_config")
      }
      let heads = config.member("mask_decoder_config")?.member("num_attention_heads")?.count
      if let heads, heads != SAMDecoderNameMap.heads {
        throw file.error(
          .unsupportedModel("\(heads) heads of the mask decoder: SAM has \(SAMDecoderNameMap.heads)"),
          name: "mask_decoder_config")
      }
    }
    guard let found = try preprocessor(beside: directory.path, ofSAM: true, nameless: isDescribed)
    else { return }
    let usual = PixelStatistics.imageNet
    let off = (0..<3).contains { index in
      abs(found.mean[index] - usual.mean[index]) > 0.002
        || abs(found.deviation[index] - usual.deviation[index]) > 0.002
    }
    guard off else { return }
    func numbers(_ vector: SIMD3<Float>) -> String { "\(vector.x), \(vector.y), \(vector.z)" }
    throw QuantizationError(
      .unsupportedModel(
        "preprocessor_config.json beside it has mean \(numbers(found.mean)) and deviation "
          + "\(numbers(found.deviation)); every SAM is run with \(numbers(usual.mean)) and "
          + numbers(usual.deviation)), path: directory.path)
  }

  private static func number(_ json: JSON) -> Float? {
    switch json {
    case .int(let value): Float(value)
    case .number(let value): Float(value)
    default: nil
    }
  }

  private static func numbers(_ json: JSON) -> SIMD3<Float>? {
    guard case .array(let items) = json, items.count == 3 else { return nil }
    var numbers = SIMD3<Float>(repeating: 0)
    for (index, item) in items.enumerated() {
      guard let value = number(item) else { return nil }
      numbers[index] = value
    }
    return numbers
  }
}
