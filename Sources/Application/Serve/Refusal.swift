// Why a request is not done, as HTTP says it.
import Segmentation
import System

/// A status of 400 and up with its reason in words.
package struct Refusal: Error, Equatable, Sendable {
  package let status: Int
  package let text: String
  /// Seconds after which another try may do better.
  package var retryAfter: Int?
  /// Methods that would do, for 405.
  package var allowed: String?

  package init(_ status: Int, _ text: String, retryAfter: Int? = nil, allowed: String? = nil) {
    (self.status, self.text, self.retryAfter, self.allowed) = (status, text, retryAfter, allowed)
  }

  /// What a job threw. `path`: where the photo lay, which no client is told; `name`: what it is called
  /// instead.
  ///
  /// A photo that does not fit the memory limit is too large for this server. What the server itself lacks is
  /// its own fault.
  package init(_ error: any Error, path: String, name: String) {
    switch error {
    case let refusal as Refusal:
      self = refusal
    case let error as SegmentationError:
      let clean = Self.replacing(path, with: name, in: error.description)
      let status =
        switch error.exitCode {
        case 2, 3: 400
        case 5: 413
        default: 500
        }
      self.init(status, printable(status == 500 ? "the model or a result failed" : clean, limit: 2000))
    default:
      self.init(500, "the photo could not be done")
    }
  }

  /// Byte by byte: the library's own would load one for regular expressions.
  private static func replacing(_ path: String, with name: String, in text: String) -> String {
    let (bytes, pattern) = (Array(text.utf8), Array(path.utf8))
    var found: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if bytes[index...].starts(with: pattern) {
        found += Array(name.utf8)
        index += pattern.count
      } else {
        found.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: found, as: UTF8.self)
  }

  /// The body of the answer.
  var json: JSON { .object([("status", .int(status)), ("error", .string(text))]) }
}

/// Bounds of what clients may ask for.
package struct ServeLimits: Equatable, Sendable {
  /// Of a request's body.
  package var bodyByteCount = 32 << 20
  /// Classes, synonyms and negative phrases of a request, together.
  package var phraseCount = 256
  /// Photos that wait while one is worked on.
  package var queueLength = 4
  /// For a whole request to come in.
  package var seconds = 60
  /// For one photo's work, from the moment it is taken up.
  package var workSeconds = 600
  package var pixelCount = 128_000_000
  /// Connections at once.
  package var connectionCount = 64
  /// Of a request's head.
  static let headByteCount = 32 << 10
  /// Of the text fields of a form, together.
  static let fieldByteCount = 256 << 10

  package init() {}

  /// Bodies that are held at once: those that wait, the one that is worked on, and one that comes in.
  var heldByteCount: Int { (queueLength + 2) * bodyByteCount }
}
