// Pictures of a camera at hand, by Video4Linux.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A camera that gives JPEGs or plain pixels; those become a PPM. The driver fills four buffers and leaves
/// out what comes then; only the newest picture is taken, and none that is older than half a second.
///
/// - Memory: the driver's buffers; one file in memory of the longest picture's size, three bytes a pixel of
///   plain pixels; 64 KiB or a row.
/// - Errors: no camera, none whose pictures are read, one that went away.
package final class CameraArrivals: ArrivalSource {
  /// What a camera may be asked for, by Video4Linux's letters.
  package static let formats = ["MJPG", "JPEG"] + CameraLayout.Pixels.allCases.map(\.rawValue)

  private let path: String
  private let camera: OpaquePointer
  /// Of plain pixels; nil: JPEGs.
  private let layout: CameraLayout?
  private let rows: ScratchBytes?
  private let place: Int32
  private var number = 0
  private var passed: Int64 = 0

  /// `width`, `height`: at most so many pixels are asked for; the camera takes the nearest that it has.
  /// `format`: one of `formats`; nil: JPEGs, or else the first of the others that it has.
  package init(path: String, width: Int = 1280, height: Int = 720, format: String? = nil) throws(SystemError)
  {
    self.path = path
    var opened: OpaquePointer?
    var found = [CChar](repeating: 0, count: 128)
    var settled = cs_camera_format()
    let code = cs_camera_open(
      path, Int32(width), Int32(height), Self.letters(format), &opened, &found, &settled)
    guard code == 0, let opened else {
      let offered = found.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
      let list = offered.split(separator: " ").joined(separator: " ")
      throw Self.refusal(code, path, format, offered: printable(list, limit: 128))
    }
    camera = opened
    layout = settled.is_jpeg == 0 ? CameraLayout(settled) : nil
    rows = layout.map { ScratchBytes(count: max(1, (1 << 16) / (3 * $0.width)) * 3 * $0.width) }
    place = cs_create_in_memory()
    guard place >= 0 else {
      cs_camera_close(opened)
      throw SystemError(.system(action: "make a file in memory", code: -place))
    }
  }

  deinit {
    cs_camera_close(camera)
    close(place)
  }

  private static func letters(_ format: String?) -> UInt32 {
    (format ?? "").utf8.reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  private static func refusal(_ code: Int32, _ path: String, _ format: String?, offered: String)
    -> SystemError
  {
    let converted =
      "let ffmpeg make JPEGs: ffmpeg -v error -f v4l2 -i \(path) -f mjpeg - | trident watch ... -"
    let text: String
    switch code {
    case Int32(CS_CAMERA_NONE): text = "is no camera that streams"
    case Int32(CS_CAMERA_NO_FORMAT):
      let wanted = format.map { "no \($0)" } ?? "no JPEGs and no pixels that are read"
      text = "gives \(wanted), only \(offered); \(converted)"
    case Int32(CS_CAMERA_FIELDS): text = "gives fields, not whole pictures; \(converted)"
    case Int32(CS_CAMERA_LAYOUT): text = "tells a size that its pictures do not have; \(converted)"
    case Int32(CS_CAMERA_COLOURS): text = "makes its colours by a rule that is not read; \(converted)"
    default: return SystemError(.system(action: "open the camera", code: -code), path: path)
    }
    return SystemError(.malformed(text), path: path)
  }

  package var descriptor: Int32 { cs_camera_descriptor(camera) }
  package var droppedCount: Int { Int(passed) }
  package let brokenCount = 0

  package func take() throws(SystemError) -> Taken {
    var bytes: UnsafeRawPointer?
    var count = 0
    let code = cs_camera_newest(camera, &bytes, &count, &passed)
    if code == 0 { return .nothing }
    guard code == 1, let bytes else {
      throw SystemError(.system(action: "take a picture", code: -code), path: path)
    }
    guard ftruncate(place, 0) == 0, lseek(place, 0, SEEK_SET) == 0 else {
      throw .errno("keep a picture", path)
    }
    if let layout, let rows { try keep(bytes, layout, rows) } else { try keep(bytes, count) }
    number += 1
    return .arrival(Arrival(name: "\(path), picture \(number)", path: "/proc/self/fd/\(place)"))
  }

  private func keep(_ bytes: UnsafeRawPointer, _ count: Int) throws(SystemError) {
    let code = cs_write_all(place, bytes, count)
    if code != 0 { throw SystemError(.system(action: "keep a picture", code: code), path: path) }
  }

  /// As a PPM, some rows at a time.
  private func keep(_ bytes: UnsafeRawPointer, _ layout: CameraLayout, _ rows: ScratchBytes)
    throws(SystemError)
  {
    let head = Array("P6\n\(layout.width) \(layout.height)\n255\n".utf8)
    try keep(head, head.count)
    let pixels = CameraPixels(layout)
    let picture = bytes.assumingMemoryBound(to: UInt8.self)
    let room = rows.base.assumingMemoryBound(to: UInt8.self)
    let step = rows.count / (3 * layout.width)
    for first in stride(from: 0, to: layout.height, by: step) {
      let group = first..<min(first + step, layout.height)
      for y in group { pixels.row(y, of: picture, into: room + (y - first) * 3 * layout.width) }
      try keep(rows.base, group.count * 3 * layout.width)
    }
  }
}
