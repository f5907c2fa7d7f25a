import Glibc

/// What the program writes and reads, by plain write(2) and read(2). Bytes leave as they are, which is for what a job
/// wrote; text is the program's own, and whatever stands in it of others is made printable. JSON stays the same JSON.
enum StandardStreams {
  static func out(_ text: String) { write(Array(text.printable(keepingLines: true).utf8), to: STDOUT_FILENO) }
  static func out(_ bytes: [UInt8]) { write(bytes, to: STDOUT_FILENO) }
  static func error(_ bytes: [UInt8]) { write(bytes, to: STDERR_FILENO) }
  static func error(_ text: String) { write(Array(text.printable(keepingLines: true).utf8), to: STDERR_FILENO) }

  /// A line with a name or an id and nothing else: to the byte for a script, printable on a terminal.
  static func out(name: String) { isatty(STDOUT_FILENO) == 1 ? out(name + "\n") : out(Array("\(name)\n".utf8)) }

  /// Whether a person watches standard error.
  static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  /// Writes everything. A reader that went away (`| head`) ends the program silently, as SIGPIPE would have.
  private static func write(_ bytes: [UInt8], to descriptor: Int32) {
    bytes.withUnsafeBytes { all in
      var rest = all[...]
      while !rest.isEmpty {
        let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
        if count >= 0 {
          rest = rest.dropFirst(count)
        } else if errno == EAGAIN {
          var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          Glibc.poll(&poll, 1, -1)
        } else if errno != EINTR {
          guard descriptor == STDOUT_FILENO else { return }
          if errno != EPIPE {
            StandardStreams.error("hero-supervisor: cannot write standard output: \(errorText(errno))\n")
          }
          exit(errno == EPIPE ? 141 : 1)
        }
      }
    }
  }
}
