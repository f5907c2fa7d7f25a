import ArgumentParser
import Glibc
import JSONRPC
import Supervisor

/// The options that make a job; `job run` and `job create` take the same.
struct JobFields: ParsableArguments {
  @Option(name: .shortAndLong, help: "The runner that is to run it.", completion: .runnerName)
  var runner: String

  @Option(name: .shortAndLong, help: "How the payload is run: shell, python, echo, or a configured executor.")
  var executor = "shell"

  @Option(
    name: .shortAndLong,
    help: ArgumentHelp(
      "After how long it is stopped, in seconds or as 5m, 1.5h; 0 is the runner's default. (default: 0)",
      valueName: "time"))
  var timeout: String?

  @Option(help: ArgumentHelp("A variable of its environment; may be repeated.", valueName: "name=value"))
  var env: [String] = []

  @Option(help: "Its id; creating the same job again is harmless. (default: a random one)")
  var id: String?

  @Option(help: "Who asks. (default: cli:USER)")
  var callerID: String?

  @Option(help: "What it belongs to. (default: cli)")
  var contextID: String?

  @Option(help: ArgumentHelp("Read the payload from a file.", valueName: "file"), completion: .file())
  var file: String?

  @Argument(help: "What to run; - reads it from standard input.")
  var payload: String?

  func validate() throws {
    if payload != nil && file != nil { throw ValidationError("give the payload as an argument or by --file, not both") }
    if payload == nil && file == nil {
      throw ValidationError("give a payload: as an argument, - for standard input, or --file FILE")
    }
    if let timeout, TimeSpan(argument: timeout) == nil {
      throw ValidationError("--timeout: expected \(TimeSpan.expectation), got \(quoted(timeout))")
    }
    for variable in env where variable.firstIndex(of: "=").map({ $0 == variable.startIndex }) ?? true {
      throw ValidationError("--env takes NAME=VALUE, got \(quoted(variable))")
    }
    if let id {
      do throws(InvalidName) { _ = try JobID(id) } catch { throw ValidationError("--id \(error.reason)") }
    }
  }

  /// The job with all ten fields of the contract; the node sets the timestamps itself.
  func job() throws(CommandFailure) -> (id: String, json: JSON) {
    let id = self.id ?? Self.randomID()
    var variables: [(String, JSON)] = []
    for variable in env {
      let parts = variable.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      variables.removeAll { $0.0 == parts[0] }
      variables.append((String(parts[0]), .string(String(parts[1]))))
    }
    let now = JSON.string("\(Timestamp.now)")
    let timeout = self.timeout.flatMap(TimeSpan.init(argument:))?.seconds ?? 0
    return (
      id,
      [
        "id": .string(id), "caller_id": .string(callerID ?? "cli:\(Self.userName())"),
        "context_id": .string(contextID ?? "cli"), "payload": .string(try text()), "runner": .string(runner),
        "executor": .string(executor), "timeout": Int64(exactly: timeout).map { .int($0) } ?? .double(timeout),
        "env_vars": .object(JSONObject(members: variables)), "created_at": now, "updated_at": now,
      ]
    )
  }

  private func text() throws(CommandFailure) -> String {
    if let payload, payload != "-" { return payload }
    let name = file ?? "standard input"
    let bytes: [UInt8]
    do throws(FileBytes.Failure) {
      if let file {
        bytes = try FileBytes.read(file).bytes
      } else {
        bytes = try FileBytes.readAll(STDIN_FILENO, named: name)
      }
    } catch {
      throw CommandFailure(message: "cannot read the payload from \(name): \(error.reason)", status: .usage)
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw CommandFailure(
        message: "the payload in \(name) is not UTF-8 text", hints: ["encode it, for instance by base64(1)"],
        status: .usage)
    }
    return text
  }

  /// 122 random bits as a UUID of version 4 (RFC 9562).
  static func randomID() -> String {
    var random = SystemRandomNumberGenerator()
    let digits = Array("0123456789abcdef")
    var text = ""
    for index in 0..<32 {
      if index == 8 || index == 12 || index == 16 || index == 20 { text += "-" }
      let nibble = Int(random.next() & 15)
      text.append(index == 12 ? "4" : digits[index == 16 ? 8 | nibble & 3 : nibble])
    }
    return text
  }

  private static func userName() -> String {
    guard let entry = getpwuid(geteuid()), let name = entry.pointee.pw_name else { return "\(geteuid())" }
    return String(cString: name)
  }
}
