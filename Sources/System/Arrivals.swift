// Photos that arrive while a job runs, wherever they come from.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A photo that arrived.
package struct Arrival: Equatable, Sendable {
  /// For people.
  package let name: String
  /// The file to open; stays until the next one is taken.
  package let path: String
  /// When it was whole: seconds since 1970.
  package let time: Double

  package init(name: String, path: String, time: Double = realSeconds()) {
    (self.name, self.path, self.time) = (name, path, time)
  }
}

/// What a source has.
package enum Taken: Equatable, Sendable {
  case arrival(Arrival)
  /// Nothing now.
  case nothing
  /// Nothing any more.
  case ended
}

/// Where photos arrive. Of those that arrived since the last was taken the newest wins, unless all are kept.
package protocol ArrivalSource: AnyObject {
  /// Readable when something may have arrived.
  var descriptor: Int32 { get }
  /// Arrived, and given up for a newer one.
  var droppedCount: Int { get }
  /// Begun, and not whole.
  var brokenCount: Int { get }
  /// What is there. Never waits, but for a camera that is about to give a picture.
  ///
  /// - Errors: the source is gone, or is none.
  func take() throws(SystemError) -> Taken
}

/// Seconds since 1970.
package func realSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// `2026-05-17T08:15:30.250Z`. `seconds`: since 1970.
package func utcText(_ seconds: Double) -> String {
  let milliseconds = Int((seconds * 1000).rounded(.down))
  var whole = time_t(milliseconds / 1000)
  var parts = tm()
  gmtime_r(&whole, &parts)
  func digits(_ value: Int, _ count: Int) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
  }
  let day = [
    digits(Int(parts.tm_year) + 1900, 4), digits(Int(parts.tm_mon) + 1, 2), digits(Int(parts.tm_mday), 2),
  ]
  let hour = [parts.tm_hour, parts.tm_min, parts.tm_sec].map { digits(Int($0), 2) }
  return day.joined(separator: "-") + "T" + hour.joined(separator: ":") + "." + digits(milliseconds % 1000, 3)
    + "Z"
}
