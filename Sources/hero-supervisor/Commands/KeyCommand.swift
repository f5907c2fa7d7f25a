import ArgumentParser
import JSONRPC
import Supervisor

/// `hero-supervisor key …`: keys of the API that are made and revoked while the cluster runs.
struct KeyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "key", abstract: "Create, list and revoke keys of the API.",
    discussion: """
      Every node knows a key within a second after it was created or revoked, and
      after any absence. Keys of the configuration are not listed, and stay as they
      are. All of these need an admin key.

      EXAMPLES
        hero-supervisor key create ci --scope user --runner builds --expires-in 90d
        hero-supervisor key list
        hero-supervisor key revoke ci
      """,
    subcommands: [KeyCreate.self, KeyList.self, KeyRevoke.self])
}

struct KeyCreate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Create a key, and print it once.",
    discussion: """
      The key is on standard output, and nowhere else: no node keeps it. SCOPE is
      admin (everything), user (jobs), register (runners), read (what only reads)
      or worker (opens nothing yet). With --runner it sees and touches the jobs of
      these runners only. The first key that is created closes the methods that
      need none until then, at every node.

      EXAMPLES
        umask 077; hero-supervisor key create ci --scope user > ci.key
        hero-supervisor key create ci --scope user --runner builds --runner tests
        hero-supervisor key create grafana --scope read --expires-in 365d
        hero-supervisor key create ops --scope admin --expires-at 2027-01-01T00:00:00Z
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The key's name, by which logs know it.") var name: String
  @Option(help: "What it allows; may be repeated.", completion: .list(["admin", "user", "register", "read", "worker"]))
  var scope: [String]
  @Option(help: "A runner that it is limited to; may be repeated. (default: all)", completion: .runnerName)
  var runner: [String] = []
  @Option(help: ArgumentHelp("When it expires, as RFC 3339. (default: never)", valueName: "time")) var expiresAt:
    String?
  @Option(
    help: ArgumentHelp("Or in how long, such as 90d, 12h or 30m, by this machine's clock.", valueName: "duration"))
  var expiresIn: String?

  func validate() throws {
    if expiresAt != nil && expiresIn != nil { throw ValidationError("give --expires-at or --expires-in, not both") }
    if let expiresIn, Self.milliseconds(expiresIn) == nil {
      throw ValidationError(
        "--expires-in: expected a number with d, h, m or s, such as 90d, of at most a century")
    }
  }

  /// - Returns: `nil` for what is no duration, or one of more than a hundred years.
  static func milliseconds(_ duration: String) -> Int64? {
    // Of a number alone nobody knows whether days are meant.
    guard let last = duration.utf8.last, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(last),
      let seconds = TimeSpan(argument: duration)?.seconds, seconds > 0, seconds <= 36_525 * 86_400
    else { return nil }
    return Int64((seconds * 1000).rounded())
  }

  func run() async throws {
    var params: JSONObject = ["name": .string(name), "scopes": .array(scope.map(JSON.string))]
    if !runner.isEmpty { params["runners"] = .array(runner.map(JSON.string)) }
    if let expiresAt { params["expires_at"] = .string(expiresAt) }
    if let time = expiresIn.flatMap(Self.milliseconds) {
      params["expires_at"] = .string("\(Timestamp(milliseconds: Timestamp.now.milliseconds + time))")
    }
    let answer = try await NodeConnection.open(client).call("key.create", .object(params))
    if client.json { return StandardStreams.out(answer.pretty()) }
    guard let key = answer["key"]?.stringValue else { throw CommandFailure.unexpected("key.create", .null) }
    StandardStreams.error("created the key \(name.printable()); it is shown this once:\n")
    StandardStreams.out("\(key)\n")
  }
}

struct KeyList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the keys that were created, the revoked ones too.",
    discussion: """
      STATE is valid, expired or revoked. A revoked key is listed until it would
      have expired, and for ever when it would not.

      EXAMPLES
        hero-supervisor key list
        hero-supervisor key list --json | jq -r '.[] | .name, .state'
      """)

  @OptionGroup var client: ClientOptions
  @Flag(name: .shortAndLong, help: "Print names only.") var quiet = false

  func run() async throws {
    let result = try await NodeConnection.open(client).call("key.list", .object([:]))
    if client.json { return StandardStreams.out(result.pretty()) }
    if quiet {
      for key in result.elements { StandardStreams.out(name: key["name"]?.cell ?? "") }
      return
    }
    func list(_ value: JSON?, none: String) -> String {
      value?.arrayValue.map { $0.map(\.cell).joined(separator: ",") } ?? none
    }
    var table = Table(["NAME", "STATE", "SCOPES", "RUNNERS", "CREATED", "EXPIRES"].map { ($0, .left) })
    for key in result.elements {
      table.add([
        key["name"]?.cell ?? "-", key["state"]?.cell ?? "-", list(key["scopes"], none: "-"),
        list(key["runners"], none: "all"), key["created_at"]?.cell ?? "-", key["expires_at"]?.cell ?? "-",
      ])
    }
    StandardStreams.out(table.rendered)
  }
}

struct KeyRevoke: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "revoke", abstract: "Revoke a key that was created, at every node.",
    discussion: """
      To revoke a key twice is no error. Its name may be used again, for a key
      that does not expire before the revoked one would have.

      EXAMPLES
        hero-supervisor key revoke ci
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The key's name.", completion: .keyName) var name: String

  func run() async throws {
    let result = try await NodeConnection.open(client).call("key.revoke", ["name": .string(name)])
    if client.json { return StandardStreams.out(result.pretty()) }
    StandardStreams.out("revoked \(name)\n")
  }
}

extension CompletionKind {
  /// The names of the keys, asked of the node.
  static var keyName: CompletionKind { .shellCommand("hero-supervisor key list --quiet 2>/dev/null") }
}
