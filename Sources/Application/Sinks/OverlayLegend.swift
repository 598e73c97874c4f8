// What the colours of an overlay mean, drawn into it row by row.
import Raster
import System

/// A list of classes with their colours and shares: in the upper left corner over the photo, or on white to
/// its right.
///
/// Letters are as large as the picture asks for, and smaller where the list needs it; what then does not fit
/// is counted. Inside the photo it takes no more than half the width and four fifths of the height.
///
/// - Units: pixels.
/// - Memory: the glyphs of its lines.
struct OverlayLegend {
  struct Entry {
    let label: Int
    let title: String
    /// Of 1.
    let share: Double
    /// Nil: the photo shows there as it is.
    let colour: Colour?
  }

  private struct Line {
    let glyphs: [BitmapFont.Glyph]
    /// Nil: no square in front.
    let square: Colour?
    let hasSquare: Bool
  }

  /// Cells between lines, around the list, and of a square in front of a line.
  private static let (leading, margin, square) = (2, 3, 8)
  private static let titleLimit = 32

  /// Width of the column beside the photo; 0 without one.
  let columnWidth: Int
  private let lines: [Line]
  /// Pixels a cell.
  private let scale: Int
  private let left: Int
  private let size: (width: Int, height: Int)
  private let isOpaque: Bool

  /// `entries`: those that are there, the largest first; `width`, `height`: of the picture.
  init(_ entries: [Entry], _ place: PictureStyle.Legend, width: Int, height: Int) {
    let step = BitmapFont.height + Self.leading
    let roomHeight = place == .inside ? height * 4 / 5 : height
    let roomWidth = place == .inside ? width / 2 : max(width, 160)
    func cells(_ lines: [Line]) -> Int {
      2 * Self.margin + Self.square + 3 + (lines.map { BitmapFont.width($0.glyphs) }.max() ?? 0)
    }
    var scale = max(1, (max(width, height) + 200) / 400)
    var lines = Self.lines(entries, titleLimit: Self.titleLimit)
    while scale > 1,
      (lines.count * step + 2 * Self.margin) * scale > roomHeight || cells(lines) * scale > roomWidth
    {
      scale -= 1
    }
    let most = (roomHeight / scale - 2 * Self.margin) / step
    if lines.count > most && most > 0 {
      let rest = BitmapFont.glyphs("and \(lines.count - most + 1) more")
      lines = lines.prefix(most - 1) + [Line(glyphs: rest, square: nil, hasSquare: false)]
    }
    // Long titles lose their ends before the list loses its place.
    var limit = Self.titleLimit
    while cells(lines) * scale > roomWidth && limit > 4 {
      limit -= 4
      lines =
        Self.lines(Array(entries.prefix(lines.filter(\.hasSquare).count)), titleLimit: limit)
        + lines.filter { !$0.hasSquare }
    }
    if place == .none || most < 1 || cells(lines) * scale > roomWidth || entries.isEmpty { lines = [] }
    self.lines = lines
    self.scale = scale
    size = (cells(lines) * scale, (lines.count * step + 2 * Self.margin - Self.leading) * scale)
    columnWidth = place == .beside && !lines.isEmpty ? size.width : 0
    left = place == .beside ? width : 0
    isOpaque = place == .beside
  }

  private static func lines(_ entries: [Entry], titleLimit: Int) -> [Line] {
    entries.map { entry in
      let isLong = entry.title.count > titleLimit
      let title = isLong ? entry.title.prefix(titleLimit - 1) + "..." : entry.title[...]
      let percent = fixed(entry.share * 100, entry.share < 0.0995 ? 1 : 0)
      var glyphs = BitmapFont.glyphs("\(title) \(percent)%")
      // What cannot be read has a number in the legend beside the map.
      if glyphs.contains(where: \.isBox) {
        glyphs = BitmapFont.glyphs("\(entry.label): \(title) \(percent)%")
      }
      return Line(glyphs: glyphs, square: entry.colour, hasSquare: true)
    }
  }

  /// Draws its part of a row. Shapes: `row` [(width + columnWidth) * 3].
  func draw(_ y: Int, _ row: inout [UInt8]) {
    guard y < size.height, !lines.isEmpty else { return }
    if !isOpaque {
      for index in 0..<3 * min(size.width, row.count / 3) { row[index] = UInt8(230 + Int(row[index]) / 10) }
    }
    let cell = y / scale - Self.margin
    let step = BitmapFont.height + Self.leading
    guard cell >= 0, cell / step < lines.count else { return }
    let line = lines[cell / step]
    let inLine = cell % step
    guard inLine < BitmapFont.height else { return }
    if line.hasSquare { drawSquare(line.square, inLine - 2, &row) }
    var x = Self.margin + (line.hasSquare ? Self.square + 3 : 0)
    for glyph in line.glyphs {
      let bits = glyph.rows[inLine]
      for column in 0..<glyph.width where bits >> UInt8(column) & 1 == 1 { fill(x + column, .black, &row) }
      x += glyph.width + BitmapFont.gap
    }
  }

  /// A row of the square in front of a line, with a grey frame.
  private func drawSquare(_ colour: Colour?, _ cell: Int, _ row: inout [UInt8]) {
    guard (0..<Self.square).contains(cell) else { return }
    let isEdge = cell == 0 || cell == Self.square - 1
    for column in 0..<Self.square {
      if isEdge || column == 0 || column == Self.square - 1 {
        fill(Self.margin + column, .grey, &row)
      } else if let colour {
        fill(Self.margin + column, colour, &row)
      }
    }
  }

  /// A cell of this row.
  private func fill(_ cell: Int, _ colour: Colour, _ row: inout [UInt8]) {
    for x in left + cell * scale..<min(left + (cell + 1) * scale, row.count / 3) {
      (row[3 * x], row[3 * x + 1], row[3 * x + 2]) = (colour.red, colour.green, colour.blue)
    }
  }
}
