import Glibc
import JSONRPC
import Testing

@testable import hero_supervisor

@Suite("A secret", .timeLimit(.minutes(5)))
struct SecretTests {
  private static let word = "correct-horse-battery"

  @Test("prints as stars, however it is printed")
  func printing() {
    let secret = Secret(Self.word)
    var dumped = ""
    dump([secret], to: &dumped)
    for text in [
      "\(secret)", String(reflecting: secret), String(describing: [secret]), "\(Optional(secret) as Any)", dumped,
    ] {
      #expect(!text.contains(Self.word), "\(text)")
    }
    #expect("\(SecretReference(Self.word))" == "***")
    #expect("\(SecretReference("env:A"))" == "env:A")
  }

  @Test("comes from a literal, a variable, or the lines of a file beside the configuration")
  func resolving() throws {
    let directory = TemporaryDirectory()
    directory.write("the-first-of-two-keys\n\n the-second-of-two-keys \n", to: "keys")
    let file = directory.write(
      #"{"auth": {"admin_secrets": ["a-literal-as-a-key", "env:KEY"], "user_secrets": ["file:keys"]}}"#, to: "c.json")
    let loaded = try ConfigurationLoader(file: file, environment: ["KEY": "from-the-environment"]).load()
    #expect(
      loaded.configuration.auth.adminSecrets.map { $0.reveal() } == ["a-literal-as-a-key", "from-the-environment"])
    #expect(
      loaded.configuration.auth.userSecrets.map { $0.reveal() } == ["the-first-of-two-keys", "the-second-of-two-keys"])
    #expect(loaded.warnings.isEmpty)
  }

  @Test("that is not there is a problem at start and a warning in a check")
  func missing() throws {
    let directory = TemporaryDirectory()
    directory.write("", to: "empty")
    let file = directory.write(
      #"{"auth": {"admin_secrets": ["env:NO", "env:BLANK", "file:none", "file:empty", ""]}}"#, to: "c.json")
    var loader = ConfigurationLoader(file: file, environment: ["BLANK": ""])
    #expect { try loader.load() } throws: { error in
      (error as? ConfigurationError)?.problems.map(\.message) == ["must not be empty"]
    }
    directory.write(
      #"{"auth": {"admin_secrets": ["env:NO", "env:BLANK", "file:none", "file:empty"]}}"#, to: "c.json")
    let expected = [
      "auth.admin_secrets[0]: the environment variable NO is not set",
      "auth.admin_secrets[1]: the environment variable BLANK is empty",
      "auth.admin_secrets[2]: cannot read \(directory.path)/none: no such file or directory",
      "auth.admin_secrets[3]: \(directory.path)/empty is empty",
    ]
    #expect { try loader.load() } throws: { error in
      (error as? ConfigurationError)?.problems.map { "\($0.path): \($0.message)" } == expected
    }
    loader.missingSecrets = .areWarnings
    #expect(try loader.load().warnings.map { "\($0.path): \($0.message)" } == expected)
  }

  @Test("in a file that begins with a byte order mark is refused, with the reason")
  func byteOrderMark() {
    let directory = TemporaryDirectory()
    directory.write("\u{FEFF}" + Self.word, to: "key")
    let (problems, _) = findings(#"{"auth": {"admin_secrets": ["file:key"]}}"#, in: directory)
    #expect(problems.count == 1 && problems[0].contains("begins with a byte order mark"), "\(problems)")
  }

  @Test("in a file that others may read is worth a warning")
  func readableByOthers() throws {
    let directory = TemporaryDirectory()
    let path = directory.write(Self.word, to: "key", mode: 0o644)
    let file = directory.write(#"{"auth": {"admin_secrets": ["file:key"]}}"#, to: "c.json")
    let warnings = try ConfigurationLoader(file: file, environment: [:]).load().warnings
    #expect(
      warnings.map(\.message) == ["\(path) is readable by other users (mode 644); do `chmod 600 \(path)`"])
  }

  /// The problems and warnings of a configuration, with its directory left out.
  private func findings(
    _ json: String, mode: mode_t = 0o600, environment: [String: String] = [:], in directory: TemporaryDirectory,
    missing: ConfigurationLoader.MissingSecrets = .areProblems
  ) -> (problems: [String], warnings: [String]) {
    let file = directory.write(json, to: "c.json", mode: mode)
    func text(_ found: [ConfigurationProblem]) -> [String] {
      found.map { "\($0.path): \($0.message)".replacing("\(directory.path)/", with: "") }
    }
    do throws(ConfigurationError) {
      let loader = ConfigurationLoader(file: file, environment: environment, missingSecrets: missing)
      return ([], text(try loader.load().warnings))
    } catch {
      return (text(error.problems), text(error.warnings))
    }
  }

  @Test("of fewer than 16 bytes is refused as a key, wherever it comes from, and not shown")
  func shortKeys() {
    let directory = TemporaryDirectory()
    directory.write("0123456789abcdef\nshort\n", to: "keys")
    let found = findings(
      """
      {"auth": {"admin_secrets": ["0123456789abcdef", "0123456789abcde"], "user_secrets": ["env:KEY"],
       "register_secrets": ["file:keys"]}}
      """, environment: ["KEY": "x"], in: directory, missing: .areWarnings)
    let way = "; `openssl rand -hex 32` makes one"
    #expect(
      found.problems == [
        "auth.admin_secrets[1]: expected a key of at least 16 bytes (***)\(way)",
        "auth.user_secrets[0]: expected a key of at least 16 bytes (env:KEY)\(way)",
        "auth.register_secrets[0]: expected a key of at least 16 bytes (file:keys)\(way)",
      ])
  }

  @Test("in a file that others may write is refused, also where the file is only checked")
  func writableByOthers() {
    for mode: mode_t in [0o620, 0o602, 0o666] {
      let directory = TemporaryDirectory()
      directory.write(Self.word, to: "key", mode: mode)
      directory.write(ClusterKey.random().written(), to: "gossip.keys", mode: mode)
      let found = findings(
        #"{"auth": {"admin_secrets": ["file:key"]}, "cluster": {"keys": ["file:gossip.keys"]}}"#, in: directory,
        missing: .areWarnings)
      let octal = String(mode, radix: 8)
      #expect(
        Set(found.problems) == [
          "auth.admin_secrets[0]: key is writable by other users (mode \(octal)); do `chmod 600 key`",
          "cluster.keys[0]: gossip.keys is writable by other users (mode \(octal)); do `chmod 600 gossip.keys`",
        ])
    }
  }

  @Test(
    "that stands in the configuration itself is warned of when others may read that, and refused when they may write")
  func literalKeys() {
    let directory = TemporaryDirectory()
    let literal = #"{"auth": {"user_secrets": ["env:KEY", "\#(Self.word)"]}}"#
    let environment = ["KEY": "\(Self.word)2"]
    let remedy = "do `chmod 600 c.json`, or name the key by file: or env:"
    func found(_ json: String, _ mode: mode_t) -> (problems: [String], warnings: [String]) {
      findings(json, mode: mode, environment: environment, in: directory)
    }
    #expect(found(literal, 0o600) == ([], []))
    #expect(
      found(literal, 0o644)
        == ([], ["auth.user_secrets[1]: stands in a file that other users may read (mode 644); \(remedy)"]))
    for mode: mode_t in [0o620, 0o666] {
      let octal = String(mode, radix: 8)
      #expect(
        found(literal, mode).problems
          == ["auth.user_secrets[1]: stands in a file that other users may write (mode \(octal)); \(remedy)"])
    }
    #expect(found(#"{"auth": {"user_secrets": ["env:KEY"]}}"#, 0o666) == ([], []))
  }

  @Test("is in neither form of config show")
  func show() throws {
    let directory = TemporaryDirectory()
    let file = directory.write(
      """
      {"auth": {"admin_secrets": ["\(Self.word)"], "user_secrets": ["env:KEY"]},
       "executors": {"my.tool": {"command": ["x"], "env": {"TOKEN": "\(Self.word)"}}}}
      """, to: "c.json")
    let loaded = try ConfigurationLoader(file: file, environment: ["KEY": "\(Self.word)2"]).load()
    let presentation = ConfigurationPresentation(loaded)
    #expect(!presentation.table.contains(Self.word) && !presentation.json.text.contains(Self.word))
    #expect(!"\(loaded.configuration.auth)".contains(Self.word))
    let shown = presentation.json["configuration"]
    #expect(shown?["auth"]?["admin_secrets"] == ["***"] && shown?["auth"]?["user_secrets"] == ["env:KEY"])
    #expect(shown?["executors"]?["my.tool"]?["env"]?["TOKEN"] == "***")
    #expect(presentation.json["sources"]?["log.level"] == "default")
  }

  @Test(
    "is in no error, even where the configuration is wrong",
    arguments: [
      #"{"auth": "SECRET"}"#, #"{"auth": {"admin_secrets": "SECRET"}}"#, #"{"auth": {"admin_secrets": [["SECRET"]]}}"#,
      #"{"store": {"postgres": "postgres://u:SECRET@h"}}"#,
      #"{"store": {"postgres": {"url": "postgres://u:SECRET@h", "lease_seconds": 0}}}"#,
      #"{"executors": {"e": {"command": ["x"], "env": ["SECRET"]}}}"#,
      #"{"executors": {"e": {"command": ["x"], "env": {"A": ["SECRET"]}}}}"#, #"{"cluster": {"keys": "SECRET"}}"#,
      #"{"cluster": "SECRET"}"#, #"{"auth": {"admin_secrets": ["SECRET" "#,
    ])
  func errors(json: String) {
    let directory = TemporaryDirectory()
    let file = directory.write(json.replacing("SECRET", with: Self.word), to: "c.json")
    do throws(ConfigurationError) {
      _ = try ConfigurationLoader(file: file, environment: [:]).load()
      Issue.record("accepted \(json)")
    } catch {
      #expect(!CommandFailure(error).rendered.contains(Self.word), "\(error)")
    }
  }

  @Test(
    "in a malformed connection string is on neither the terminal nor the log",
    arguments: [
      "postgresql://hero:a%zzSECRET@h/db", "postgresql://hero:12/SECRET@h/db", "host=h password=a SECRET user=hero",
      "host=h password='SECRET",
    ])
  func connectionString(url: String) async throws {
    let url = url.replacing("SECRET", with: Self.word)
    for command in [
      ["config", "check", "c.json"], ["config", "check", "--json", "c.json"], ["node", "--config", "c.json"],
    ] {
      let tool = try CommandLineTool(command)
      tool.write(JSON.object(["store": ["postgres": ["url": .string(url)]]]).text, to: "c.json")
      try tool.start()
      let outcome = await tool.outcome()
      let words = outcome.output + outcome.error
      #expect(outcome.status == 2 && words.contains("store.postgres.url"), "\(outcome)")
      #expect(!words.contains(Self.word) && !words.contains("hero:"), "\(outcome)")
    }
  }

  @Test("of a node without any is made once, for the owner alone")
  func adminSecret() throws {
    let directory = TemporaryDirectory()
    #expect(AdminSecretFile.load(from: directory.path) == nil)
    let secret = try AdminSecretFile.loadOrCreate(in: directory.path)
    #expect(secret.reveal().count == 64)
    #expect(try AdminSecretFile.loadOrCreate(in: directory.path) == secret)
    #expect(AdminSecretFile.load(from: directory.path) == secret)
    #expect(try FileBytes.read(AdminSecretFile.path(in: directory.path)).mode & 0o777 == 0o600)
  }

  @Test("of the node itself is refused when it is short, or when others may write it")
  func badAdminSecret() {
    func reason(_ text: String, mode: mode_t) -> String? {
      let directory = TemporaryDirectory()
      directory.write(text, to: "admin.secret", mode: mode)
      do throws(FileBytes.Failure) {
        _ = try AdminSecretFile.loadOrCreate(in: directory.path)
        return nil
      } catch {
        return error.reason
      }
    }
    #expect(reason(Self.word, mode: 0o600) == nil)
    #expect(reason("short\n", mode: 0o600) == "has fewer than 16 bytes; remove it")
    for mode: mode_t in [0o620, 0o602] {
      #expect(reason(Self.word, mode: mode)?.hasPrefix("is writable by other users") == true)
    }
  }
}
