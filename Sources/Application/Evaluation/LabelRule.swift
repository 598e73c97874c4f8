// What the numbers of a label map mean.
import System

/// From stored numbers to classes.
package enum LabelRule: String, Sendable, CaseIterable {
  /// Numbers are classes; 255 is ignored (65535 where there are more than 255 classes).
  case plain
  /// As `plain`, but 0 is ignored too and 1 is the first class.
  case zeroDropped = "zero-dropped"
  /// COCO-Stuff ids 0...181 with gaps, to 171 classes without.
  case cocoStuff = "coco-stuff-ids"
  /// COCO-Stuff ids, to background and the 80 things; what is neither is background.
  case cocoObject = "coco-object-ids"
  /// Cityscapes label ids, to the 19 training classes; the others are ignored.
  case cityscapes = "cityscapes-ids"

  /// Takes no part in any count.
  package static let ignored = UInt16.max

  /// The class of every number that can be stored.
  ///
  /// - Shapes: [65536]; a class, `ignored`, or a number past the last class, which can only be a mistake of
  ///   the labels.
  /// - Memory: 128 KiB.
  /// - Source: mmsegmentation `LoadAnnotations`; the conversion scripts of the public Trident repository.
  package func table(classCount: Int) -> [UInt16] {
    (0...65535).map { (number: Int) -> UInt16 in meaning(number, isWide: classCount > 255) }
  }

  private func meaning(_ number: Int, isWide: Bool) -> UInt16 {
    switch self {
    case .plain:
      return number == 255 && !isWide ? Self.ignored : UInt16(number)
    case .zeroDropped:
      if number == 0 || number == 65535 || (number == 255 && !isWide) { return Self.ignored }
      return UInt16(number - 1)
    case .cocoStuff:
      return Self.cocoClasses[number] ?? Self.ignored
    case .cocoObject:
      if number > 90 { return 0 }
      return Self.cocoClasses[number].map { $0 + 1 } ?? Self.ignored
    case .cityscapes:
      return Self.cityscapesClasses[number] ?? Self.ignored
    }
  }

  /// Ids that COCO never gave out.
  private static let cocoGaps: Set<Int> = [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90]
  private static let cocoClasses = places((0...181).filter { !cocoGaps.contains($0) })
  private static let cityscapesClasses = places([
    7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33,
  ])

  /// The place of every id in its list.
  private static func places(_ ids: [Int]) -> [Int: UInt16] {
    var classes: [Int: UInt16] = [:]
    for (place, id) in ids.enumerated() { classes[id] = UInt16(place) }
    return classes
  }
}
