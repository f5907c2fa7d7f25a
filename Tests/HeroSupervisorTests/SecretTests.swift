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
    directory.write("one\n\n two \n", to: "keys")
    let file = directory.write(
      #"{"auth": {"admin_secrets": ["literal", "env:KEY"], "user_secrets": ["file:keys"]}}"#, to: "c.json")
    let loaded = try ConfigurationLoader(file: file, environment: ["KEY": "from-env"]).load()
    #expect(loaded.configuration.auth.adminSecrets.map { $0.reveal() } == ["literal", "from-env"])
    #expect(loaded.configuration.auth.userSecrets.map { $0.reveal() } == ["one", "two"])
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

  @Test("in a file that others may read is worth a warning")
  func readableByOthers() throws {
    let directory = TemporaryDirectory()
    let path = directory.write("key", to: "key", mode: 0o644)
    let file = directory.write(#"{"auth": {"admin_secrets": ["file:key"]}}"#, to: "c.json")
    let warnings = try ConfigurationLoader(file: file, environment: [:]).load().warnings
    #expect(
      warnings.map(\.message) == ["\(path) is readable by other users (mode 644); do `chmod 600 \(path)`"])
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
}
