// What a CLIP checkpoint's tensors do not tell: the activation and, for some, the width of a head. Taken from
// the checkpoint's own kind or the configuration beside it; never guessed.

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
  static let configByteLimit = 1 << 20

  var activation: CLIPActivation?
  var visionHeadWidth: Int?
  var textHeadWidth: Int?
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
      family.source = "OpenAI's archives"
      return family
    }
    let name = names.naming == .huggingFace ? "config.json" : "open_clip_config.json"
    guard let (file, json) = try load(folder(of: directory.path) + name) else { return family }
    family.source = name
    if names.naming == .huggingFace {
      try family.readHuggingFace(json, file, vision: vision, text: text)
    } else {
      family.readOpenCLIP(json, vision: vision, text: text)
    }
    return family
  }

  private static func load(_ path: String) throws(QuantizationError) -> (InputFile, JSONValue)? {
    let file: InputFile
    do throws(QuantizationError) { file = try InputFile.open(path: path) } catch {
      if case .cannotOpen = error.reason { return nil }
      throw error
    }
    guard file.byteCount <= configByteLimit else {
      throw file.error(.limitExceeded(what: "bytes", limit: configByteLimit, found: file.byteCount))
    }
    let bytes = try file.bytes(at: 0, count: file.byteCount)
    return (file, try JSONReader.parse(bytes, file: file, baseOffset: 0))
  }

  private mutating func readHuggingFace(
    _ json: JSONValue, _ file: InputFile, vision: (width: Int, depth: Int), text: (width: Int, depth: Int)
  ) throws(QuantizationError) {
    var found: [CLIPActivation] = []
    var sections = 0
    for (section, size) in [("vision_config", vision), ("text_config", text)] {
      guard let config = json.member(section) else { continue }
      if let width = config.member("hidden_size")?.count, width != size.width { continue }
      if let depth = config.member("num_hidden_layers")?.count, depth != size.depth { continue }
      sections += 1
      if case .text(let name)? = config.member("hidden_act") {
        switch name {
        case "quick_gelu": found.append(.quickgelu)
        case "gelu": found.append(.gelu)
        default: throw file.error(.unsupportedModel("activation '\(name)' is not supported"), name: section)
        }
      }
      guard let heads = config.member("num_attention_heads")?.count else { continue }
      guard heads > 0, size.width % heads == 0 else {
        throw file.error(
          .unsupportedModel("\(heads) heads do not divide a width of \(size.width)"), name: section)
      }
      if section == "vision_config" {
        visionHeadWidth = size.width / heads
      } else {
        textHeadWidth = size.width / heads
      }
    }
    if let first = found.first, let last = found.last {
      guard first == last else {
        throw file.error(.unsupportedModel("the towers use different activations"), name: "hidden_act")
      }
      activation = first
    } else if sections == 2, case .text("clip")? = json.member("model_type") {
      // What transformers' CLIPConfig takes where nothing is said.
      activation = .quickgelu
    }
  }

  /// open_clip's own default is exact GELU: a configuration without `quick_gelu` says so.
  private mutating func readOpenCLIP(
    _ json: JSONValue, vision: (width: Int, depth: Int), text: (width: Int, depth: Int)
  ) {
    guard let model = json.member("model_cfg"), let config = model.member("vision_cfg"),
      config.member("width")?.count == vision.width, config.member("layers")?.count == vision.depth
    else { return }
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

  /// The activation to use, given what the user asked for.
  ///
  /// - Errors: nothing known and nothing asked; or the two contradict each other.
  func activation(
    asked: CLIPActivation?, _ directory: TensorDirectory
  ) throws(QuantizationError) -> CLIPActivation {
    if let activation, let asked, activation != asked {
      let what =
        "--activation \(asked.rawValue) contradicts \(source): this checkpoint uses \(activation.rawValue)"
      throw QuantizationError(.unsupportedModel(what), path: directory.path)
    }
    if let known = activation ?? asked { return known }
    let what =
      "the tensors do not tell the activation; name it with --activation quickgelu (OpenAI's and MetaCLIP's "
      + "weights, DFN) or --activation gelu (LAION's and most others trained with open_clip)"
    throw QuantizationError(.unsupportedModel(what), path: directory.path)
  }
}

/// The folder part of a path with its slash; empty for the current folder.
func folder(of path: String) -> String {
  guard let slash = path.lastIndex(of: "/") else { return "" }
  return String(path[...slash])
}

extension JSONValue {
  /// A whole number from 0 on.
  var count: Int? {
    if case .integer(let value) = self, value >= 0 { return value }
    return nil
  }
}
