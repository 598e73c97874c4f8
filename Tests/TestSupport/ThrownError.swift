// The error that a call threw. From Swift 6.1 on `#expect(throws:)` returns it; this package also builds with
// 6.0.

import Testing

/// Runs `body` and gives back what it threw; anything but one error of that type fails the test.
package func thrownError<Failure: Error, Result>(
  _ type: Failure.Type, sourceLocation: SourceLocation = #_sourceLocation, from body: () throws -> Result
) -> Failure? {
  do {
    _ = try body()
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
  } catch let error as Failure {
    return error
  } catch {
    Issue.record("another error was thrown: \(error)", sourceLocation: sourceLocation)
  }
  return nil
}
