// NumPy's array files: headers both ways.

/// The header of an `.npy` array.
///
/// - Source: NumPy `numpy/lib/format.py`, versions 1.0 to 3.0.
package enum NPYHeader {
  /// Header bytes of a C-order array; the data follow at a multiple of 64.
  ///
  /// - Shapes: `shape` may be empty for a single value.
  /// - Parameter isSigned: more padding than NumPy ever writes tells that this program wrote it.
  package static func encode(type: String, shape: [Int], isSigned: Bool = false) -> [UInt8] {
    let sizes = shape.count == 1 ? "\(shape[0])," : shape.map(String.init).joined(separator: ", ")
    var text = "{'descr': '\(type)', 'fortran_order': False, 'shape': (\(sizes)), }"
    if isSigned { text += String(repeating: " ", count: signature) }
    while (10 + text.utf8.count + 1) % 64 != 0 { text += " " }
    text += "\n"
    var out: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0]
    out.append(little: UInt16(text.utf8.count))
    return out + text.utf8
  }

  private static let signature = 128

  /// Whether the first bytes of a file are those of a signed header.
  package static func isSigned(_ start: [UInt8]) -> Bool {
    guard start.starts(with: [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0]), start.count > 10 else {
      return false
    }
    let end = 10 + Int(start[8]) + Int(start[9]) << 8
    guard end <= start.count, end > 10 + signature else { return false }
    return start[end - 1 - signature..<end - 1].allSatisfy { $0 == 0x20 }
  }

  /// Reads a header; the cursor stands at the data afterwards.
  ///
  /// - Errors: `.malformed` if this is no C-order array of at most 4 axes; `.truncated`.
  package static func decode<Bytes, Failure>(
    _ cursor: inout ByteCursor<Bytes, Failure>, _ field: String
  ) throws(Failure) -> (type: String, shape: [Int]) {
    func broken(_ problem: String) -> Failure { Failure(SystemError(.malformed(problem), name: field)) }
    let magic: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]
    guard cursor.buffer[try cursor.take(6, field)].elementsEqual(magic) else { throw broken("no array") }
    let version = try cursor.uint16(field)
    guard [1, 2, 3].contains(version) else { throw broken("array of an unknown version") }
    let length = version == 1 ? Int(try cursor.uint16(field)) : Int(try cursor.uint32(field))
    guard length <= 65_536 else { throw broken("array header too long") }
    guard let text = String(validating: cursor.buffer[try cursor.take(length, field)], as: UTF8.self) else {
      throw broken("array header is not text")
    }
    guard let type = value(of: "descr", in: text), let order = value(of: "fortran_order", in: text),
      let shape = value(of: "shape", in: text), type.first == "'" || type.first == "\"", type.count >= 2
    else { throw broken("array header lacks a key") }
    guard order == "False" else { throw broken("array in Fortran order; save it in C order") }
    var sizes: [Int] = []
    for part in shape.dropFirst().dropLast().split(separator: ",") {
      let digits = part.filter { $0 != " " }
      if digits.isEmpty { continue }
      guard let size = Int(digits), size >= 0, sizes.count < 4 else { throw broken("shape \(shape)") }
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
}
