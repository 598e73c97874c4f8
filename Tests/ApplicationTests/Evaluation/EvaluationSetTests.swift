// The eight benchmarks' folders, and folders of one's own.
import Application
import Segmentation
import Testing

@Suite struct EvaluationSetTests {
  /// Classes, files to make, and what the first photo must be: name, label map, rule.
  static let layouts:
    [(preset: SegmentOptions.Preset, classes: Int, files: [String], first: (String, String, LabelRule))] = [
      (
        .voc21, 21, voc("SegmentationClass", "Segmentation"),
        ("2007_1", "SegmentationClass/2007_1.png", .plain)
      ),
      (
        .voc20, 20, voc("SegmentationClass", "Segmentation"),
        ("2007_1", "SegmentationClass/2007_1.png", .zeroDropped)
      ),
      (
        .context60, 60, voc("SegmentationClassContext", "SegmentationContext"),
        ("2007_1", "SegmentationClassContext/2007_1.png", .plain)
      ),
      (
        .context59, 59, voc("SegmentationClassContext", "SegmentationContext"),
        ("2007_1", "SegmentationClassContext/2007_1.png", .zeroDropped)
      ),
      (
        .object, 81,
        ["images/val2017/1.jpg", "annotations/val2017/1_instanceTrainIds.png", "annotations/val2017/1.png"],
        ("1", "annotations/val2017/1_instanceTrainIds.png", .plain)
      ),
      (
        .object, 81, ["images/val2017/1.jpg", "annotations/val2017/1.png"],
        ("1", "annotations/val2017/1.png", .cocoObject)
      ),
      (
        .stuff, 171, ["images/val2017/1.jpg", "annotations/val2017/1_labelTrainIds.png"],
        ("1", "annotations/val2017/1_labelTrainIds.png", .plain)
      ),
      (
        .stuff, 171, ["images/val2017/1.jpg", "annotations/val2017/1.png"],
        ("1", "annotations/val2017/1.png", .cocoStuff)
      ),
      (
        .ade, 150, ["images/validation/ADE_val_1.jpg", "annotations/validation/ADE_val_1.png"],
        ("ADE_val_1", "annotations/validation/ADE_val_1.png", .zeroDropped)
      ),
      (
        .city, 19, city("labelTrainIds"),
        ("bonn/b_1_leftImg8bit", "gtFine/val/bonn/b_1_gtFine_labelTrainIds.png", .plain)
      ),
      (
        .city, 19, city("labelIds"),
        ("bonn/b_1_leftImg8bit", "gtFine/val/bonn/b_1_gtFine_labelIds.png", .cityscapes)
      ),
    ]

  private static func voc(_ labels: String, _ list: String) -> [String] {
    ["JPEGImages/2007_1.jpg", "JPEGImages/2007_2.jpg", "\(labels)/2007_1.png", "ImageSets/\(list)/val.txt"]
  }

  private static func city(_ labels: String) -> [String] {
    ["leftImg8bit/val/bonn/b_1_leftImg8bit.png", "gtFine/val/bonn/b_1_gtFine_\(labels).png"]
  }

  @Test(arguments: layouts.indices) func benchmark(_ index: Int) throws {
    let layout = Self.layouts[index]
    let folder = Folder()
    for file in layout.files { try folder.write(file, file.hasSuffix(".txt") ? "2007_1\n\n" : "x") }
    let benchmark = Benchmark(layout.preset)
    let set = try EvaluationSet(benchmark, root: folder.path)
    #expect(set.count == 1)
    #expect(set[0].name == layout.first.0)
    #expect(set[0].photo == "\(folder.path)/\(layout.files[0])")
    #expect(set[0].labels == "\(folder.path)/\(layout.first.1)")
    #expect(set[0].rule == layout.first.2)
    let classes = try ClassList(arguments: benchmark.classes, background: benchmark.background)
    #expect(classes.count == layout.classes)
  }

  @Test func foldersPairByName() throws {
    let folder = Folder()
    for name in ["b.png", "a.JPG", "note.txt", ".hidden.png"] { try folder.write("images/" + name) }
    for name in ["a.png", "b.png", "c.png"] { try folder.write("labels/" + name) }
    let (images, labels) = ("\(folder.path)/images", "\(folder.path)/labels")
    let set = try EvaluationSet(images: images, labels: labels, rule: .plain)
    #expect((0..<set.count).map { set[$0].name } == ["a", "b"])
    #expect(set[0].photo == images + "/a.JPG")
    let digest = set.digest
    try folder.write("images/c.ppm")
    #expect(try EvaluationSet(images: images, labels: labels, rule: .plain).digest != digest)
    try folder.write("images/d.png")
    #expect(throws: SegmentationError.self) {
      try EvaluationSet(images: images, labels: labels, rule: .plain)
    }
    #expect(throws: SegmentationError.self) {
      try EvaluationSet(images: labels + "/none", labels: labels, rule: .plain)
    }
  }
}
