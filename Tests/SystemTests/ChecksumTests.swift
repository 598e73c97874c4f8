// CRC-32 and SHA-256 against published values and a bit-by-bit reference.
import System
import Testing

@Suite struct ChecksumTests {
  private func slowCRC(_ bytes: [UInt8]) -> UInt32 {
    var crc: UInt32 = 0xFFFF_FFFF
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
    }
    return ~crc
  }

  @Test func checkValue() {
    #expect(Array("123456789".utf8).withUnsafeBytes { CRC32.of($0) } == 0xCBF4_3926)
    #expect([UInt8]().withUnsafeBytes { CRC32.of($0) } == 0)
  }

  @Test func everyLengthAndSplitAgreesWithTheBitwiseForm() {
    let bytes = (0..<70).map { UInt8(truncatingIfNeeded: $0 &* 97 &+ 13) }
    for count in 0...70 {
      let expected = slowCRC(Array(bytes[0..<count]))
      for split in stride(from: 0, through: count, by: 3) {
        var crc = CRC32()
        bytes[0..<split].withUnsafeBytes { crc.update($0) }
        bytes[split..<count].withUnsafeBytes { crc.update($0) }
        #expect(crc.value == expected, "count \(count), split \(split)")
      }
    }
  }

  @Test func digestOfKnownMessages() {
    func hex(_ bytes: [UInt8], step: Int) -> String {
      var digest = SHA256Digest()
      var start = 0
      while start < bytes.count {
        let end = min(bytes.count, start + step)
        bytes[start..<end].withUnsafeBytes { digest.update($0) }
        start = end
      }
      return digest.finishHex()
    }
    // Source: FIPS 180-4 examples.
    #expect(hex([], step: 1) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    #expect(hex(Array("abc".utf8), step: 1) == abc)
    let long = Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)
    let expected = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    for step in [1, 3, 55, 56, 64] { #expect(hex(long, step: step) == expected) }
    let million = [UInt8](repeating: 97, count: 1_000_000)
    let repeated = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    for step in [63, 4096] { #expect(hex(million, step: step) == repeated) }
  }
}
