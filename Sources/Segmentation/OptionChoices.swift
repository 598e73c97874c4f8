// What options choose between.

/// What mends the borders of the coarse labels.
public enum RefinementChoice: String, Sendable, CaseIterable {
  case none
  /// SAM's masks, asked for region by region: the method.
  case sam
  /// Class scores spread to neighbours of like colour; see `PixelAdaptation`.
  case pamr
  /// A pixel takes the scores of patches around it that have its colour; see `BilateralUpsampling`.
  case bilateral
  /// A fully connected random field over places and colours; see `DenseField`.
  case crf
}

/// Which classes PnP-OVSS puts into its captions.
public enum PresenceChoice: String, Sendable, CaseIterable {
  /// Those that match the photo, of the 16 nearest ones.
  case match
  /// All, 25 at a time.
  case all
}

/// Which classes may be labels: but for `purify`, by how sure the surest patch is of them (at CLIP's own
/// scale of 100).
public enum AbsentRule: String, Sendable, CaseIterable {
  /// `relevancy` for one or two words alone, `keep` for all others (docs/decisions/0016-absent.md).
  case auto
  /// All of them.
  case keep
  /// Those that some patch is at least half sure of.
  case gate
  /// Those more than half way from the least sure class to the surest.
  case relative
  /// `gate` beside neutral phrases whose pixels are of no class: a softmax over one or two words cannot say
  /// that neither is there.
  case relevancy

  /// Those whose patches stay together, in some window at least, when their probabilities walk along the
  /// network's own attention.
  ///
  /// - Source: FreeCP, arXiv 2508.00557, its redundancy test.
  case purify

  /// Negative phrases that the rule brings: what every picture is, if it is nothing that was named.
  ///
  /// - Source: LERF's canonical phrases.
  package var phrases: [String] { self == .relevancy ? ["object", "things", "stuff", "texture"] : [] }

  /// What stands for `auto` with these words; any other rule stands for itself.
  ///
  /// - Parameter mayAdd: no background, no negative phrases of the user's, and a text network to encode ours.
  func settled(_ classes: ClassList, mayAdd: Bool) -> AbsentRule {
    guard self == .auto else { return self }
    let isSmall = classes.count <= 2 && !classes.background && mayAdd
    let isNeutral = Set(classes.phrases).isDisjoint(with: AbsentRule.relevancy.phrases)
    return isSmall && isNeutral ? .relevancy : .keep
  }
}

/// What a confidence says of a pixel, from the probabilities of its classes; 1 is certain in each kind.
///
/// Probabilities come from a softmax over all phrases; a class has that of its best one. Classes that a rule
/// took away do not count, negative phrases do, together, as one class.
public enum ConfidenceKind: String, Sendable, CaseIterable {
  /// The largest.
  case probability
  /// The largest less the second: how near another answer is. With one class the same as `probability`.
  case margin
  /// One less the entropy over the logarithm of the number of classes, where probabilities are divided by
  /// their sum: how far all of them together are from being equal. 1 with one class.
  case entropy
}

/// How RADSeg's network sees the copy of the photo.
public enum WindowChoice: String, Sendable, CaseIterable {
  /// Windows that overlap: the published way.
  case slide
  /// The whole copy in one pass: less work, other features.
  case none
}

/// What the sides of RADSeg's copy are rounded up to.
public enum SideRounding: String, Sendable, CaseIterable {
  /// The step of windows: the published way.
  case stride
  /// The patch: less is stretched, less computed.
  case patch
}

/// What relates tokens of the whole photo to each other.
public enum AffinityChoice: String, Sendable, CaseIterable {
  /// SAM's attention where its values are similar: the method.
  case trident
  /// SAM's attention, averaged over heads.
  case attention
  /// Similarity of SAM's values only.
  case cosine
  /// Nothing: the spliced map as it is.
  case none
}

/// Whom a patch looks at in CLIP's last block; all but the method's own are there to compare.
public enum CLIPAttention: String, Sendable, CaseIterable {
  /// As the method has it: DINO's features (Trident), its own calibration (SC-CLIP).
  case published
  /// Patches of a like query: ClearCLIP.
  case queries = "self"
  /// Patches of a like key, near ones first: NACLIP.
  case neighbour
  /// Itself alone: MaskCLIP.
  case value
  /// The mean of two middle blocks' attention and that of like queries, the same for all heads: GCLIP, at
  /// second hand.
  case global
}

/// Whose class token is mixed into the scores of patches.
public enum ClassMixScope: String, Sendable, CaseIterable {
  /// The whole copy's, which takes a pass of its own.
  case photo
  /// Each window's.
  case window
}
