// C-RADIO checkpoints. Source: NVlabs/RADIO `hubconf.py`, `radio/` (facts only; the code is research-only).

import Container
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Plans the C-RADIO part of a model from a `.pth.tar` with its heads.
struct RADIONameMap {
  private var view: CheckpointView
  private let arguments: CheckpointValue?
  /// An EMA holds plain weights.
  private let isEMA: Bool
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
    let prefix = ["state_dict_ema.", "state_dict.", ""].first { prefix in
      directory.record(prefix + anchor) != nil || directory.record(prefix + "module." + anchor) != nil
    }
    guard let prefix else {
      let isBackbone = directory.names.contains { $0.hasPrefix("radio_model.model.") }
      let what =
        isBackbone
        ? "this file has no language head; get the .pth.tar, for example c-radio_v3-b_half.pth.tar"
        : "no tensor is named \(anchor); a C-RADIO checkpoint is expected, "
          + "for example c-radio_v3-b_half.pth.tar"
      throw QuantizationError(.unsupportedModel(what + directory.shardHint), path: directory.path)
    }
    // `grandma` is what published safetensors call `gamma`.
    let spelling = NameSpelling(rules: [
      NameSpelling.Rule("module.", ""), NameSpelling.Rule(".grandma", ".gamma"),
    ])
    view = try CheckpointView(directory, prefix: prefix, spelling: spelling)
    arguments = directory.arguments
    isEMA = prefix == "state_dict_ema."
  }

  // MARK: Sizes

  private mutating func plan(_ sam: SAMConfig?) throws(QuantizationError) -> (RADIOConfig, NetworkPlan) {
    let embedder = try view.shape(Self.generator + "embedder.weight", axes: 2)
    let prefix = try view.shape(Self.generator + "cls_token.token", axes: 2)
    let positions = try view.shape(Self.generator + "pos_embed", axes: 3)
    let (width, depth) = (embedder[0], try view.depth(Self.blocks))
    let heads = heads(width: width)
    guard heads > 0, width % heads == 0 else {
      throw view.refuse("\(heads) heads do not divide a width of \(width)")
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
      hasPostNorm: arguments?["model_norm"]?.isTrue ?? false,
      positions: window == nil ? .bilinearCropped : .ofWindow)
    let (head, textModel) = try languageHead()
    var config = RADIOConfig(
      vision: vision, hasNormalizer: view.has("_feature_normalizer.mean"), head: try adaptor(head),
      textModel: textModel)
    let samHead = try sam.map { sam throws(QuantizationError) in try maskHead(sam, vision.patch) }
    if let samHead { config.samHead = try adaptor(samHead) }
    let schema = RADIOSchema(config)
    var plan = NetworkPlan(schema)
    try fillBackbone(schema, config, &plan)
    try fillHead(schema.headParts, head, &plan)
    if let samHead, let part = schema.samHead { try fillHead(part, samHead, &plan) }
    // Other teachers' heads, losses and normalizers are for training; `reg_token` is not used by the network
    // either.
    let used = [Self.blocks, Self.generator]
    view.ignore { name in !used.contains { name.hasPrefix($0) } || name.holds(".parametrizations.") }
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
  private func heads(width: Int) -> Int {
    if let told = arguments?["model_kwargs"]?["num_heads"]?.integer { return told }
    let known = [
      "vit_base": (768, 12), "vit_large": (1024, 16), "vit_so400m": (1152, 16), "vit_huge": (1280, 16),
      "vit_giant": (1536, 24),
    ]
    let name = arguments?["model"]?.text ?? ""
    for (stem, (usual, heads)) in known where name.hasPrefix(stem) && usual == width { return heads }
    return width / 64
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
    try view.norm(part.norm2, from: from + "norm2", &plan)
    var qkv = try linear(from + "attn.qkv", rows: 3 * width, columns: width, parts: 3)
    qkv.rowHeads = HeadSpread(parts: 3, heads: blocks.heads, width: blocks.headWidth)
    plan.fill(part.qkv, .linear(qkv), from: view)
    var out = try linear(from + "attn.proj", rows: width, columns: width)
    out.columnHeads = HeadSpread(parts: 1, heads: blocks.heads, width: blocks.headWidth)
    if !isLast { out.rowFactors = try layerScale(from + "ls1.gamma", width) }
    plan.fill(part.out, .linear(out), from: view)
    plan.fill(
      part.mlpIn, .linear(try linear(from + "mlp.fc1", rows: blocks.mlpWidth, columns: width)), from: view)
    var mlpOut = try linear(from + "mlp.fc2", rows: width, columns: blocks.mlpWidth)
    mlpOut.rowFactors = try layerScale(from + "ls2.gamma", width)
    plan.fill(part.mlpOut, .linear(mlpOut), from: view)
  }

  private mutating func layerScale(_ name: String, _ width: Int) throws(QuantizationError) -> [Float]? {
    try view.layerScale(view.has(name) ? name : nil, width)
  }

  // MARK: Heads

  /// Where the language head lies, and the text tower it belongs to.
  private func languageHead() throws(QuantizationError) -> (prefix: String, textModel: String) {
    for (index, teacher) in (arguments?["teachers"]?.items ?? []).enumerated() {
      let name = teacher["name"]?.text ?? ""
      guard (teacher["type"]?.text ?? name) == "siglip2" else { continue }
      for prefix in ["_heads.\(index).", "_heads.\(name)."]
      where view.names.contains(where: { $0.hasPrefix(prefix) }) {
        return (prefix, teacher["model"]?.text ?? "siglip2-so400m")
      }
      throw view.refuse("the teacher '\(name)' of type siglip2 has no head; get the .pth.tar with heads")
    }
    // Without readable arguments: the one head that leads to SigLIP 2's width.
    var found: [String] = []
    for name in view.names where name.hasPrefix("_heads.") {
      for end in ["final.2.bias", "fc2.bias"] where name.hasSuffix(end) {
        if try view.shape(name) == [1152] { found.append(String(name.dropLast(end.count))) }
      }
    }
    guard found.count == 1 else {
      let what =
        view.names.contains { $0.hasPrefix("_heads.") }
        ? "no teacher of type siglip2 is named" : "this file has no language head"
      throw view.refuse(what + "; get the .pth.tar, for example c-radio_v3-b_half.pth.tar")
    }
    return (found[0], "siglip2-so400m")
  }

  /// Where the `sam` teacher's feature projection lies.
  ///
  /// - Errors: none, or one that this SAM's neck does not take.
  private func maskHead(_ sam: SAMConfig, _ patch: Int) throws(QuantizationError) -> String {
    for (index, teacher) in (arguments?["teachers"]?.items ?? []).enumerated() {
      let name = teacher["name"]?.text ?? ""
      guard (teacher["type"]?.text ?? name) == "sam" || name == "sam" else { continue }
      for prefix in ["_feature_projections.\(index).", "_feature_projections.\(name)."]
      where view.names.contains(where: { $0.hasPrefix(prefix) }) {
        let outputs = try adaptor(prefix).outputs
        guard outputs == sam.blocks.width, patch == sam.vision.patch else {
          throw view.refuse(
            "its features for SAM are \(outputs) wide, patch \(patch); the SAM named is "
              + "\(sam.blocks.width) wide, patch \(sam.vision.patch); sam_vit_h_4b8939.pth is meant", prefix)
        }
        return prefix
      }
    }
    throw view.refuse("no teacher 'sam' with a feature projection; leave out --sam")
  }

  private func adaptor(_ prefix: String) throws(QuantizationError) -> AdaptorConfig {
    let hidden = try view.shape(weightName(prefix + "fc1"), axes: 2)[0]
    if view.has(weightName(prefix + "final.2")) {
      var count = 0
      while view.has(weightName(prefix + "blocks.\(count).2")) { count += 1 }
      let outputs = try view.shape(weightName(prefix + "final.2"), axes: 2)[0]
      return AdaptorConfig(version: .v2, hidden: hidden, blocks: count, outputs: outputs)
    }
    if let inner = view.names.first(where: { $0.hasPrefix(prefix + "inner.") }) {
      throw view.refuse("a head of version 1 with inner layers is not supported", inner)
    }
    let outputs = try view.shape(weightName(prefix + "fc2"), axes: 2)[0]
    return AdaptorConfig(version: .v1, hidden: hidden, blocks: 0, outputs: outputs)
  }

  private mutating func fillHead(
    _ part: AdaptorSchema, _ prefix: String, _ plan: inout NetworkPlan
  ) throws(QuantizationError) {
    let isFirstVersion = !view.has(weightName(prefix + "final.2"))
    func fill(_ spec: LinearSpec, _ name: String) throws(QuantizationError) {
      let recipe = try linear(prefix + name, rows: spec.outputs, columns: spec.inputs, isHead: true)
      plan.fill(spec, .linear(recipe), from: view)
    }
    try fill(part.first, "fc1")
    for (index, block) in part.blocks.enumerated() {
      try view.norm(block.norm, from: prefix + "blocks.\(index).0", &plan)
      try fill(block.out, "blocks.\(index).2")
    }
    try view.norm(part.norm, from: prefix + (isFirstVersion ? "norm" : "final.0"), &plan)
    try fill(part.last, isFirstVersion ? "fc2" : "final.2")
  }

  // MARK: Spectral reparametrization

  private func weightName(_ stem: String) -> String {
    view.has(stem + ".weight") ? stem + ".weight" : stem + ".parametrizations.weight.original"
  }

  /// A linear layer, its spectral reparametrization folded where it has one.
  private mutating func linear(
    _ stem: String, rows: Int, columns: Int, parts: Int = 1, isHead: Bool = false
  ) throws(QuantizationError) -> LinearRecipe {
    let name = weightName(stem)
    let weight = try view.require(name, [rows, columns])
    let bias = try view.require(stem + ".bias", [rows])
    var recipe = LinearRecipe(
      weight: .rows([weight]), bias: BiasSource(names: [bias]), rows: rows, columns: columns)
    guard name.hasSuffix(".original"), !isEMA else { return recipe }
    let settings = arguments?["spectral_reparam"]
    var spectral = SpectralNorm(epsilon: 1e-6, steps: 1)
    if !isHead, case .table? = settings {
      spectral.epsilon = settings?["eps"]?.number ?? 1e-12
      spectral.steps = min(max(settings?["n_power_iterations"]?.integer ?? 1, 1), 64)
    }
    let folder = stem + ".parametrizations.weight.0."
    let matrix = try view.directory.readFloat(weight)
    let count = view.has(folder + "parts.0.scale") ? parts : 1
    for part in 0..<count {
      let from = count == 1 ? folder : folder + "parts.\(part)."
      guard view.has(from + "scale") else {
        recipe.partFactors.append(1)
        continue
      }
      let partRows = rows / count
      func numbers(_ leaf: String, _ shape: [Int]) throws(QuantizationError) -> [Double] {
        try view.directory.readFloat(view.require(from + leaf, shape)).map(Double.init)
      }
      let scale = try view.directory.readFloat(view.full(from + "scale")).first.map(Double.init) ?? 1
      let version =
        view.has(from + "_sn_version")
        ? try view.directory.readFloat(view.full(from + "_sn_version")).first ?? 1 : 1
      recipe.partFactors.append(
        spectral.factor(
          matrix[part * partRows * columns..<(part + 1) * partRows * columns], rows: partRows,
          columns: columns,
          u: try numbers("_u", [partRows]), v: try numbers("_v", [columns]), scale: scale,
          isVersion2: version == 2))
    }
    return recipe
  }
}

/// Folds a learned spectral norm into its matrix.
///
/// - Source: RADIO's loader, which folds in training mode: one more power step comes first.
struct SpectralNorm {
  var epsilon: Double
  var steps: Int

  /// What the matrix is multiplied by: its learned norm over its spectral norm.
  func factor(
    _ matrix: ArraySlice<Float>, rows: Int, columns: Int, u: [Double], v: [Double], scale: Double,
    isVersion2: Bool
  ) -> Double {
    var (u, v) = (u, v)
    let first = matrix.startIndex
    func product(_ v: [Double]) -> [Double] {
      (0..<rows).map { row in
        var sum = 0.0
        for column in 0..<columns { sum += Double(matrix[first + row * columns + column]) * v[column] }
        return sum
      }
    }
    func unit(_ x: [Double]) -> [Double] {
      let length = max(x.reduce(0) { $0 + $1 * $1 }.squareRoot(), epsilon)
      return x.map { $0 / length }
    }
    for _ in 0..<steps {
      u = unit(product(v))
      var sums = [Double](repeating: 0, count: columns)
      for row in 0..<rows {
        for column in 0..<columns { sums[column] += Double(matrix[first + row * columns + column]) * u[row] }
      }
      v = unit(sums)
    }
    let sigma = zip(u, product(v)).reduce(0) { $0 + $1.0 * $1.1 } + epsilon
    return (isVersion2 ? log1p(exp(scale)) + 0.05 : scale) / sigma
  }
}
