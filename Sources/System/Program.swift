// Running another program to its end.
import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Runs a program with this one's environment and streams; returns whether it ended with 0.
///
/// - Errors: `.system` where it cannot be started.
package func runProgram(_ path: String, _ arguments: [String]) throws(SystemError) -> Bool {
  let words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
  defer { for word in words { free(word) } }
  var failed: Int32 = 0
  let status = cs_run_program(path, words, &failed)
  if failed != 0 { throw SystemError(.system(action: "start the program", code: failed), path: path) }
  return status == 0
}
