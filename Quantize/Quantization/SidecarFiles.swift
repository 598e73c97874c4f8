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

  /// Mean and deviation of `preprocessor_config.json`, as transformers' image processors have them.
  static func preprocessor(beside path: String) throws(QuantizationError) -> PixelStatistics? {
    guard let (file, json) = try json("preprocessor_config.json", beside: path) else { return nil }
    if json.member("do_normalize")?.boolValue == false {
      return PixelStatistics(mean: SIMD3(repeating: 0), deviation: SIMD3(repeating: 1))
    }
    return try statistics(json.member("image_mean"), json.member("image_std"), file)
  }

  /// Three numbers each; nil where nothing is said.
  ///
  /// - Errors: `unsupportedModel` for what is no mean and deviation of pixels from 0 to 1.
  static func statistics(
    _ mean: JSON?, _ deviation: JSON?, _ file: InputFile
  ) throws(QuantizationError) -> PixelStatistics? {
    guard let mean, let deviation, mean.isSet, deviation.isSet else { return nil }
    guard let center = numbers(mean), let width = numbers(deviation),
      PixelStatistics.isPlausible(center, width)
    else {
      throw file.error(
        .unsupportedModel("mean and deviation must be three numbers each, of pixels from 0 to 1"),
        name: "image_mean")
    }
    return PixelStatistics(mean: center, deviation: width)
  }

  private static func numbers(_ json: JSON) -> SIMD3<Float>? {
    guard case .array(let items) = json, items.count == 3 else { return nil }
    var numbers = SIMD3<Float>(repeating: 0)
    for (index, item) in items.enumerated() {
      switch item {
      case .int(let value): numbers[index] = Float(value)
      case .number(let value): numbers[index] = Float(value)
      default: return nil
      }
    }
    return numbers
  }
}
