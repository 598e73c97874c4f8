// Base64 against the vectors of RFC 4648, section 10.
import System
import Testing

@Suite struct Base64Tests {
  @Test(arguments: [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
    ("foobar", "Zm9vYmFy"),
  ])
  func vectors(_ text: String, _ expected: String) {
    #expect(String(decoding: base64(Array(text.utf8)), as: UTF8.self) == expected)
  }

  @Test func allDigits() {
    let text = String(decoding: base64([0xFB, 0xFF, 0xBF][...]), as: UTF8.self)
    #expect(text == "+/+/")
  }
}
