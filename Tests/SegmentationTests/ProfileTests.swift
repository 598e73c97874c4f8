// Profiles leave parts out and nothing else; work estimates follow.
import Segmentation
import Testing

@Suite struct ProfileTests {
  @Test func profilesOnlyLeaveOut() {
    var fast = SegmentOptions(preset: .ade)
    fast.limit(to: .fast)
    var balanced = SegmentOptions(preset: .ade)
    balanced.limit(to: .balanced)
    var full = SegmentOptions(preset: .ade)
    full.limit(to: .full)
    #expect(full == SegmentOptions(preset: .ade))
    #expect(balanced.refinement == .none && balanced.affinity == .trident)
    #expect(fast.refinement == .none && fast.affinity == .none && fast.shortSide == full.shortSide)
  }

  @Test func profileKeepsWhatIsAlreadyOff() {
    var options = SegmentOptions()
    options.refinement = .none
    options.affinity = .cosine
    options.limit(to: .full)
    #expect(options.refinement == .none && options.affinity == .cosine)
  }

  @Test func tinyIsCLIPAlone() {
    var options = SegmentOptions()
    options.logitScale = 30
    options.limit(to: .tiny)
    #expect(options.method == .scCLIP && options.refinement == .none && options.logitScale == 30)
    #expect([options.shortSide, options.window, options.stride] == [336, 224, 112])
  }

  @Test func secondsAddUp() {
    let speed = MachineSpeed(linear: 100, attention: 10, float: 1)
    #expect(speed.seconds(Work(linear: 200, attention: 5, float: 3)) == 5.5)
  }
}
