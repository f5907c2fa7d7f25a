import Testing

@testable import hero_supervisor

@Suite("The keys of a cluster", .timeLimit(.minutes(5)))
struct ClusterKeyTests {
  private static let one = String(repeating: "1a", count: 32)
  private static let two = String(repeating: "2B", count: 32)

  @Test("are 256 random bits, read back as they are written")
  func writing() {
    let key = ClusterKey.random()
    #expect(key.reveal().count == 32 && key.written().utf8.count == 64 && ClusterKey(key.written()) == key)
    #expect(ClusterKey.random() != key)
    #expect(ClusterKey(Self.one)?.reveal() == Array(repeating: 0x1A, count: 32))
    #expect(ClusterKey(Self.two)?.reveal() == Array(repeating: 0x2B, count: 32))
  }

  @Test("of another form are none", arguments: ["", "1a", one + "1", String(one.dropLast()), one.dropLast() + "g"])
  func otherForms(text: String) {
    #expect(ClusterKey(text) == nil)
  }

  @Test("cannot slip into output")
  func printing() throws {
    let (keys, _) = try ClusterKeys.load([SecretReference(Self.one)], environment: [:])
    var dumped = ""
    dump(keys, to: &dumped)
    for text in ["\(keys)", String(reflecting: keys), dumped, "\(ClusterKey(Self.one)!)"] {
      #expect(!text.contains(Self.one) && !text.contains("26, 26"), "\(text)")
    }
  }

  @Test("come in the order of the references and the lines, each once, comments and blank lines left out")
  func order() throws {
    let directory = TemporaryDirectory()
    let three = String(repeating: "3c", count: 32)
    let path = directory.write("# of 2026\n\(Self.two)\n\n  \(Self.one)\t# the old one\r\n", to: "keys")
    let references = ["env:KEYS", "file:\(path)"].map { SecretReference($0) }
    let (keys, warnings) = try ClusterKeys.load(references, environment: ["KEYS": "\(three)\n\(Self.one)"])
    #expect(keys.reveal().map { $0[0] } == [0x3C, 0x1A, 0x2B])
    #expect(warnings.isEmpty && keys.references == references)
  }

  @Test("are read again by their references, from wherever the node runs by then")
  func rereading() throws {
    let directory = TemporaryDirectory()
    directory.write(Self.one, to: "gossip.keys")
    let file = directory.write(#"{"cluster": {"keys": ["file:gossip.keys"]}}"#, to: "c.json")
    let keys = try ConfigurationLoader(file: file, environment: [:]).load().configuration.cluster.keys
    #expect(keys.reveal().map { $0[0] } == [0x1A])
    directory.write("\(Self.two)\n\(Self.one)\n", to: "gossip.keys")
    #expect(try ClusterKeys.load(keys.references, environment: [:]).keys.reveal().map { $0[0] } == [0x2B, 0x1A])
    directory.write("", to: "gossip.keys")
    #expect(throws: ClusterKeys.Failure.self) { try ClusterKeys.load(keys.references, environment: [:]) }
  }

  @Test("that are wrong are told of all at once, each by its setting and line, and never repeated")
  func errors() throws {
    let directory = TemporaryDirectory()
    directory.write("\(Self.one)\nbattery-staple\n\(Self.two)0\n", to: "keys")
    directory.write("# none yet\n", to: "empty")
    let file = directory.write(
      """
      {"cluster": {"keys": ["battery-staple", "file:keys", "env:KEY", "file:empty", "file:none",
                            "\(String(repeating: "battery!", count: 8))"]}}
      """, to: "c.json")
    var loader = ConfigurationLoader(file: file, environment: ["KEY": "battery-staple"])
    let wrong = [
      "cluster.keys[0]: expected a key of 64 hexadecimal digits, got 14 characters "
        + "(a file of keys is named as \"file:PATH\")",
      "cluster.keys[1]: \(directory.path)/keys: line 2: expected a key of 64 hexadecimal digits, got 14 characters",
      "cluster.keys[1]: \(directory.path)/keys: line 3: expected a key of 64 hexadecimal digits, got 65 characters",
      "cluster.keys[2]: the environment variable KEY: expected a key of 64 hexadecimal digits, got 14 characters",
      "cluster.keys[3]: \(directory.path)/empty: there is no key in it",
      "cluster.keys[4]: cannot read \(directory.path)/none: no such file or directory",
      "cluster.keys[5]: expected a key of 64 hexadecimal digits, got other characters "
        + "(a file of keys is named as \"file:PATH\")",
    ]
    #expect { try loader.load() } throws: { error in
      (error as? ConfigurationError)?.problems.map { "\($0.path): \($0.message)" } == wrong
    }
    // In a check a file may be missing, since it may be on the machine that will use it; a wrong key is wrong anywhere.
    loader.missingSecrets = .areWarnings
    #expect { try loader.load() } throws: { error in
      let error = error as? ConfigurationError
      return error?.problems.count == 6 && error?.warnings.map(\.path) == ["cluster.keys[4]"]
    }
  }

  @Test("in a file that others may read are worth a warning")
  func readableByOthers() throws {
    let directory = TemporaryDirectory()
    directory.write(Self.one, to: "keys", mode: 0o640)
    let file = directory.write(#"{"cluster": {"keys": ["file:keys"]}}"#, to: "c.json")
    let warnings = try ConfigurationLoader(file: file, environment: [:]).load().warnings
    #expect(warnings.map(\.path) == ["cluster.keys[0]"] && warnings[0].message.contains("(mode 640)"))
  }
}
