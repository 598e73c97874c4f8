// What options of a run need of each other.

/// The smallest number that both divide.
func leastCommonMultiple(_ a: Int, _ b: Int) -> Int {
  var (x, y) = (a, b)
  while y != 0 { (x, y) = (y, x % y) }
  return a / x * b
}

/// What options of a run need of each other and of the model's patches.
struct OptionRule: Sendable {
  typealias Patches = [(network: String, patch: Int)]

  let methods: [MethodName]
  /// What is wrong; nil: nothing. The first network's patch is the step of windows.
  let problem: @Sendable (SegmentOptions, Patches) -> String?

  init(
    _ methods: MethodName..., problem: @escaping @Sendable (SegmentOptions, Patches) -> String?
  ) {
    (self.methods, self.problem) = (methods, problem)
  }

  static let all: [OptionRule] = [
    OptionRule(.trident, .radseg) { options, patches in
      if patches.allSatisfy({ options.window % $0.patch == 0 }) { return nil }
      let list = patches.map { "\($0.network) \($0.patch)" }.joined(separator: ", ")
      let step = patches.reduce(1) { leastCommonMultiple($0, $1.patch) }
      let lower = options.window / step * step
      let near = lower > 0 ? "\(lower) or \(lower + step)" : "\(step)"
      return "--window \(options.window) is not a multiple of the model's patches (\(list)): \(near) is"
    },
    OptionRule(.trident, .radseg) { options, patches in
      let (network, patch) = patches[0]
      if options.stride % patch == 0 && options.stride <= options.window { return nil }
      return "--stride \(options.stride) must be a multiple of \(network)'s patch \(patch) "
        + "and at most the window \(options.window)"
    },
    OptionRule(.scCLIP) { options, patches in
      let (network, patch) = patches[0]
      if options.window >= patch { return nil }
      return "--window \(options.window) is smaller than \(network)'s patch \(patch)"
    },
    OptionRule(.scCLIP) { options, _ in
      if options.stride <= options.window { return nil }
      return "--stride \(options.stride) must be at most the window \(options.window)"
    },
    OptionRule(.scCLIP) { options, _ in
      if options.refinement != .sam { return nil }
      return "--method sc-clip has no SAM to refine with: --refine none, pamr, bilateral or crf"
    },
    OptionRule(.radseg) { options, _ in
      if options.absent != .purify { return nil }
      return "--absent purify walks along CLIP's own attention; RADSeg has --class-gate, and relative"
    },
    OptionRule(.pnpOVSS) { options, _ in
      if ![.sam, .bilateral].contains(options.refinement) { return nil }
      return
        "--method pnp-ovss has no \(options.refinement == .sam ? "SAM" : "patches' scores") to refine with: "
        + "--refine none, pamr or crf"
    },
    OptionRule(.pnpOVSS) { options, patches in
      let (network, patch) = patches[0]
      if options.shortSide % patch == 0 { return nil }
      return "--short-side \(options.shortSide) is not a multiple of \(network)'s patch \(patch)"
    },
    OptionRule(.pnpOVSS) { options, patches in
      let side = options.shortSide / patches[0].patch
      if (options.rounds - 1) * options.blankedPatches < side * side { return nil }
      return "--rounds \(options.rounds): all \(side * side) patches are blank before the last"
    },
    OptionRule(.trident) { options, _ in
      if options.refinement != .sam || !options.prompts.isEmpty { return nil }
      return "--prompts needs point, box or mask; --refine none leaves refinement out"
    },
    OptionRule(.trident) { options, _ in
      if options.usesDINO || options.clipAttention == .published { return nil }
      return
        "--clip-attention \(options.clipAttention.rawValue) stands for DINO's features; leave out --no-dino"
    },
    OptionRule(.trident) { options, _ in
      if !options.halves || options.paradigm != .window { return nil }
      return "halves (city preset) need --paradigm splice"
    },
    OptionRule(.trident, .radseg, .scCLIP, .pnpOVSS) { options, _ in
      if options.tile == 0 || (options.tile >= 64 && options.overlap * 2 <= options.tile) { return nil }
      return "--tile \(options.tile) must be at least 64 and twice --overlap \(options.overlap)"
    },
    OptionRule(.trident, .radseg) { options, _ in
      if options.tile == 0 || options.refinement != .sam { return nil }
      return "--tile needs --refine none, pamr, bilateral or crf: SAM mends the borders of whole photos"
    },
  ]
}

extension SegmentOptions {
  /// Looks at options that somebody gave, by their keys. Presets may bring what means nothing for now.
  ///
  /// - Errors: `.usage` for one that means nothing beside the others.
  package func check(given keys: Set<String>) throws(SegmentationError) {
    for row in OptionTable.rows where keys.contains(row.key) {
      guard let why = row.uselessness(self) else { continue }
      throw SegmentationError(.usage("\(row.flag ?? row.key) means nothing \(why)"))
    }
  }
}
