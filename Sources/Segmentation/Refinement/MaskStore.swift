// Mask logits of the regions that succeeded, cut to where they can matter, until the last pass reads them by
// rows.
import Compute
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One stored mask.
///
/// - Units: cells of the logit map [4 * grid, 4 * grid].
struct StoredMask {
  var label: UInt16
  /// Whether it lies in the spill file.
  var isSpilled: Bool
  var x: Int32
  var y: Int32
  var width: Int32
  var height: Int32
  /// First element, of memory or file.
  var offset: Int
  /// Photo columns whose logits need nothing outside the mask.
  var firstColumn: Int32 = 0
  var endColumn: Int32 = 0
}

/// A fixed room for masks, and behind it an unlinked temporary file.
///
/// - Units: logits as IEEE half (int8) or f32 (float32 precision).
/// - Memory: `byteCount` bytes of the arena. What does not fit goes to a file in TMPDIR (or /tmp), written
///   as it comes
///   and mapped read-only for the last pass: reclaimable pages, none of them private. Results do not depend
///   on
///   where a mask lies.
/// - Errors: `temporaryFile` where a mask does not fit anywhere: labels never depend on room.
final class MaskStore {
  let masks: UnsafeMutablePointer<StoredMask>
  private(set) var count = 0
  private(set) var spilledByteCount = 0
  private let engine: Engine
  private let capacity: Int
  private let single: UnsafeMutablePointer<Float>?
  private let half: UnsafeMutablePointer<UInt16>?
  private let line: UnsafeMutablePointer<UInt16>
  /// Bytes that may be spilled where files take memory.
  private let memoryRoom: Int
  private let folder: String?
  private var used = 0
  private var file: UnnamedFile?
  private var mapped: UnsafeMutableRawPointer?

  init(
    _ arena: Arena, engine: Engine, byteCount: Int, maskCapacity: Int, side: Int, memoryRoom: Int = .max,
    folder: String? = nil
  ) throws(ComputeError) {
    self.engine = engine
    self.folder = folder
    self.memoryRoom = memoryRoom
    masks = try arena.reserve(StoredMask.self, maskCapacity)
    line = try arena.reserve(UInt16.self, side)
    if engine.isInteger {
      capacity = byteCount / 2
      half = try arena.reserve(UInt16.self, capacity)
      single = nil
    } else {
      capacity = byteCount / 4
      single = try arena.floats(capacity)
      half = nil
    }
  }

  deinit { if let mapped { munmap(mapped, spilledByteCount) } }

  private var elementSize: Int { half == nil ? 4 : 2 }

  /// Keeps the part of a map that output positions with a positive logit read: the positive cells and
  /// `margin` more.
  ///
  /// - Shapes: `logits` [rows, side].
  func add(
    label: UInt16, logits: UnsafePointer<Float>, rows: Int, side: Int, margin: (x: Int, y: Int)
  ) throws(ComputeError) {
    var (minX, minY, maxX, maxY) = (side, rows, -1, -1)
    for y in 0..<rows {
      let line = logits + y * side
      var first = 0
      while first < side && !(line[first] > 0) { first += 1 }
      if first == side { continue }
      var last = side - 1
      while !(line[last] > 0) { last -= 1 }
      minX = min(minX, first)
      maxX = max(maxX, last)
      minY = min(minY, y)
      maxY = y
    }
    var mask = StoredMask(label: label, isSpilled: false, x: 0, y: 0, width: 0, height: 0, offset: 0)
    if maxX >= 0 {
      (minX, minY) = (max(0, minX - margin.x), max(0, minY - margin.y))
      (maxX, maxY) = (min(side - 1, maxX + margin.x), min(rows - 1, maxY + margin.y))
      (mask.x, mask.y) = (Int32(minX), Int32(minY))
      (mask.width, mask.height) = (Int32(maxX - minX + 1), Int32(maxY - minY + 1))
    }
    let size = Int(mask.width) * Int(mask.height)
    if size <= capacity - used {
      mask.offset = used
      used += size
    } else {
      mask.isSpilled = true
      mask.offset = spilledByteCount / elementSize
      try openFile(room: spilledByteCount + size * elementSize)
    }
    for y in 0..<Int(mask.height) {
      let source = logits + (Int(mask.y) + y) * side + Int(mask.x)
      try put(source, Int(mask.width), mask.offset + y * Int(mask.width), isSpilled: mask.isSpilled)
    }
    if mask.isSpilled { spilledByteCount += size * elementSize }
    masks[count] = mask
    count += 1
  }

  private func put(
    _ source: UnsafePointer<Float>, _ width: Int, _ offset: Int, isSpilled: Bool
  ) throws(ComputeError) {
    if let half {
      engine.toHalf(source, width, isSpilled ? line : half + offset)
    } else if let single, !isSpilled {
      (single + offset).update(from: source, count: width)
    }
    if !isSpilled { return }
    let bytes = half == nil ? UnsafeRawPointer(source) : UnsafeRawPointer(line)
    do throws(SystemError) {
      try file?.write(bytes, count: width * elementSize, at: offset * elementSize)
    } catch { throw ComputeError(.temporaryFile(error.description)) }
  }

  /// `room`: what the file will hold then.
  private func openFile(room: Int) throws(ComputeError) {
    do throws(SystemError) {
      if file == nil { file = try UnnamedFile(in: folder) }
    } catch { throw ComputeError(.temporaryFile(error.description)) }
    if let file, file.isInMemory, room > memoryRoom {
      throw ComputeError(.temporaryFile("\(file.folder) is memory, of which the limit leaves too little"))
    }
  }

  /// Makes spilled masks readable.
  func beginReading() throws(ComputeError) {
    guard spilledByteCount > 0, let file else { return }
    let address = mmap(nil, spilledByteCount, PROT_READ, MAP_SHARED, file.descriptor, 0)
    guard let address, address != MAP_FAILED else {
      throw ComputeError(.temporaryFile("\(file.folder): cannot map: \(systemMessage(errno))"))
    }
    mapped = address
  }

  /// sum [width] = weights . rows `first` ... of a mask.
  ///
  /// - Shapes: `scratch`, `sum` [mask width].
  func blend(
    _ mask: StoredMask, first: Int, weights: UnsafePointer<Float>, count: Int,
    scratch: UnsafeMutablePointer<Float>,
    into sum: UnsafeMutablePointer<Float>
  ) {
    let width = Int(mask.width)
    sum.update(repeating: 0, count: width)
    for index in 0..<count where weights[index] != 0 {
      let offset = mask.offset + (first + index - Int(mask.y)) * width
      let row: UnsafePointer<Float>
      if let half {
        let stored = mask.isSpilled ? mapped!.assumingMemoryBound(to: UInt16.self) : half
        engine.fromHalf(stored + offset, width, scratch)
        row = UnsafePointer(scratch)
      } else {
        row = UnsafePointer((mask.isSpilled ? mapped!.assumingMemoryBound(to: Float.self) : single!) + offset)
      }
      let weight = weights[index]
      for column in 0..<width { sum[column] += weight * row[column] }
    }
  }
}
