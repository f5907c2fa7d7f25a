import JSONRPC
import Testing

@testable import hero_supervisor

@Suite("The schema of the configuration", .timeLimit(.minutes(5)))
struct ConfigurationSchemaTests {
  private static let root = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

  private func text(_ path: String) throws -> String {
    String(decoding: try FileBytes.read("\(Self.root)/\(path)").bytes, as: UTF8.self)
  }

  /// `runners[0].name` → `runners[].name`, of every value in the document.
  private func patterns(_ json: JSON, _ pattern: String = "") -> Set<String> {
    var found: Set<String> = pattern.isEmpty ? [] : [pattern]
    switch json {
    case .object(let object):
      for (key, value) in object.members {
        let name = pattern == "executors" ? "*" : key
        found.formUnion(patterns(value, pattern.isEmpty ? name : "\(pattern).\(name)"))
      }
    case .array(let elements): for element in elements { found.formUnion(patterns(element, "\(pattern)[]")) }
    default: break
    }
    return found
  }

  @Test("is shown whole by cluster.example.json, except for the other store")
  func example() throws {
    let shown = patterns(try JSON.parse(try text("cluster.example.json")))
    let missing = ConfigurationSchema.known.map(\.pattern).filter { !shown.contains($0) }
    #expect(missing == ["store.postgres.url", "store.postgres.lease_seconds", "store.postgres.connections"])
  }

  @Test("accepts cluster.example.json")
  func exampleLoads() throws {
    let loader = ConfigurationLoader(
      file: "\(Self.root)/cluster.example.json", environment: ["HERO_ADMIN": "0123456789abcdef"],
      missingSecrets: .areWarnings)
    let loaded = try loader.load()
    #expect(loaded.configuration.auth.adminSecrets == [Secret("0123456789abcdef")])
    #expect(loaded.configuration.runners.map(\.name.rawValue) == ["default"])
    #expect(loaded.warnings.map(\.path) == ["cluster.keys[0]"])
  }

  @Test("is explained whole by docs/configuration.md")
  func documentation() throws {
    let document = try text("docs/configuration.md")
    for setting in ConfigurationSchema.known where setting.pattern != "runners" && setting.pattern != "executors" {
      #expect(document.contains("| `\(setting.pattern)` |"), "\(setting.pattern) is not explained")
    }
  }

  @Test("names each variable by one rule, and no two alike")
  func variables() {
    let names = ConfigurationSchema.known.compactMap(\.environmentName)
    #expect(Set(names).count == names.count)
    #expect(names.contains("HERO_JOBS_KILL_GRACE_SECONDS") && names.contains("HERO_RUNNERS"))
    #expect(!names.contains { $0.contains("*") || $0.contains("[") })
  }

  @Test("finds the word that was meant")
  func suggestions() {
    #expect(suggestion(for: "listne", among: ["level", "listen"]) == "listen")
    #expect(suggestion(for: "LISTEN", among: ["listen"]) == "listen")
    #expect(suggestion(for: "entirely-else", among: ["listen"]) == nil)
    #expect(editDistance("", "abc") == 3 && editDistance("ab", "ba") == 1 && editDistance("same", "same") == 0)
  }
}
