// What a program does about signals: no litter, and the right last word to whoever started it.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

package enum Signals {
  /// From here on SIGINT, SIGTERM, SIGHUP, and SIGPIPE where nobody reads what is printed any more, remove
  /// temporary files before the process dies of them. A write over a size limit fails like one to a full
  /// disk.
  package static func prepare() {
    occupyStandardStreams()
    signal(SIGXFSZ, SIG_IGN)
    for number in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] where !isIgnored(number) {
      // Dies of the signal, so that a shell that waits knows. The first process of a container cannot, and
      // just ends.
      signal(number) { cs_die_of($0) }
    }
  }

  /// From here on the first SIGINT, SIGTERM or SIGHUP only asks for an end, so that a job can say goodbye.
  /// What the caller ignores stays ignored. Errors: none, best effort; the signal then ends the process at
  /// once.
  package static func endGently() {
    for number in [SIGINT, SIGTERM, SIGHUP] where !isIgnored(number) { _ = cs_end_gently(number) }
  }

  /// Whether such a signal came.
  package static var isEnding: Bool { cs_ending() != 0 }

  /// Readable once such a signal came; -1 where none is waited for.
  package static var endingDescriptor: Int32 { cs_ending_descriptor() }

  /// After the goodbye: dies of the signal that came, so that whoever waits knows; returns where none came.
  package static func dieIfAsked() { if cs_ending() != 0 { cs_die_of(cs_ending()) } }

  /// A mapped file that loses pages under us, because it was cut or its storage failed, ends the process with
  /// a message and exit code 4.
  package static func endOnLostPages(saying text: StaticString) {
    lostPagesText = text
    signal(SIGBUS) { _ in
      let text = Signals.lostPagesText
      _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
      AtomicFile.unlinkAllTemporaries()
      _exit(4)
    }
  }

  /// Set once, before the handler is.
  nonisolated(unsafe) private static var lostPagesText: StaticString = ""

  /// A program may be started with standard streams closed. The next files that it opens would take their
  /// numbers, and what is printed would land in a label map. Here they are taken by something that refuses
  /// what is written and holds nothing.
  private static func occupyStandardStreams() {
    for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(descriptor, F_GETFD) == -1 {
      // The lowest free number is this one: all below are taken by now.
      _ = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY)
    }
    // What is printed into a pipe leaves at once, so that one that is closed is noticed early.
    cs_print_by_lines()
  }

  /// Whether the caller asked for a signal to be ignored, as `nohup` does: that stays so.
  private static func isIgnored(_ number: Int32) -> Bool {
    var current = sigaction()
    guard sigaction(number, nil, &current) == 0 else { return false }
    #if canImport(Glibc)
      let handler = current.__sigaction_handler.sa_handler
    #else
      let handler = current.__sa_handler.sa_handler
    #endif
    return unsafeBitCast(handler, to: Int.self) == 1
  }
}
