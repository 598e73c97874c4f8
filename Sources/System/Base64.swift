// Bytes as text of 64 letters.

/// Three bytes become four letters; at the end `=` stands for what is missing of three.
///
/// - Source: RFC 4648, section 4.
package func base64(_ bytes: some Collection<UInt8>) -> [UInt8] {
  let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  var text: [UInt8] = []
  text.reserveCapacity((bytes.count + 2) / 3 * 4)
  var (bits, count) = (0, 0)
  func add(_ letterCount: Int) {
    for place in 0..<4 {
      text.append(place < letterCount ? letters[bits >> (18 - 6 * place) & 63] : UInt8(ascii: "="))
    }
    (bits, count) = (0, 0)
  }
  for byte in bytes {
    bits |= Int(byte) << (16 - 8 * count)
    count += 1
    if count == 3 { add(4) }
  }
  if count > 0 { add(count + 1) }
  return text
}
