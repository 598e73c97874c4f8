// Sizes of the CLIP copy and places of windows, against the published rules.
import Segmentation
import Testing

@Suite struct WindowPlanTests {
  private func plan(_ width: Int, _ height: Int, short: Int = 448, patch: Int = 16) -> WindowPlan {
    WindowPlan(
      photoWidth: width, photoHeight: height, shortSide: short, window: 336, stride: 224, patch: patch)
  }

  private func copy(_ plan: WindowPlan) -> [Int] { [plan.copyWidth, plan.copyHeight] }

  @Test func longSideIsCapped() {
    #expect(copy(plan(3000, 300)) == [2048, 205])
    // Whatever the short side asked for.
    #expect(copy(plan(4000, 3000, short: 3000)) == [2048, 1536])
    #expect(copy(plan(1, 9000)) == [1, 2048])
  }

  @Test func sidesBecomeWholePatchesAndHoldAWindow() {
    let odd = plan(597, 448)
    #expect([odd.width, odd.height] == [608, 464])
    let origins = odd.origins.map { [$0.y, $0.x] }
    #expect(origins == [[0, 0], [0, 224], [0, 272], [128, 0], [128, 224], [128, 272]])
    let wide = plan(3000, 300, patch: 14)
    #expect([wide.width, wide.height] == [2058, 336])
    #expect(wide.origins.last?.x == 2058 - 336)
  }
}
