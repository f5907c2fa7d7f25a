import JSONRPC
import Testing

@testable import hero_supervisor

@Suite("cluster keygen", .timeLimit(.minutes(5)))
struct KeygenTests {
  @Test("prints a key and nothing else, without any node")
  func prints() async throws {
    let first = try await CommandLineTool.run("cluster", "keygen")
    #expect(first.status == 0 && first.error == "" && first.output.utf8.count == 65 && first.output.hasSuffix("\n"))
    #expect(ClusterKey(first.output.dropLast()) != nil)
    let second = try await CommandLineTool.run("cluster", "keygen", "--json")
    let key = try #require(try JSON.parse(second.output)["key"]?.stringValue)
    #expect(ClusterKey(key) != nil && key + "\n" != first.output)
  }

  @Test("makes a file for its owner alone, and adds to it behind the key in use, byte for byte")
  func file() async throws {
    let directory = TemporaryDirectory()
    let path = "\(directory.path)/gossip.keys"
    let made = try await CommandLineTool.run("cluster", "keygen", "--file", path)
    #expect(made.status == 0 && made.output == "wrote a key to \(path)\n" && made.error == "", "\(made)")
    let file = try FileBytes.read(path)
    #expect(file.mode & 0o777 == 0o600)
    let text = String(decoding: file.bytes, as: UTF8.self)
    #expect(text.utf8.count == 65 && !made.output.contains(text.dropLast()))

    // As an editor may leave it: a comment, no end of the last line, another mode.
    directory.write("# ours\n\(text.dropLast())", to: "gossip.keys", mode: 0o640)
    let added = try await CommandLineTool.run("cluster", "keygen", "--file", path)
    #expect(added.status == 0 && added.output == "added a key to \(path), which has 2 now\n")
    #expect(added.error == "warning: \(path) is readable by other users; do `chmod 600 \(path)`\n")
    let longer = try FileBytes.read(path)
    let lines = String(decoding: longer.bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.count == 4 && lines[0] == "# ours" && lines[1] == text.dropLast() && lines[3] == "")
    #expect(ClusterKey(lines[2]) != nil && lines[2] != lines[1])
    #expect(longer.mode & 0o777 == 0o640, "whose file it is does not change")

    let third = try await CommandLineTool.run("cluster", "keygen", "--json", "--file", path)
    #expect(try JSON.parse(third.output) == ["file": .string(path), "keys": 3])
  }

  @Test("leaves a file alone that is none of keys")
  func otherFile() async throws {
    let directory = TemporaryDirectory()
    let path = directory.write("{\"cluster\": {}}\n", to: "cluster.json")
    let outcome = try await CommandLineTool.run("cluster", "keygen", "--file", path)
    #expect(outcome.status == 2 && outcome.output == "")
    #expect(outcome.error.hasPrefix("hero-supervisor: \(path): it is no file of keys: line 1: expected a key"))
    #expect(try FileBytes.read(path).bytes == Array("{\"cluster\": {}}\n".utf8))
    let nowhere = try await CommandLineTool.run("cluster", "keygen", "--file", "\(directory.path)/none/keys")
    #expect(nowhere.status == 1 && nowhere.error.contains("no such file or directory"))
  }
}
