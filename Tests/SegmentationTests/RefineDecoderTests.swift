// The mask decoder against an independent PyTorch decoder of toy size.
import Compute
import Segmentation
import Testing

@Suite struct RefineDecoderTests {
  private func decode(
    _ engine: Engine, case index: Int, prompts: PromptKinds = .all
  ) throws -> (iou: Float, logits: [Float]) {
    let toy = RefineToy()
    var shape = RefineToy.shape
    shape.prompts = prompts
    let counting = Arena(counting: nil)
    _ = try MaskDecoder(counting, engine: engine, shape: shape, weights: toy.weights)
    let arena = try Arena(capacity: counting.highWater)
    let decoder = try MaskDecoder(arena, engine: engine, shape: shape, weights: toy.weights)
    let side = RefineToy.shape.maskSide
    let mask = Refine.uniform(1000 + index, side * side)
    let points: [(Float, Float)] = [(30.5, 41), (3, 99)]
    let boxes: [(Float, Float, Float, Float)] = [(10, 12.5, 77, 90), (0, 80, 20, 127)]
    var logits = [Float](repeating: .nan, count: side * side)
    let iou = mask.withUnsafeBufferPointer { mask in
      decoder.decode(
        MaskPrompt(
          point: points[index], boxMin: (boxes[index].0, boxes[index].1),
          boxMax: (boxes[index].2, boxes[index].3),
          mask: mask.baseAddress!),
        embedding: toy.embedding, logits: &logits)
    }
    return (iou, logits)
  }

  private func golden(_ index: Int) -> (iou: Float, logits: [Float]) {
    let values = Refine.numbers(Refine.fixture("decoder.f32")[...], as: Float.self)
    let size = 1 + 16 * RefineToy.shape.cells
    guard values.count == (2 + Self.fewer.count) * size else { return (.nan, []) }
    return (values[index * size], Array(values[index * size + 1..<(index + 1) * size]))
  }

  @Test(.needsOpenBLAS, arguments: 0..<2)
  func float32IsExact(_ index: Int) throws {
    let engine = try Refine.engine(.float32)
    let found = try decode(engine, case: index)
    let wanted = golden(index)
    #expect(abs(found.iou - wanted.iou) < 5e-6)
    let worst = zip(found.logits, wanted.logits).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
    #expect(worst < 5e-6, "case \(index)")
  }

  /// Stored behind the two cases with all prompts; made with the first case's point, box and mask.
  private static let fewer = ["point", "box", "mask", "point,box", "point,mask", "box,mask"]

  @Test(.needsOpenBLAS, arguments: fewer.indices)
  func fewerPrompts(_ index: Int) throws {
    let prompts = try #require(PromptKinds(names: Self.fewer[index]))
    let found = try decode(Refine.engine(.float32), case: 0, prompts: prompts)
    let wanted = golden(2 + index)
    #expect(abs(found.iou - wanted.iou) < 5e-6)
    let worst = zip(found.logits, wanted.logits).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
    #expect(worst < 5e-6, "\(prompts)")
  }

  @Test(arguments: 0..<2) func int8IsClose(_ index: Int) throws {
    let found = try decode(Refine.engine(), case: index)
    let wanted = golden(index)
    #expect(abs(found.iou - wanted.iou) < 0.05)
    var (dot, a, b): (Float, Float, Float) = (0, 0, 0)
    for (x, y) in zip(found.logits, wanted.logits) {
      dot += x * y
      a += x * x
      b += y * y
    }
    #expect(dot / (a * b).squareRoot() > 0.995, "case \(index)")
  }

  @Test func threadsChangeNothing() throws {
    let one = try decode(Refine.engine(threads: 1), case: 0)
    let three = try decode(Refine.engine(threads: 3), case: 0)
    #expect(one.iou == three.iou)
    #expect(one.logits == three.logits)
  }
}
