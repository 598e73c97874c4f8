// What the kernel tests share: the paths of this machine, and operands in guarded memory.

import CKernels
import TestSupport

/// One supported path.
struct Path: CustomStringConvertible, Sendable {
  let id: ck_path
  var table: ck_table { ck_table_for(id)!.pointee }
  var description: String { String(cString: ck_path_name(id)) }

  static let scalar = Path(id: CK_PATH_SCALAR)
  /// Every supported path but the scalar one, which the others are compared with.
  static let fast: [Path] = (1..<CK_PATH_COUNT.rawValue).map { Path(id: ck_path($0)) }
    .filter { ck_path_supported($0.id) != 0 }
  static let all = [scalar] + fast
}

/// A panel set in guarded memory, and the rows it was packed from.
final class Panels {
  let rows: [Int8]
  let weight: GuardedBuffer<Int8>
  let scale: GuardedBuffer<Float>
  let bias: GuardedBuffer<Float>?
  let sum: GuardedBuffer<Int32>
  let channels: Int
  let depth: Int
  let panelCount: Int

  init(channels: Int, columns: Int, bias hasBias: Bool, random: inout SeededRandom) {
    self.channels = channels
    depth = (columns + 63) / 64 * 64
    panelCount = (channels + 15) / 16
    rows = (0..<channels * columns).map { _ in random.int8() }
    weight = GuardedBuffer(count: panelCount * 16 * depth)
    sum = GuardedBuffer(count: panelCount * 16)
    scale = GuardedBuffer((0..<panelCount * 16).map { _ in random.float(0.001, 0.01) })
    bias = hasBias ? GuardedBuffer((0..<panelCount * 16).map { _ in random.float(-1, 1) }) : nil
    let source = GuardedBuffer(rows)
    ck_pack_panels(source.pointer, columns, channels, columns, depth, weight.pointer, sum.pointer)
  }

  var view: ck_panels {
    ck_panels(
      weight: weight.pointer, scale: scale.pointer, sum: sum.pointer,
      bias: bias.map { UnsafePointer($0.pointer) },
      depth: depth, panel_count: panelCount)
  }
}

func floats(_ count: Int, _ low: Float, _ high: Float, _ random: inout SeededRandom) -> GuardedBuffer<Float> {
  GuardedBuffer((0..<count).map { _ in random.float(low, high) })
}

func bytes(_ count: Int, _ random: inout SeededRandom) -> GuardedBuffer<Int8> {
  GuardedBuffer((0..<count).map { _ in random.int8() })
}

/// Rows as a path stores them, or back: the same bytes, or 128 more as unsigned ones.
func turned(_ rows: GuardedBuffer<Int8>, for table: ck_table) -> GuardedBuffer<Int8> {
  table.row_offset == 0 ? rows : GuardedBuffer(rows.elements.map { $0 ^ -128 })
}
