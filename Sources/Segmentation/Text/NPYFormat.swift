// NumPy's array files: headers both ways, and rows of float32 streamed into one.
import Raster

/// The header of an `.npy` array.
///
/// - Source: NumPy `numpy/lib/format.py`, versions 1.0 to 3.0.
package enum NPYHeader {
  /// Header bytes of a C-order array; the data follow at a multiple of 64.
  ///
  /// - Shapes: `shape` may be empty for a single value.
  package static func encode(type: String, shape: [Int]) -> [UInt8] {
    let sizes = shape.count == 1 ? "\(shape[0])," : shape.map(String.init).joined(separator: ", ")
    var text = "{'descr': '\(type)', 'fortran_order': False, 'shape': (\(sizes)), }"
    while (10 + text.utf8.count + 1) % 64 != 0 { text += " " }
    text += "\n"
    var out: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0]
    out.append(little: UInt16(text.utf8.count))
    return out + text.utf8
  }

  /// Reads a header; the reader stands at the data afterwards.
  ///
  /// - Errors: `.vocabulary` if this is no C-order array of at most 4 axes.
  static func decode(_ reader: inout ByteReader, _ field: String) throws(SegmentationError) -> (String, [Int])
  {
    let magic: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]
    guard reader.bytes[try reader.take(6, field)].elementsEqual(magic) else {
      throw broken("no array", field)
    }
    let version = try reader.u16(field)
    guard [1, 2, 3].contains(version) else { throw broken("array of an unknown version", field) }
    let length = version == 1 ? try reader.u16(field) : Int(try reader.u32(field))
    guard length <= 65_536 else { throw broken("array header too long", field) }
    guard let text = FileBytes.string(utf8: reader.bytes[try reader.take(length, field)]) else {
      throw broken("array header is not text", field)
    }
    guard let type = value(of: "descr", in: text), let order = value(of: "fortran_order", in: text),
      let shape = value(of: "shape", in: text), type.first == "'" || type.first == "\"", type.count >= 2
    else { throw broken("array header lacks a key", field) }
    guard order == "False" else { throw broken("array in Fortran order; save it in C order", field) }
    var sizes: [Int] = []
    for part in shape.dropFirst().dropLast().split(separator: ",") {
      let digits = part.filter { $0 != " " }
      if digits.isEmpty { continue }
      guard let size = Int(digits), size >= 0, sizes.count < 4 else { throw broken("shape \(shape)", field) }
      sizes.append(size)
    }
    return (String(type.dropFirst().dropLast()), sizes)
  }

  /// The literal behind a key: a string, a word or a tuple.
  private static func value(of key: String, in text: String) -> String? {
    let scalars = Array(text.utf8)
    let quoted = Array(key.utf8)
    var index = 0
    while index + quoted.count + 2 < scalars.count {
      if scalars[index] == 0x27 || scalars[index] == 0x22, scalars[(index + 1)...].starts(with: quoted),
        scalars[index + 1 + quoted.count] == scalars[index]
      {
        var start = index + quoted.count + 2
        while start < scalars.count, scalars[start] == 0x20 || scalars[start] == 0x3A { start += 1 }
        guard start < scalars.count else { return nil }
        let closer: [UInt8] =
          scalars[start] == 0x28
          ? [0x29] : scalars[start] == 0x27 || scalars[start] == 0x22 ? [scalars[start]] : []
        guard
          let end = scalars[(start + 1)...].firstIndex(where: {
            closer.isEmpty ? $0 == 0x2C || $0 == 0x7D || $0 == 0x20 : closer.contains($0)
          })
        else { return nil }
        return String(decoding: scalars[start...(closer.isEmpty ? end - 1 : end)], as: UTF8.self)
      }
      index += 1
    }
    return nil
  }

  private static func broken(_ problem: String, _ field: String) -> SegmentationError {
    SegmentationError(.vocabulary(problem), field: field)
  }
}

/// Writes a float32 array of known shape, some values at a time.
///
/// - Memory: allocates nothing for the values on a little-endian machine.
/// - Errors: `.output` with the file; an unfinished array leaves no file.
package final class NPYWriter {
  private let file: AtomicFile
  private var remaining: Int

  /// Starts a C-order array, `shape` axes outermost first.
  package init(path: String, shape: [Int]) throws(SegmentationError) {
    do throws(RasterError) {
      file = try AtomicFile(path: path)
      try file.write(NPYHeader.encode(type: "<f4", shape: shape))
    } catch {
      throw SegmentationError(.output(error.description))
    }
    remaining = shape.reduce(1, *)
  }

  /// Appends values in storage order; traps if the array is full.
  package func append(_ values: UnsafeBufferPointer<Float>) throws(SegmentationError) {
    precondition(values.count <= remaining, "more values than the array holds")
    precondition(1.littleEndian == 1, "values are written as they lie in memory")
    remaining -= values.count
    do throws(RasterError) {
      try file.write(UnsafeRawBufferPointer(values))
    } catch {
      throw SegmentationError(.output(error.description))
    }
  }

  /// Gives the file its name; traps if values are missing.
  package func finish() throws(SegmentationError) {
    precondition(remaining == 0, "fewer values than the array holds")
    do throws(RasterError) {
      try file.finish()
    } catch {
      throw SegmentationError(.output(error.description))
    }
  }
}
