// The label rules of PnP-OVSS beside those of mmsegmentation: no pixel is ignored.

/// Means as PnP-OVSS's public code counts them.
///
/// What other rules ignore (void borders of VOC, unlabelled pixels of the others) is class 0: the background
/// where the list has one, else a class of its own that nothing can be labelled as. The mean is over classes
/// that are true somewhere; one that is only predicted does not count, though its pixels are missing
/// elsewhere. Not reproduced: COCO-Object's masks from instance annotations.
///
/// - Source: PnP-OVSS (arXiv 2311.17095), its public evaluation.
package struct PaperMeans: Equatable, Sendable {
  package let meanIoU: Double?
  /// Classes that are true somewhere, class 0 among them where it is.
  package let classCount: Int
  /// Pixels of no class, of all.
  package let unlabelledShare: Double

  /// `background`: class 0 of the areas is what nothing else is.
  package init(_ areas: LabelAreas, background: Bool) {
    let none = areas.ignored.reduce(0, +)
    var values: [Double] = []
    func add(_ intersection: Int, _ predicted: Int, _ truth: Int) {
      guard truth > 0 else { return }
      values.append(Double(intersection) / Double(predicted + truth - intersection))
    }
    if !background { add(0, 0, none) }
    for label in 0..<areas.classCount {
      let (area, isRest) = (areas.area(label), background && label == 0)
      add(
        area.intersection + (isRest ? area.ignored : 0), area.predicted + area.ignored,
        area.truth + (isRest ? none : 0))
    }
    meanIoU = values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    classCount = values.count
    let all = areas.truth.reduce(0, +) + areas.strayCount + none
    unlabelledShare = all == 0 ? 0 : Double(none) / Double(all)
  }
}
