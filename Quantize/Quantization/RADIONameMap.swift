// C-RADIO checkpoints. Source: NVlabs/RADIO `hubconf.py`, `radio/` (facts only; the code is research-only).

import Container
import Segmentation

/// Plans the C-RADIO part of a model from a `.pth.tar` with its heads.
struct RADIONameMap {
  var view: CheckpointView
  let arguments: RADIOArguments
  /// An EMA holds plain weights.
  let isEMA: Bool
  /// The window that positions are kept for, pixels; nil: all.
  private let window: Int?

  private static let generator = "base_model.patch_generator."
  private static let blocks = "base_model.blocks."

  /// - Parameter sam: whose neck takes what the `sam` teacher's projection makes; nil: that is left out.
  static func plan(
    _ directory: TensorDirectory, sam: SAMConfig? = nil, window: Int? = nil
  ) throws(QuantizationError) -> (RADIOConfig, NetworkPlan) {
    var map = try RADIONameMap(directory, window)
    return try map.plan(sam)
  }

  private init(_ directory: TensorDirectory, _ window: Int?) throws(QuantizationError) {
    self.window = window
    let anchor = Self.generator + "embedder.weight"
    // `grandma` is what published safetensors call `gamma`.
    let spelling = NameSpelling(
      rules: [NameSpelling.Rule("module.", ""), NameSpelling.Rule(".grandma", ".gamma")],
      wrappers: ["module.", "model."])
    func isThere(_ prefix: String) -> Bool { directory.names.contains { $0.hasPrefix(prefix) } }
    isEMA = isThere("state_dict_ema.")
    let isState = directory.names.contains { name in
      name.hasPrefix("state_dict.") && spelling.original(String(name.dropFirst(11))) == anchor
    }
    let prefix = isEMA ? "state_dict_ema." : isState ? "state_dict." : ""
    let view = try CheckpointView(directory, prefix: prefix, spelling: spelling)
    guard view.has(anchor) else { throw Self.foreign(directory, anchor, isEMA: isEMA) }
    if isEMA, isThere("state_dict.") {
      directory.networkPrefix = prefix
      directory.notes.append(
        "\(directory.path): 2 copies of the network, below '\(prefix)', 'state_dict.'; '\(prefix)' is taken "
          + "(EMA first)")
    }
    self.view = view
    arguments = RADIOArguments(directory)
  }

  /// What to say of a file without the tensor every C-RADIO has.
  private static func foreign(
    _ directory: TensorDirectory, _ anchor: String, isEMA: Bool
  ) -> QuantizationError {
    if isEMA {
      return QuantizationError(
        .unsupportedModel(
          "no tensor of this name: the EMA, which is to be used where there is one, is not whole; download "
            + "the file again, or save it without state_dict_ema"),
        path: directory.path, name: "state_dict_ema." + anchor)
    }
    let isBackbone = directory.names.contains { $0.hasPrefix("radio_model.model.") }
    let what =
      isBackbone
      ? "this file has no language head; get the .pth.tar, for example c-radio_v3-b_half.pth.tar"
      : "no tensor is named \(anchor); a C-RADIO checkpoint is expected, "
        + "for example c-radio_v3-b_half.pth.tar"
    return QuantizationError(.unsupportedModel(what + directory.gapHint), path: directory.path)
  }

  // MARK: Sizes

  private mutating func plan(_ sam: SAMConfig?) throws(QuantizationError) -> (RADIOConfig, NetworkPlan) {
    let embedder = try view.shape(Self.generator + "embedder.weight", axes: 2)
    let prefix = try view.shape(Self.generator + "cls_token.token", axes: 2)
    let positions = try view.shape(Self.generator + "pos_embed", axes: 3)
    let width = embedder[0]
    let depth = try depth(width: width)
    try checkLayerScales(depth)
    try checkPixels()
    let heads = try heads(width: width)
    guard heads > 0, width % heads == 0 else {
      throw arguments.refuse("model_kwargs.num_heads", "\(heads) heads do not divide a width of \(width)")
    }
    guard embedder[1] % 3 == 0 else {
      throw view.refuse("\(embedder[1]) numbers are no patch of three colours")
    }
    let blocks = try view.tower(
      .radio, width: width, depth: depth, headWidth: width / heads,
      mlpWidth: try view.shape(weightName(Self.blocks + "0.mlp.fc1"), axes: 2)[0])
    let patch = try view.side(of: embedder[1] / 3, Self.generator + "embedder.weight")
    let stored = try view.side(of: positions[1], Self.generator + "pos_embed")
    let vision = VisionConfig.radio(
      blocks, patch: patch, grid: try windowSide(patch, stored) ?? stored, prefixTokens: prefix[0],
      hasPostNorm: try hasPostNorm(),
      positions: window == nil ? .bilinearCropped : .ofWindow)
    let (head, textModel) = try languageHead()
    var config = RADIOConfig(
      vision: vision, hasNormalizer: hasNormalizer, head: try adaptor(head),
      textModel: textModel)
    let samHead = try sam.map { sam throws(QuantizationError) in try maskHead(sam, vision.patch) }
    if let samHead { config.samHead = try adaptor(samHead) }
    let schema = RADIOSchema(config)
    var plan = NetworkPlan(schema)
    try fillBackbone(schema, config, &plan)
    try fillHead(schema.headParts, head, &plan)
    if let samHead, let part = schema.samHead { try fillHead(part, samHead, &plan) }
    try assumeSpectralNorm()
    // Other teachers' heads, losses and normalizers are for training; `reg_token` is not used by the network
    // either.
    let used = [Self.blocks, Self.generator]
    let isEMA = isEMA
    view.ignore { name in
      !used.contains { name.hasPrefix($0) } || isEMA && name.holds(".parametrizations.")
    }
    try view.finish("C-RADIO backbone")
    return (config, plan)
  }

  /// Patches along a side of the window that positions are kept for.
  private func windowSide(_ patch: Int, _ stored: Int) throws(QuantizationError) -> Int? {
    guard let window else { return nil }
    guard window > 0, window % patch == 0, window <= stored * patch else {
      throw view.refuse(
        "--radio-window \(window) is not a multiple of its patch of \(patch), up to \(stored * patch)")
    }
    return window / patch
  }

  /// Told by the arguments; else by the architecture at this width; else heads of 64.
  private func heads(width: Int) throws(QuantizationError) -> Int {
    if let told = try arguments.heads(width: width) { return told }
    guard width % 64 == 0 else {
      throw arguments.refuse(
        "model_kwargs.num_heads", "\(arguments.gap), and a width of \(width) is no multiple of 64")
    }
    let heads = width / 64
    view.directory.assume(
      (heads == 1 ? "one head" : "\(heads) heads") + " of 64 channels", because: arguments.gap)
    return heads
  }

  /// Blocks that are there, if no fewer and no more are told.
  private func depth(width: Int) throws(QuantizationError) -> Int {
    let depth = try view.depth(Self.blocks)
    guard let told = try arguments.depth(width: width), told != depth else { return depth }
    let what = "by its args the network has \(told) blocks, the file has \(depth)"
    throw view.refuse(
      told > depth ? "no tensor of this name: " + what : what,
      Self.blocks + "\(max(min(told, depth), 0)).norm1.weight")
  }

  /// Layer scales belong to all blocks or to none.
  private func checkLayerScales(_ depth: Int) throws(QuantizationError) {
    var names: [String] = []
    for index in 0..<depth {
      for part in ["ls1", "ls2"] { names.append(Self.blocks + "\(index).\(part).gamma") }
    }
    guard names.contains(where: { view.has($0) }) else { return }
    if let name = names.first(where: { !view.has($0) }) { throw view.missing(name) }
  }

  /// The run time gives C-RADIO pixels of CLIP's mean and deviation.
  private func checkPixels() throws(QuantizationError) {
    let usual = PixelStatistics.clip
    for (part, wanted) in [("norm_mean", usual.mean), ("norm_std", usual.deviation)] {
      let name = "input_conditioner." + part
      guard view.has(name) else { continue }
      let found = try view.directory.readFloat(view.full(name))
      let isUsual = found.count == 3 && (0..<3).allSatisfy { abs(found[$0] - wanted[$0]) <= 1e-3 }
      guard isUsual else {
        let list = (0..<3).map { "\(wanted[$0])" }.joined(separator: ", ")
        throw view.refuse(
          "pixels are normalized by \(found.prefix(3)) here; every C-RADIO is run with CLIP's \(list)", name)
      }
    }
  }

  /// Told by the arguments; without them a file that has no such norm needs none.
  private func hasPostNorm() throws(QuantizationError) -> Bool {
    if let told = try arguments.flag("model_norm") { return told }
    let name = "base_model.norm.weight"
    guard !arguments.isTold, view.has(name) else { return false }
    throw view.refuse("\(arguments.gap), and only args.model_norm tells whether this norm is used", name)
  }

  private var hasNormalizer: Bool {
    view.has("_feature_normalizer.mean") || view.has("_feature_normalizer.tx")
  }

  // MARK: Backbone

  private mutating func fillBackbone(
    _ schema: RADIOSchema, _ config: RADIOConfig, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let (vision, width) = (schema.vision, config.width)
    let embedder = try view.require(Self.generator + "embedder.weight", [width, config.vision.patchLength])
    let recipe = LinearRecipe(
      weight: .rows([embedder]), bias: .none, rows: width, columns: config.vision.patchLength)
    plan.fill(vision.patch, .linear(recipe), from: view)
    if let token = vision.classToken {
      let shape = [config.vision.prefixTokens, width]
      try view.floats(token, from: [Self.generator + "cls_token.token"], shape: shape, &plan)
    }
    try fillPositions(vision.position, config.vision, &plan)
    for (index, block) in schema.blocks.enumerated() {
      try fillBlock(block, index, config, isLast: index == config.vision.depth - 1, &plan)
    }
    let scale = Self.blocks + "\(config.vision.depth - 1).ls1.gamma"
    if view.has(scale) {
      try view.floats(schema.lastScale, from: [scale], shape: [width], &plan)
    } else {
      plan.fill(schema.lastScale, .ones(width), from: view)
    }
    if let norm = vision.normPost { try view.norm(norm, from: "base_model.norm", &plan) }
    if let mean = schema.normalizerMean, let matrix = schema.normalizer {
      try view.floats(mean, from: ["_feature_normalizer.mean"], shape: [width], &plan)
      let name = try view.require("_feature_normalizer.tx", [width, width])
      plan.fill(
        matrix, .linear(LinearRecipe(weight: .rows([name]), bias: .none, rows: width, columns: width)),
        from: view)
    }
  }

  private mutating func fillPositions(
    _ part: PositionSpec, _ vision: VisionConfig, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let (name, width) = (Self.generator + "pos_embed", vision.width)
    guard vision.positions == .ofWindow else {
      try view.positions(part, from: name, shape: [1, vision.positionCount, width], &plan)
      return
    }
    let stored = try view.side(of: try view.shape(name, axes: 3)[1], name)
    plan.fill(
      part,
      .resampled(try view.require(name, [1, stored * stored, width]), grid: stored, side: vision.grid),
      from: view)
  }

  /// Layer scale goes into rows of `proj` and `fc2`; not into the last block's `proj`, which is used
  /// unscaled.
  private mutating func fillBlock(
    _ part: BlockSchema, _ index: Int, _ config: RADIOConfig, isLast: Bool, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let from = Self.blocks + "\(index)."
    let (width, blocks) = (config.width, config.vision.blocks)
    try view.norm(part.norm1, from: from + "norm1", &plan)
    var qkv = try linear(from + "attn.qkv", rows: 3 * width, columns: width, parts: 3)
    qkv.rowHeads = HeadSpread(parts: 3, heads: blocks.heads, width: blocks.headWidth)
    plan.fill(part.qkv, .linear(qkv), from: view)
    var out = try linear(from + "attn.proj", rows: width, columns: width)
    out.columnHeads = HeadSpread(parts: 1, heads: blocks.heads, width: blocks.headWidth)
    if !isLast { out.rowFactors = try layerScale(from + "ls1.gamma", width) }
    plan.fill(part.out, .linear(out), from: view)
    guard let mlp = part.mlp else { return }
    try view.norm(mlp.norm, from: from + "norm2", &plan)
    plan.fill(
      mlp.first, .linear(try linear(from + "mlp.fc1", rows: blocks.mlpWidth, columns: width)), from: view)
    var mlpOut = try linear(from + "mlp.fc2", rows: width, columns: blocks.mlpWidth)
    mlpOut.rowFactors = try layerScale(from + "ls2.gamma", width)
    plan.fill(mlp.second, .linear(mlpOut), from: view)
  }

  private mutating func layerScale(_ name: String, _ width: Int) throws(QuantizationError) -> [Float]? {
    try view.layerScale(view.has(name) ? name : nil, width)
  }
}
