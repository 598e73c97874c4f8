// Which simplex of the permutohedral lattice a point of five dimensions lies in.
//
// The point becomes six coordinates that sum to zero. The nearest lattice point whose coordinates are all
// multiples of six is found by rounding; the order of what is left over names the simplex around it. From one
// corner to the next all coordinates rise by one, and the one with the largest leftover that had no turn yet
// falls by six.
import Compute

/// The corners of a simplex: the key of the first, and in which order coordinates fall.
///
/// A key holds a corner's first five coordinates, 12 bits each, biased; the sixth follows from them.
///
/// - Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice" (2010).
struct Simplex {
  static let dimensions = 5
  static let corners = 6
  static let bias = 2048
  static let ones: UInt64 = 0x1_0010_0100_1001

  let key: UInt64
  /// Four bits a rank: the coordinate whose leftover has it, 0 being the largest.
  private let order: UInt32

  init(key: UInt64, order: UInt32) { (self.key, self.order) = (key, order) }

  /// A fall by six of a coordinate, among keys.
  static func step(_ axis: Int) -> UInt64 { axis < dimensions ? 6 << (12 * UInt64(axis)) : 0 }

  /// The key of a corner, from 1 on, whose predecessor has `key`.
  @inline(__always)
  func next(_ key: UInt64, _ corner: Int) -> UInt64 {
    let axis = Int(order >> UInt32(4 * (Self.corners - corner))) & 15
    return key &+ Self.ones &- Self.step(axis)
  }

  /// Keeps a simplex where its corners' numbers will be. Shapes: `places` [corners].
  @inline(__always)
  func store(in places: UnsafeMutablePointer<Int32>) {
    places[0] = Int32(truncatingIfNeeded: key)
    places[1] = Int32(truncatingIfNeeded: key >> 32)
    places[2] = Int32(bitPattern: order)
  }

  @inline(__always)
  init(storedIn places: UnsafePointer<Int32>) {
    key = UInt64(UInt32(bitPattern: places[0])) | UInt64(UInt32(bitPattern: places[1])) << 32
    order = UInt32(bitPattern: places[2])
  }
}

/// The simplices of eight points at once, a lane each.
///
/// Whole numbers are held as floats: only comparisons of floats take all lanes at once.
///
/// - Memory: none of its own; it works in `room` [capacity].
struct EightSimplices {
  static let capacity = Simplex.dimensions + 4 * Simplex.corners
  /// Scales that make one standard deviation of the input one of the blur.
  private static let scale: [Float] = (0..<Simplex.dimensions).map { axis in
    let product = Float((axis + 1) * (axis + 2))
    return (24 / product).squareRoot()
  }

  /// Where the points are, set by the caller. Shapes: [5].
  let point: UnsafeMutablePointer<Eight>
  /// The six coordinates, then what they are off the first corner, in sixths.
  private let offset: UnsafeMutablePointer<Eight>
  /// What rounding left over; later that of each rank.
  private let rest: UnsafeMutablePointer<Eight>
  /// The first corner.
  private let origin: UnsafeMutablePointer<Eight>
  /// Of what is left over, 0 being the largest.
  private let rank: UnsafeMutablePointer<Eight>

  init(_ room: UnsafeMutablePointer<Eight>) {
    point = room
    offset = room + Simplex.dimensions
    rest = offset + Simplex.corners
    origin = rest + Simplex.corners
    rank = origin + Simplex.corners
  }

  /// Finds the simplices of the points.
  func locate() {
    var sum = Eight(repeating: 0)
    for axis in stride(from: Simplex.dimensions, to: 0, by: -1) {
      let scaled = point[axis - 1] * Self.scale[axis - 1]
      offset[axis] = sum - Float(axis) * scaled
      sum += scaled
    }
    offset[0] = sum
    var excess = Eight(repeating: 0)
    for axis in 0..<Simplex.corners {
      let rounded = Self.nearest(offset[axis] / 6)
      origin[axis] = rounded * 6
      rest[axis] = offset[axis] - origin[axis]
      excess += rounded
    }
    for axis in 0..<Simplex.corners { rank[axis] = excess }
    for a in 0..<Simplex.corners - 1 {
      for b in a + 1..<Simplex.corners {
        let isLess = rest[a] .< rest[b]
        rank[a] += Eight(repeating: 0).replacing(with: 1, where: isLess)
        rank[b] += Eight(repeating: 1).replacing(with: 0, where: isLess)
      }
    }
    settle()
  }

  /// Off the plane of zero sums the largest or smallest leftovers move by one step.
  private func settle() {
    for axis in 0..<Simplex.corners {
      let move = Eight(repeating: 0).replacing(with: 6, where: rank[axis] .< 0).replacing(
        with: -6, where: rank[axis] .> 5)
      rank[axis] += move
      origin[axis] += move
      offset[axis] = (offset[axis] - origin[axis]) / 6
    }
  }

  /// The simplex of one point.
  ///
  /// - Shapes: `shares` [5]: those of the corners but the first, which has the rest; overwritten.
  @inline(__always)
  func simplex(_ lane: Int, shares: UnsafeMutablePointer<Float>) -> Simplex {
    var key: UInt64 = 0
    var order: UInt32 = 0
    for axis in 0..<Simplex.corners {
      let own = Int(rank[axis][lane])
      order |= UInt32(axis) << UInt32(4 * own)
      rest[own][lane] = offset[axis][lane]
      guard axis < Simplex.dimensions else { continue }
      let place = Int(origin[axis][lane]) + Simplex.bias
      precondition(place > 11 && place < 4085, "a photo too large for its sigmas")
      key |= UInt64(place) << UInt64(12 * axis)
    }
    for corner in 1..<Simplex.corners {
      shares[corner - 1] = rest[5 - corner][lane] - rest[6 - corner][lane]
    }
    return Simplex(key: key, order: order)
  }

  /// The nearest whole numbers, ties to even, of numbers below 2^22: 1.5 * 2^23 leaves no room for more.
  @inline(__always)
  private static func nearest(_ x: Eight) -> Eight {
    let magic: Float = 12_582_912
    return (x + magic) - magic
  }
}
