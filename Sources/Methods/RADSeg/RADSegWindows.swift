// RADSeg's copy of the photo and its windows: sections 1 and 2.
import Compute

extension WindowPlan {
  /// The copy, its sides rounded to the window's stride (as published), to the patch, or for one pass over
  /// all of it.
  ///
  /// Where both sides are multiples already nothing changes; else the long side is rounded up, the other
  /// scaled with it and rounded up too, both at least a window: the aspect is not kept.
  init(radseg photo: any PhotoPixels, _ options: SegmentOptions, patch: Int) {
    let copy =
      options.shortSide == 0
      ? (width: photo.width, height: photo.height)
      : Self.copySize(photo.width, photo.height, shortSide: options.shortSide, longSide: options.longSide)
    let isOnePass = options.windows == .none
    let multiple = isOnePass || options.sideRounding == .patch ? patch : options.stride
    let least = isOnePass ? patch : options.window
    var (width, height) = copy
    if width % multiple != 0 || height % multiple != 0 {
      let long = max(width, height)
      let target = roundUp(long, to: multiple)
      width = max(roundUp(width * target / long, to: multiple), least)
      height = max(roundUp(height * target / long, to: multiple), least)
    }
    self.init(
      copy: copy, image: (width, height), window: options.window,
      stride: isOnePass ? 0 : options.stride,
      patch: patch)
  }
}
