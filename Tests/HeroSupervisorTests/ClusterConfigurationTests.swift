import Supervisor
import Testing

@testable import hero_supervisor

@Suite("The cluster part of a configuration", .timeLimit(.minutes(5)))
struct ClusterConfigurationTests {
  private func load(
    _ json: String = "{}", environment: [String: String] = [:], flags: [String] = []
  ) throws -> Configuration {
    let directory = TemporaryDirectory()
    let file = directory.write(json, to: "c.json")
    guard flags.isEmpty else {
      // As the command line puts it together.
      let options = try NodeOptions.parse(["--config", file] + flags)
      return try options.load().configuration
    }
    return try ConfigurationLoader(file: file, environment: environment).load().configuration
  }

  private func problems(_ json: String, environment: [String: String] = [:]) -> [String] {
    let directory = TemporaryDirectory()
    let file = directory.write(json, to: "c.json")
    do throws(ConfigurationError) {
      _ = try ConfigurationLoader(file: file, environment: environment).load()
      return []
    } catch {
      return error.problems.map { $0.description.replacing(file, with: "c.json") }
    }
  }

  @Test("is off until anyone sets a part of it, in any layer")
  func configured() throws {
    #expect(try !load().cluster.isConfigured)
    #expect(try !load(#"{"cluster": {}}"#).cluster.isConfigured)
    #expect(try !load(#"{"cluster": {"advertise": null}}"#).cluster.isConfigured)
    #expect(try !load(environment: ["HERO_CLUSTER_LISTEN": "", "HERO_NODE_NAME": "n1"]).cluster.isConfigured)

    #expect(try load(#"{"cluster": {"listen": "127.0.0.1:0"}}"#).cluster.isConfigured)
    let cluster = try load(environment: ["HERO_CLUSTER_LISTEN": "127.0.0.1:7000"]).cluster
    #expect(cluster.isConfigured && "\(cluster.listen)" == "127.0.0.1:7000")
    let flags = ["--cluster", "127.0.0.1:7001", "--advertise", "n1:7001", "--join", "n2:7946", "--join", "n3:7946"]
    let flagged = try load(flags: flags).cluster
    #expect(flagged.isConfigured && "\(flagged.listen)" == "127.0.0.1:7001" && flagged.advertise?.host == "n1")
    #expect(flagged.seeds.map(\.description) == ["n2:7946", "n3:7946"])
    #expect(try load(flags: ["--cluster", "[::1]:0"]).cluster.isConfigured)
  }

  @Test(
    "beyond loopback is refused without a key",
    arguments: [
      #"{"listen": "0.0.0.0:7946"}"#, #"{"seeds": ["10.0.0.1:7946"]}"#, #"{"listen": "10.1.2.3:0"}"#, #"{"zone": "a"}"#,
      #"{"listen": "[::]:7946", "keys": []}"#,
    ])
  func keyless(section: String) {
    let found = problems(#"{"cluster": \#(section)}"#)
    #expect(found.count == 1 && found[0].hasPrefix("cluster.keys: there is none"), "\(found)")
    #expect(found.first?.contains("`hero-supervisor cluster keygen`") == true)
    let key = ClusterKey.random().written()
    #expect(problems(#"{"cluster": \#(section)}"#, environment: ["HERO_CLUSTER_KEYS": key]).isEmpty)
    #expect(
      problems(#"{"cluster": \#(section)}"#, environment: ["HERO_CLUSTER_LISTEN": "127.0.0.1:0"]).isEmpty)
  }

  @Test("tells of a key that is not there once, and not that there is none")
  func absentKey() {
    #expect(
      problems(#"{"cluster": {"keys": ["env:NO_KEY"]}}"#) == [
        "cluster.keys[0]: the environment variable NO_KEY is not set (c.json)"
      ])
  }

  @Test("needs a key where jobs of others could reach its port, on loopback too")
  func keysBesideStrangers() {
    func executor(_ part: String) -> [String] {
      problems(
        #"{"cluster": {"listen": "127.0.0.1:0"}, "executors": {"x": {"command": ["/bin/sh"], \#(part)}}}"#)
    }
    for part in [#""user": "nobody""#, #""sandbox": {"network": true}"#] {
      let found = executor(part)
      #expect(found.contains { $0.hasPrefix("cluster.keys: there is none") && $0.contains(#""x""#) }, "\(found)")
    }
    for part in [#""sandbox": true"#, #""payload": "stdin""#] {
      #expect(!executor(part).contains { $0.hasPrefix("cluster.keys") })
    }
  }

  @Test("has a zone and a name of a bounded length, since they travel in packets")
  func labels() throws {
    let loopback = #""listen": "127.0.0.1:0""#
    #expect(try load().cluster.zone == "")
    #expect(try load(#"{"cluster": {\#(loopback), "zone": "rack 7"}}"#).cluster.zone == "rack 7")
    for (key, value) in [("zone", String(repeating: "z", count: 65)), ("zone", #"a\nb"#), ("name", "")] {
      let found = problems(#"{"cluster": {\#(loopback), "\#(key)": "\#(value)"}}"#)
      #expect(found.count == 1 && found[0].hasPrefix("cluster.\(key): expected a string of"), "\(found)")
    }
  }

  @Test("puts a runner on the node that it names, and its queue with it")
  func runnerNodes() throws {
    let configuration = try load(
      """
      {"runners": [{"name": "a", "queue": "q"}, {"name": "b", "queue": "q", "node": "n1"}, {"name": "c"},
                   {"name": "d", "node": "n2"}]}
      """)
    let nodes = configuration.runnerNodes.map { "\($0.key)=\($0.value)" }.sorted()
    #expect(nodes == ["a=n1", "b=n1", "d=n2"])
    #expect(configuration.runners.count == 4)
  }

  @Test("does not put a queue on two nodes")
  func splitQueue() {
    let found = problems(
      #"{"runners": [{"name": "a", "queue": "q", "node": "n1"}, {"name": "b", "queue": "q", "node": "n2"}]}"#)
    #expect(
      found == [#"runners[1].node: a queue lives on one node, and runners[0] has put "q" on "n1" (c.json)"#])
    let nameless = problems(#"{"runners": [{"name": "a", "node": ""}]}"#)
    #expect(nameless == [#"runners[0].node: must not be empty, got "" (c.json)"#])
  }
}
