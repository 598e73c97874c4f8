// Pictures of a camera at hand, by Video4Linux.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A camera that gives JPEGs. The driver fills four buffers and leaves out what comes then; only the newest
/// picture is taken, and none that is older than half a second.
///
/// - Memory: the driver's buffers, and one file in memory of the longest picture's size.
/// - Errors: no camera, none that gives JPEGs, one that went away.
package final class CameraArrivals: ArrivalSource {
  private let path: String
  private let camera: OpaquePointer
  private let place: Int32
  private var number = 0
  private var passed: Int64 = 0

  /// `width`, `height`: at most so many pixels are asked for; the camera takes the nearest that it has.
  package init(path: String, width: Int = 1280, height: Int = 720) throws(SystemError) {
    self.path = path
    var opened: OpaquePointer?
    var formats = [CChar](repeating: 0, count: 128)
    let code = cs_camera_open(path, Int32(width), Int32(height), &opened, &formats)
    let offered = formats.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    if code == Int32(CS_CAMERA_NONE) {
      throw SystemError(.malformed("is no camera that streams"), path: path)
    }
    if code == Int32(CS_CAMERA_NO_JPEG) {
      throw SystemError(
        .malformed(
          "gives no JPEGs, only \(printable(offered, limit: 128)); "
            + "let ffmpeg make them: ffmpeg -v error -f v4l2 -i \(path) -f mjpeg - | trident watch ... -"),
        path: path)
    }
    guard code == 0, let opened else {
      throw SystemError(.system(action: "open the camera", code: -code), path: path)
    }
    camera = opened
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
    let written = cs_write_all(place, bytes, count)
    if written != 0 { throw SystemError(.system(action: "keep a picture", code: written), path: path) }
    number += 1
    return .arrival(Arrival(name: "\(path), picture \(number)", path: "/proc/self/fd/\(place)"))
  }
}
