// `libtrident.so`: the functions that `trident.h` declares, over the library `Segmentation`. What each does,
// units and threads stand in that header.
import CTrident
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a handle points to.
final class OpenModel {
  let trident: Trident

  init(_ trident: Trident) { self.trident = trident }

  /// - Errors: `.usage` for NULL.
  static func of(_ handle: OpaquePointer?) throws -> Trident {
    guard let handle else { throw SegmentationError(.usage("the model is NULL; open one first")) }
    return Unmanaged<OpenModel>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue().trident
  }
}

@_cdecl("trident_abi") public func tridentABI() -> Int32 { TRIDENT_ABI }

/// Lives as long as the process.
nonisolated(unsafe) private let version = UnsafePointer(strdup(Trident.version))

@_cdecl("trident_version") public func tridentVersion() -> UnsafePointer<CChar>? { version }

@_cdecl("trident_open")
public func tridentOpen(
  _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<trident_option>?, _ count: Int,
  _ model: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<trident_error>?
) -> Int32 {
  model?.pointee = nil
  return reporting(error) {
    guard let model else { throw SegmentationError(.usage("the model's place is NULL")) }
    let path = try text(path, "path")
    let runtime = try runtimeOptions(try pairs(options, count))
    let opened = OpenModel(try Trident(model: path, runtime: runtime))
    model.pointee = OpaquePointer(Unmanaged.passRetained(opened).toOpaque())
  }
}

@_cdecl("trident_close") public func tridentClose(_ model: OpaquePointer?) {
  if let model { Unmanaged<OpenModel>.fromOpaque(UnsafeRawPointer(model)).release() }
}

@_cdecl("trident_plan")
public func tridentPlan(
  _ model: OpaquePointer?, _ request: UnsafePointer<trident_request>?, _ bytes: UnsafeMutablePointer<Int>?,
  _ error: UnsafeMutablePointer<trident_error>?
) -> Int32 {
  reporting(error) {
    let trident = try OpenModel.of(model)
    guard let bytes else { throw SegmentationError(.usage("the place for bytes is NULL")) }
    bytes.pointee = try trident.plannedByteCount(try trident.request(request), wantsConfidence: true)
  }
}

@_cdecl("trident_segment")
public func tridentSegment(
  _ model: OpaquePointer?, _ request: UnsafePointer<trident_request>?, _ sinks: UnsafePointer<trident_sinks>?,
  _ error: UnsafeMutablePointer<trident_error>?
) -> Int32 {
  reporting(error) {
    let trident = try OpenModel.of(model)
    let request = try trident.request(request)
    _ = try trident.segment(request, try receiver(sinks))
  }
}

/// Runs the body of a function and says how it ended.
private func reporting(
  _ error: UnsafeMutablePointer<trident_error>?, _ body: () throws -> Void
) -> Int32 {
  var (code, message) = (Int32(TRIDENT_OK.rawValue), "")
  do { try body() } catch let problem as SegmentationError {
    (code, message) = (problem.exitCode, problem.description)
  } catch is CancellationError {
    (code, message) = (Int32(TRIDENT_CANCELLED.rawValue), "a callback ended the work")
  } catch let problem {
    (code, message) = (Int32(TRIDENT_SYSTEM.rawValue), "\(problem)")
  }
  guard let error else { return code }
  error.pointee.code = code
  withUnsafeMutableBytes(of: &error.pointee.text) { room in
    // A cut in the middle of a letter would be no UTF-8.
    var bytes = Array(message.utf8.prefix(room.count - 1))
    while !bytes.isEmpty && String(validating: bytes, as: UTF8.self) == nil { bytes.removeLast() }
    room.copyBytes(from: bytes)
    room[bytes.count] = 0
  }
  return code
}
