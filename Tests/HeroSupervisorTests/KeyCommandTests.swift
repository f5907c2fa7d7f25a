import JSONRPC
import Synchronization
import Testing

@testable import hero_supervisor

@Suite("The commands of keys", .timeLimit(.minutes(5)))
struct KeyCommandTests {
  private final class Calls: Sendable {
    let params = Mutex<[JSON]>([])
  }

  private func node(_ calls: Calls = Calls()) async throws -> FakeNode {
    try await FakeNode { call throws(JSONRPCError) in
      switch call.method {
      case "key.create":
        calls.params.withLock { $0.append(call.params) }
        return ["name": "ci", "key": "0123abcd", "scopes": ["user"], "runners": nil, "expires_at": nil]
      case "key.revoke": return .null
      case "key.list":
        return [
          [
            "name": "ci", "state": "valid", "scopes": ["user", "read"], "runners": ["builds", "tests"],
            "created_at": "2026-11-24T08:00:00.000Z", "expires_at": "2027-01-01T00:00:00.000Z", "node": "n1",
          ],
          [
            "name": "old", "state": "revoked", "scopes": ["admin"], "runners": nil,
            "created_at": "2026-11-24T08:00:00.000Z", "expires_at": nil, "node": "n2",
          ],
        ]
      default: throw .methodNotFound(call.method)
      }
    }
  }

  @Test("a new key alone is on standard output, and what was asked for is sent")
  func create() async throws {
    let calls = Calls()
    let node = try await node(calls)
    let plain = try await CommandLineTool.run(
      "key", "create", "ci", "--scope", "user", "--scope", "read", "--runner", "builds", "--expires-at",
      "2027-01-01T00:00:00Z", "--endpoint", node.endpoint)
    #expect(plain.status == 0 && plain.output == "0123abcd\n")
    #expect(plain.error.contains("ci") && !plain.error.contains("0123abcd"))
    let sent = calls.params.withLock { $0[0] }
    #expect(sent["name"] == "ci" && sent["scopes"] == ["user", "read"] && sent["runners"] == ["builds"])
    #expect(sent["expires_at"] == "2027-01-01T00:00:00Z")
    let json = try await CommandLineTool.run(
      "key", "create", "ci", "--scope", "user", "--json", "--endpoint", node.endpoint)
    #expect(try JSON.parse(json.output)["key"] == "0123abcd" && json.error == "")
    #expect(calls.params.withLock { $0[1]["runners"] == nil && $0[1]["expires_at"] == nil })
    await node.stop()
  }

  @Test(
    "durations until the expiry",
    arguments: [
      ("90d", 7_776_000_000), ("12h", 43_200_000), ("30m", 1_800_000), ("1s", 1000), ("0d", nil), ("d", nil),
      ("90", nil),
      ("-1d", nil), ("1w", nil), ("99999999999999999d", nil), ("36526d", nil), ("", nil), ("1.5h", 5_400_000),
    ] as [(String, Int64?)])
  func durations(text: String, milliseconds: Int64?) {
    #expect(KeyCreate.milliseconds(text) == milliseconds)
  }

  @Test("wrong use is explained")
  func wrongUse() async throws {
    for arguments in [
      ["key", "create", "ci"], ["key", "create", "--scope", "user"],
      ["key", "create", "ci", "--scope", "user", "--expires-in", "soon"],
      ["key", "create", "ci", "--scope", "user", "--expires-in", "1d", "--expires-at", "2027-01-01T00:00:00Z"],
      ["key", "revoke"],
    ] {
      let tool = try CommandLineTool(arguments, environment: [:], input: nil)
      try tool.start()
      let run = await tool.outcome()
      #expect(run.status == 2 && !run.error.isEmpty, "\(arguments)")
    }
  }

  @Test("list the keys in a table, or their names for completion; revoke one")
  func listAndRevoke() async throws {
    let node = try await node()
    let table = try await CommandLineTool.run("key", "list", "--endpoint", node.endpoint)
    #expect(
      table.output == """
        NAME  STATE    SCOPES     RUNNERS       CREATED                   EXPIRES
        ci    valid    user,read  builds,tests  2026-11-24T08:00:00.000Z  2027-01-01T00:00:00.000Z
        old   revoked  admin      all           2026-11-24T08:00:00.000Z  -

        """)
    let names = try await CommandLineTool.run("key", "list", "-q", "--endpoint", node.endpoint)
    #expect(names.output == "ci\nold\n")
    let revoked = try await CommandLineTool.run("key", "revoke", "ci", "--endpoint", node.endpoint)
    #expect(revoked.output == "revoked ci\n" && revoked.status == 0)
    await node.stop()
  }
}
