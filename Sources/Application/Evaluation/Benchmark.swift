// The eight benchmarks of the paper: where their files lie and how labels are stored.
import Segmentation
import System

/// A validation split in the folders that mmsegmentation and the public Trident code expect.
///
/// Label maps may be converted (`..TrainIds.png`) or as published; ids are then mapped while reading.
///
/// - Source: the dataset configurations and conversion scripts of the public Trident repository.
package struct Benchmark: Sendable {
  /// How a label map is called after its photo.
  package struct LabelName: Sendable {
    let dropped: String
    let suffix: String
    let rule: LabelRule

    /// `dropped` is the end of the photo's name that gives way to `suffix`.
    init(_ suffix: String, _ rule: LabelRule, dropping dropped: String = "") {
      self.dropped = dropped
      self.suffix = suffix
      self.rule = rule
    }

    func path(_ stem: String) -> String {
      (stem.hasSuffix(dropped) ? String(stem.dropLast(dropped.count)) : stem) + suffix
    }
  }

  package let images: String
  package let imageSuffix: String
  package let labels: String
  package let labelNames: [LabelName]
  /// File with a name a line; nil: every photo of the folder.
  package let list: String?
  /// Photos lie in one folder a city.
  package let hasCities: Bool
  /// Class 0 is the background.
  package let background: Bool
  /// Phrases of each class.
  package let classes: [String]

  package init(_ preset: SegmentOptions.Preset) {
    var (images, suffix, labels) = ("JPEGImages", ".jpg", "SegmentationClass")
    var names = [LabelName(".png", .plain)]
    var list: String?
    let stuff = "_labelTrainIds.png"
    switch preset {
    case .voc21, .voc20:
      list = "ImageSets/Segmentation/val.txt"
      if preset == .voc20 { names = [LabelName(".png", .zeroDropped)] }
    case .context60, .context59:
      labels = "SegmentationClassContext"
      list = "ImageSets/SegmentationContext/val.txt"
      if preset == .context59 { names = [LabelName(".png", .zeroDropped)] }
    case .object, .stuff:
      (images, labels) = ("images/val2017", "annotations/val2017")
      names =
        preset == .object
        ? [LabelName("_instanceTrainIds.png", .plain), LabelName(".png", .cocoObject)]
        : [LabelName(stuff, .plain), LabelName(".png", .cocoStuff)]
    case .ade:
      (images, labels) = ("images/validation", "annotations/validation")
      names = [LabelName(".png", .zeroDropped)]
    case .city:
      (images, suffix, labels) = ("leftImg8bit/val", "_leftImg8bit.png", "gtFine/val")
      names = [
        LabelName("_gtFine" + stuff, .plain, dropping: "_leftImg8bit"),
        LabelName("_gtFine_labelIds.png", .cityscapes, dropping: "_leftImg8bit"),
      ]
    }
    self.images = images
    imageSuffix = suffix
    self.labels = labels
    labelNames = names
    self.list = list
    hasCities = preset == .city
    background = [.voc21, .context60, .object].contains(preset)
    classes = BenchmarkClasses.list(preset)
  }
}
