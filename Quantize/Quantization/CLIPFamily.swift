// What a CLIP checkpoint's tensors do not tell: the activation, mean and deviation of pixels and, for some,
// the width of a head. Taken from the checkpoint's own kind or the configuration beside it.

import Segmentation
import System

/// The activation of CLIP's MLPs, spelled as in the model file.
package enum CLIPActivation: String, Sendable, CaseIterable {
  case quickgelu, gelu
}

/// Whose names the checkpoint uses.
enum CLIPNaming {
  case openCLIP, huggingFace
}

/// Facts from `config.json` (Hugging Face) or `open_clip_config.json` beside the checkpoint.
///
/// A configuration that describes a tower of another width or depth belongs to another checkpoint and is left
/// alone.
struct CLIPFamily {
  var activation: CLIPActivation?
  var visionHeadWidth: Int?
  var textHeadWidth: Int?
  var pixels: PixelStatistics?
  /// Of OpenAI's own archives, whose constants are known.
  var isOpenAI = false
  /// Where the facts come from, for messages.
  var source = ""

  /// - Errors: a configuration that cannot be read, or names an activation this package does not know.
  static func find(
    _ directory: TensorDirectory, _ names: CLIPNames, vision: (width: Int, depth: Int),
    text: (width: Int, depth: Int)
  ) throws(QuantizationError) -> CLIPFamily {
    var family = CLIPFamily()
    let sizes = CLIPNames.openAISizes.filter { directory.record(names.prefix + $0) != nil }
    if directory.format == .torchScript || sizes.count == CLIPNames.openAISizes.count {
      family.activation = .quickgelu
      (family.pixels, family.isOpenAI) = (.clip, true)
      family.source = "OpenAI's archives"
      return family
    }
    let name = names.naming == .huggingFace ? "config.json" : "open_clip_config.json"
    guard let (file, json) = try SidecarFiles.json(name, beside: directory.path) else {
      family.pixels = try preprocessor(directory, vision)
      return family
    }
    family.source = name
    if names.naming == .huggingFace {
      if try family.readHuggingFace(json, file, vision: vision, text: text) {
        family.pixels = try SidecarFiles.preprocessor(beside: directory.path)
      }
    } else {
      try family.readOpenCLIP(json, file, vision: vision, text: text)
    }
    return family
  }

  /// Mean and deviation of the image processor, unless the configuration beside it is another network's.
  private static func preprocessor(
    _ directory: TensorDirectory, _ vision: (width: Int, depth: Int)
  ) throws(QuantizationError) -> PixelStatistics? {
    if let (_, config) = try SidecarFiles.json("config.json", beside: directory.path) {
      guard config.member("vision_config")?.member("hidden_size")?.count == vision.width else { return nil }
    }
    return try SidecarFiles.preprocessor(beside: directory.path)
  }

  /// False where the file describes another model.
  private mutating func readHuggingFace(
    _ json: JSON, _ file: InputFile, vision: (width: Int, depth: Int), text: (width: Int, depth: Int)
  ) throws(QuantizationError) -> Bool {
    var found: [CLIPActivation] = []
    var sections = 0
    for (section, size) in [("vision_config", vision), ("text_config", text)] {
      guard let config = json.member(section) else { continue }
      if let width = config.member("hidden_size")?.count, width != size.width { continue }
      if let depth = config.member("num_hidden_layers")?.count, depth != size.depth { continue }
      sections += 1
      if case .string(let name)? = config.member("hidden_act") {
        switch name {
        case "quick_gelu": found.append(.quickgelu)
        case "gelu": found.append(.gelu)
        default: throw file.error(.unsupportedModel("activation '\(name)' is not supported"), name: section)
        }
      }
      guard let heads = config.member("num_attention_heads")?.count else { continue }
      let width = try SidecarFiles.headWidth(heads: heads, width: size.width, file, section)
      if section == "vision_config" { visionHeadWidth = width } else { textHeadWidth = width }
    }
    if let first = found.first, let last = found.last {
      guard first == last else {
        throw file.error(.unsupportedModel("the towers use different activations"), name: "hidden_act")
      }
      activation = first
    } else if sections == 2, case .string("clip")? = json.member("model_type") {
      // What transformers' CLIPConfig takes where nothing is said.
      activation = .quickgelu
    }
    return sections > 0
  }

  /// open_clip's own default is exact GELU: a configuration without `quick_gelu` says so.
  ///
  /// - Errors: towers that are put together otherwise than CLIP's.
  private mutating func readOpenCLIP(
    _ json: JSON, _ file: InputFile, vision: (width: Int, depth: Int), text: (width: Int, depth: Int)
  ) throws(QuantizationError) {
    guard let model = json.member("model_cfg"), let config = model.member("vision_cfg"),
      config.member("width")?.count == vision.width, config.member("layers")?.count == vision.depth
    else { return }
    let cuts = json.member("preprocess_cfg")
    pixels = try SidecarFiles.statistics(cuts?.member("mean"), cuts?.member("std"), file)
    try Self.refuseOtherTowers(model, file)
    if case .bool(true)? = model.member("quick_gelu") {
      activation = .quickgelu
    } else {
      activation = .gelu
    }
    if let width = config.member("head_width")?.count, width > 0 { visionHeadWidth = width }
    if let tower = model.member("text_cfg"), tower.member("width")?.count == text.width,
      let heads = tower.member("heads")?.count, heads > 0, text.width % heads == 0
    {
      textHeadWidth = text.width / heads
    }
  }

  private static func refuseOtherTowers(_ model: JSON, _ file: InputFile) throws(QuantizationError) {
    let usual: [(section: String, key: String, values: [String])] = [
      ("vision_cfg", "pool_type", ["tok"]), ("text_cfg", "pool_type", ["argmax", "eos", "eot"]),
      ("text_cfg", "hf_tokenizer_name", ["openai/clip-vit-base-patch32", "openai/clip-vit-large-patch14"]),
    ]
    for (section, key, values) in usual {
      guard let found = model.member(section)?.member(key)?.stringValue, !found.isEmpty else { continue }
      if values.contains(found) { continue }
      throw file.error(
        .unsupportedModel("'\(found)' is not what CLIP's towers do"), name: "\(section).\(key)")
    }
    let flags = [
      ("vision_cfg", "no_ln_pre"), ("vision_cfg", "attentional_pool"), ("text_cfg", "no_causal_mask"),
      ("text_cfg", "embed_cls"),
    ]
    for (section, key) in flags where model.member(section)?.member(key)?.boolValue == true {
      throw file.error(.unsupportedModel("CLIP's towers do not do this"), name: "\(section).\(key)")
    }
  }

  /// Mean and deviation of the pixels. Where nobody tells and all known checkpoints of this size have
  /// OpenAI's, those, which is said and recorded.
  ///
  /// - Errors: nobody tells, and known checkpoints of this size differ.
  /// - Source: open_clip `pretrained.py`, where of all ViTs with CLIP's own towers `laion2b_s32b_b82k` of
  ///   ViT-L-14 alone has other constants.
  func pixels(
    asked: PixelStatistics?, _ directory: TensorDirectory, _ size: (patch: Int, width: Int), isExact: Bool
  ) throws(QuantizationError) -> PixelStatistics {
    if let known = asked ?? pixels { return known }
    if isExact && Self.differs(size) {
      let what =
        "no configuration beside it tells mean and deviation of pixels, and published ones of this size "
        + "differ; name them: " + Self.flags.half + " for LAION-2B's (laion2b_s32b_b82k), "
        + Self.flags.usual + " for the others"
      throw QuantizationError(.unsupportedModel(what), path: directory.path)
    }
    directory.assume(
      "mean and deviation of pixels are OpenAI's", because: "no configuration beside it tells",
      otherwise: "--clip-mean and --clip-std")
    return .clip
  }

  /// Whether published checkpoints of this size with exact GELU have different constants: ViT-L/14.
  private static func differs(_ size: (patch: Int, width: Int)) -> Bool { size == (14, 1024) }

  /// Flags that can be copied, with the digits that open_clip has.
  private static let flags = (
    half: "--clip-mean 0.5,0.5,0.5 --clip-std 0.5,0.5,0.5",
    usual: "--clip-mean 0.48145466,0.4578275,0.40821073 --clip-std 0.26862954,0.26130258,0.27577711"
  )

  /// Published checkpoints of a size, by activation.
  ///
  /// - Source: open_clip `pretrained.py` and `model_configs`; the model cards of DFN and MetaCLIP.
  private static func published(_ size: (patch: Int, width: Int)) -> (quick: String, exact: String) {
    switch size {
    case (32, _): ("OpenAI, LAION-400M, MetaCLIP", "LAION-2B, DataComp, CommonPool")
    case (16, _): ("OpenAI, MetaCLIP, DFN-2B", "LAION-400M, LAION-2B, DataComp")
    case (14, 1024):
      ("OpenAI, MetaCLIP, DFN-2B", "LAION-400M, LAION-2B, DataComp, DFN-2B-39B (dfn2b_s39b)")
    case (14, 1280): ("DFN-5B, also at 378 pixels", "LAION-2B, MetaCLIP")
    case (14, _): ("none that is known", "LAION-2B")
    default: ("OpenAI's and most DFN and MetaCLIP weights", "LAION-2B's, DataComp's and MetaCLIP H/14")
    }
  }

  /// The activation to use, given what the user asked for.
  ///
  /// - Errors: nothing known and nothing asked; or the two contradict each other.
  func activation(
    asked: CLIPActivation?, _ directory: TensorDirectory, _ size: (patch: Int, width: Int)
  ) throws(QuantizationError) -> CLIPActivation {
    if let activation, let asked, activation != asked {
      let what =
        "--activation \(asked.rawValue) contradicts \(source): this checkpoint uses \(activation.rawValue)"
      throw QuantizationError(.unsupportedModel(what), path: directory.path)
    }
    if let known = activation ?? asked { return known }
    let published = Self.published(size)
    var exact = "or --activation gelu (\(published.exact))"
    if pixels == nil, Self.differs(size) {
      exact =
        "or --activation gelu \(Self.flags.half) (LAION-2B) or --activation gelu \(Self.flags.usual) "
        + "(the others)"
    }
    let what =
      "the tensors do not tell the activation; name it: --activation quickgelu (of this size: "
      + published.quick + ") " + exact
    throw QuantizationError(.unsupportedModel(what), path: directory.path)
  }
}

extension JSON {
  /// A whole number from 0 on.
  var count: Int? {
    if case .int(let value) = self, value >= 0 { return value }
    return nil
  }
}
