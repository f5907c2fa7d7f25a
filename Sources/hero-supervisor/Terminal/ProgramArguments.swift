import ArgumentParser
import Glibc

// What the program was started with, looked at as bytes before anything of it is a `String`: there, bytes that are no UTF-8
// would become other characters without a word, and two names would be one.

enum ProgramArguments {
  /// Refuses arguments, and variables that every command may read, which are not UTF-8.
  /// - Throws: with the place of the first.
  static func check() throws(CommandFailure) {
    for index in 1..<max(1, Int(CommandLine.argc)) {
      guard let pointer = CommandLine.unsafeArgv[index] else { continue }
      let argument = bytes(pointer)
      if String(validating: argument, as: UTF8.self) != nil { continue }
      throw CommandFailure(
        message: "argument \(index) is not UTF-8: \(shown(argument))",
        hints: ["encode it, for instance by base64(1), or set a UTF-8 locale where it was typed"], status: .usage)
    }
    for name in unreadableVariables().sorted() where name.hasPrefix("HERO_") || name == "HOME" || name == "PATH" {
      throw CommandFailure(message: "the environment variable \(name) is not UTF-8", status: .usage)
    }
  }

  /// The names of the variables whose values are not UTF-8.
  static func unreadableVariables() -> Set<String> {
    var names: Set<String> = []
    var entry = environ
    while let pointer = entry.pointee {
      entry += 1
      let text = bytes(pointer)
      guard String(validating: text, as: UTF8.self) == nil else { continue }
      names.insert(String(decoding: text.prefix { $0 != UInt8(ascii: "=") }, as: UTF8.self))
    }
    return names
  }

  private static func bytes(_ text: UnsafeMutablePointer<CChar>) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))
  }

  /// The beginning as a shell's `$'…'` has it.
  private static func shown(_ bytes: [UInt8]) -> String {
    let text = bytes.prefix(60).map { byte -> String in
      switch byte {
      case UInt8(ascii: "'"), UInt8(ascii: "\\"): "\\" + String(UnicodeScalar(byte))
      case 0x20..<0x7F: String(UnicodeScalar(byte))
      default: "\\x\(byte < 16 ? "0" : "")\(String(byte, radix: 16))"
      }
    }
    return "$'\(text.joined())'" + (bytes.count > 60 ? "…" : "")
  }
}

/// A word where a command is expected that is none.
struct UnknownCommand {
  private let word: String
  private let group: [String]
  private let known: [String]

  /// - Returns: `nil` when the arguments lead to a command, or say nothing where one is expected.
  init?(_ arguments: [String], of root: any ParsableCommand.Type) {
    var command = root
    var group: [String] = [Self.name(root)]
    for argument in arguments {
      let commands = command.configuration.subcommands
      // Behind a command come its own arguments, and options are the parser's.
      guard !commands.isEmpty, !argument.hasPrefix("-"), argument != "help" else { return nil }
      guard let next = commands.first(where: { Self.name($0) == argument }) else {
        word = argument
        self.group = group
        known = commands.map(Self.name)
        return
      }
      command = next
      group.append(argument)
    }
    return nil
  }

  private static func name(_ command: any ParsableCommand.Type) -> String { command._commandName }

  var failure: CommandFailure {
    let near = suggestion(for: word, among: known).map { "did you mean \"\($0)\"? " } ?? ""
    return CommandFailure(
      message: "\(group.joined(separator: " ")) has no command \(quoted(word))",
      hints: ["\(near)there are: \(known.joined(separator: ", "))"], status: .usage)
  }
}
