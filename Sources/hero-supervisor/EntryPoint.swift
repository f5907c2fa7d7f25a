import ArgumentParser
import Glibc
import Supervisor

/// Where the program starts. It parses the command line itself instead of leaving that to swift-argument-parser,
/// so that the exit codes are ours (`ExitStatus`).
@main
enum EntryPoint {
  static func main() async {
    openStandardStreams()
    // The guard stays small: nothing else of the program is touched.
    if CommandLine.arguments.count == 3 && CommandLine.arguments[1] == GuardProcess.argument {
      return GuardProcess.run(instance: CommandLine.arguments[2])
    }
    do {
      try ProgramArguments.check()
      if let unknown = UnknownCommand(Array(CommandLine.arguments.dropFirst()), of: HeroSupervisor.self) {
        throw unknown.failure
      }
      var command = try HeroSupervisor.parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch {
      end(error)
    }
  }

  /// A standard stream that was closed by whoever started the program would be the number of the next file or pipe, which
  /// would then get what is meant for the stream. Standard output can then not be written: what was to be printed would be
  /// lost, and the program says so and fails, where it would look as if all had gone well.
  private static func openStandardStreams() {
    for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(descriptor, F_GETFD) < 0 {
      // The lowest number that is free.
      _ = open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_RDWR)
    }
  }

  /// Says what went wrong, or prints what was asked for (`--help`, `--version`), and ends the program.
  private static func end(_ error: any Error) -> Never {
    if let failure = error as? CommandFailure {
      StandardStreams.error(failure.rendered)
      exit(failure.status.rawValue)
    }
    let code = HeroSupervisor.exitCode(for: error)
    let message = HeroSupervisor.fullMessage(for: error)
    if code.isSuccess {
      StandardStreams.out(message + "\n")
      exit(ExitStatus.success.rawValue)
    }
    if !message.isEmpty {
      let prefix = "Error: "
      StandardStreams.error(
        "hero-supervisor: \(message.hasPrefix(prefix) ? String(message.dropFirst(prefix.count)) : message)\n")
    }
    exit(code == .validationFailure ? ExitStatus.usage.rawValue : code.rawValue)
  }
}
