import Testing

@testable import hero_supervisor

/// Every class of mistake, as an operator sees it.
@Suite("A wrong configuration", .timeLimit(.minutes(5)))
struct ConfigurationErrorTests {
  private func problems(_ json: String, environment: [String: String] = [:], flags: [FlagSetting] = []) -> [String] {
    let directory = TemporaryDirectory()
    let file = directory.write(json, to: "c.json")
    let loader = ConfigurationLoader(file: file, environment: environment, flags: flags)
    do throws(ConfigurationError) {
      _ = try loader.load()
      return []
    } catch {
      return error.problems.map { $0.description.replacing(file, with: "c.json") }
    }
  }

  @Test("says which value was wrong, where, and what was expected")
  func wrongType() {
    #expect(
      problems(#"{"jobs": {"kill_grace_seconds": "five"}}"#) == [
        #"jobs.kill_grace_seconds: expected a number from 0 to 3600, got "five" (c.json)"#
      ])
  }

  @Test("is refused for a byte order mark, which is named")
  func byteOrderMark() {
    let found = problems("\u{FEFF}{}")
    #expect(found.count == 1 && found[0].contains("byte order mark"), "\(found)")
  }

  @Test("is refused for values that are out of range")
  func impossibleValues() {
    #expect(
      problems(#"{"jobs": {"kill_grace_seconds": -1, "drain_seconds": 1e9}, "api": {"max_batch": 0}}"#) == [
        "api.max_batch: expected a whole number from 1 to 1000000, got 0 (c.json)",
        "jobs.kill_grace_seconds: expected a number from 0 to 3600, got -1 (c.json)",
        "jobs.drain_seconds: expected a number from 0 to 86400, got 1000000000.0 (c.json)",
      ])
  }

  @Test("is refused for fractions where a whole number is meant, but 5.0 is whole")
  func fractions() {
    #expect(
      problems(#"{"api": {"max_batch": 1.5, "max_connections": 5.0}}"#) == [
        "api.max_batch: expected a whole number from 1 to 1000000, got 1.5 (c.json)"
      ])
  }

  @Test("is refused when the largest request or answer could never have room")
  func buffers() {
    #expect(
      problems(#"{"api": {"max_request_bytes": 200000000, "max_buffered_bytes": 33554432}}"#) == [
        "api.max_buffered_bytes: expected at least twice api.max_request_bytes (200000000), got 33554432 (c.json)"
      ])
    #expect(
      problems(#"{"api": {"max_response_bytes": 200000000}}"#) == [
        "api.max_buffered_bytes: expected at least twice api.max_response_bytes (200000000), got 268435456"
      ])
    #expect(
      problems(#"{"api": {"max_buffered_bytes": 1000}}"#) == [
        "api.max_buffered_bytes: expected a whole number from 33554432 to 1099511627776, got 1000 (c.json)"
      ])
    #expect(problems(#"{"api": {"max_request_bytes": 200000000, "max_buffered_bytes": 400000000}}"#) == [])
  }

  @Test("names an unknown key and the key that was probably meant")
  func unknownKeys() {
    #expect(
      problems(#"{"api": {"listten": "127.0.0.1:1"}, "apii": {}, "zzz": 1}"#) == [
        #"api.listten: unknown key; did you mean "listen"? (c.json)"#,
        #"apii: unknown key; did you mean "api"? (c.json)"#,
        "zzz: unknown key; known here: cluster, api, auth, store, executors, runners, jobs, retention, log (c.json)",
      ])
  }

  @Test("wants all of cluster.tls or nothing")
  func clusterTLS() {
    #expect(
      problems(#"{"cluster": {"tls": {"certificate": "a", "ca": "b"}}}"#) == [
        #"cluster.tls: "certificate" needs the key "private_key" beside it (c.json)"#
      ])
    #expect(problems(#"{"cluster": {"tls": {"crl": "a"}}}"#).count == 3)
    #expect(
      problems(#"{"cluster": {"tls": {"key": "a"}}}"#) == [
        "cluster.tls.key: unknown key; known here: certificate, private_key, ca, crl (c.json)"
      ])
  }

  @Test("says so for every problem, not only for the first")
  func allAtOnce() {
    let json = #"{"log": {"level": "loud"}, "retention": {"days": []}, "runners": [{}], "api": 7}"#
    #expect(problems(json).count == 4)
  }

  @Test(
    "names the element of a list",
    arguments: [
      (#"{"cluster": {"seeds": ["10.0.0.1:7946", "nowhere"]}}"#, "cluster.seeds[1]: expected an address"),
      (#"{"runners": [{"name": "a"}, {"name": "a"}]}"#, #"runners[1].name: "a" is the name of runners[0] already"#),
      (
        #"{"runners": [{"name": "a", "executors": ["shel"]}]}"#,
        #"runners[0].executors: no executor is called "shel"; did"#
      ),
      (
        #"{"runners": [{"name": "a", "on_node_loss": "requue"}]}"#,
        #"runners[0].on_node_loss: expected "requeue" or "fail", got "requue"; did you mean"#
      ),
      (#"{"runners": [{"name": ""}]}"#, "runners[0].name: must not be empty"),
      (#"{"runners": [{}]}"#, #"runners[0]: needs the key "name""#),
      (#"{"runners": [7]}"#, "runners[0]: expected an object, got a number"),
      (#"{"runners": {}}"#, "runners: expected a list of runners, got an object"),
    ])
  func lists(json: String, beginning: String) {
    let found = problems(json)
    #expect(found.count == 1 && found[0].hasPrefix(beginning), "\(found)")
  }

  @Test(
    "is refused when the payload and the command do not agree",
    arguments: [
      (
        #"{"command": ["x"], "payload": "file"}"#,
        "executors.e.command: with \"payload\": \"file\" it must contain {payload_file}"
      ),
      (
        #"{"command": ["x"], "payload": "argument"}"#,
        "executors.e.command: with \"payload\": \"argument\" it must contain {payload}"
      ),
      (
        #"{"command": ["x", "{payload_file}"]}"#,
        "executors.e.command: {payload_file} needs \"payload\": \"file\", but it is \"stdin\""
      ),
      (
        #"{"command": ["x", "--code={payload}"]}"#,
        "executors.e.command: {payload} needs \"payload\": \"argument\", but it is \"stdin\""
      ),
      (
        #"{"command": ["x"], "wrapper": ["w", "{payload}"]}"#,
        "executors.e.wrapper: {payload} and {payload_file} belong into"
      ),
      (#"{"command": []}"#, "executors.e.command: expected a non-empty list"),
      (#"{"command": [""]}"#, "executors.e.command[0]: must name a program"),
      (#"{}"#, "executors.e: needs the key \"command\""),
      (
        #"{"command": ["x"], "payload": "stdni"}"#,
        #"executors.e.payload: expected "stdin", "file" or "argument", got "stdni"; did you mean "stdin"?"#
      ),
      (#"{"command": ["x"], "limits": {"memory": 1}}"#, #"executors.e.limits.memory: unknown key"#),
      (
        #"{"command": ["x"], "limits": {"open_files": 1}}"#,
        "executors.e.limits.open_files: expected a whole number from 8"
      ),
      (
        #"{"command": ["x"], "env": {"A=B": "c"}}"#,
        #"executors.e.env: "A=B" cannot be the name of a variable: expected a name of 1 to 256 bytes of printable ASCII"#
      ),
      (#"{"command": ["x"], "env": {"É": "c"}}"#, #"executors.e.env: "É" cannot be the name of a variable"#),
      (
        #"{"command": ["x"], "sandbox": "yes"}"#,
        #"executors.e.sandbox: expected true, false, or an object with "network", "read" or "tmp_bytes", got "yes""#
      ),
      (
        #"{"command": ["x"], "sandbox": {"netwrok": true}}"#,
        #"executors.e.sandbox.netwrok: unknown key; did you mean "network"?"#
      ),
      (
        #"{"command": ["x"], "sandbox": {"network": 1}}"#, "executors.e.sandbox.network: expected true or false, got 1"
      ),
      (
        #"{"command": ["x"], "sandbox": {"read": ["/opt/../etc"]}}"#,
        "executors.e.sandbox.read[0]: expected an absolute path such as"
      ),
      (
        #"{"command": ["x"], "sandbox": {"tmp_bytes": 1}}"#,
        "executors.e.sandbox.tmp_bytes: expected a whole number from 1048576"
      ),
      (
        #"{"command": ["x"], "sandbox": true, "wrapper": ["nice"]}"#,
        "executors.e.sandbox: a sandbox has no place for a \"wrapper\""
      ),
      (
        #"{"command": ["x"], "sandbox": true, "allow_new_privileges": true}"#,
        "executors.e.sandbox: excludes \"allow_new_privileges\": true"
      ),
      (#"{"command": ["x"], "pass_env": [""]}"#, "executors.e.pass_env[0]: expected the name of a variable"),
    ])
  func executors(json: String, beginning: String) {
    let found = problems(#"{"executors": {"e": \#(json)}}"#)
    #expect(found.count == 1 && found[0].hasPrefix(beginning), "\(found)")
  }

  @Test("is refused when it names both stores")
  func twoStores() {
    let found = problems(#"{"store": {"sqlite": {}, "postgres": {"url": "postgres://u:pw@h/d"}}}"#)
    #expect(found.contains(#"store: "sqlite" and "postgres" exclude each other; remove one (c.json)"#), "\(found)")
  }

  @Test("is refused for a shared store without a URL, or with a lease that is too short")
  func postgres() {
    #expect(problems(#"{"store": {"postgres": {}}}"#).contains(#"store.postgres: needs the key "url" (c.json)"#))
    let found = problems(#"{"store": {"postgres": {"url": "postgres://u:pw@h/d", "lease_seconds": 1}}}"#)
    #expect(found == ["store.postgres.lease_seconds: expected a number from 3 to 600, got 1 (c.json)"])
  }

  @Test(
    "is refused when it listens beyond loopback without a key", arguments: ["0.0.0.0:80", "[::]:80", "10.1.2.3:80"])
  func openToTheWorld(address: String) {
    let found = problems(#"{"api": {"listen": "\#(address)"}}"#)
    #expect(found.count == 1 && found[0].hasPrefix("api.listen: \(address) is reachable from other machines"))
    #expect(problems(#"{"api": {"listen": "\#(address)"}, "auth": {"user_secrets": ["0123456789abcdef"]}}"#).isEmpty)
  }

  @Test("is refused when pages of other origins could call without a key")
  func openToOrigins() {
    let open = #"{"api": {"cors_origins": ["https://a.example"]}, "auth": {"open_methods": true}}"#
    #expect(
      problems(open) == [
        "auth.open_methods: true and api.cors_origins exclude each other, since every page of those origins could call "
          + "without a key (c.json)"
      ])
    for value in [#""auto""#, "false", #""loopback""#] {
      #expect(problems(open.replacing("true", with: value)).isEmpty)
    }
    #expect(
      problems(#"{"auth": {"open_methods": "yes"}}"#) == [
        #"auth.open_methods: expected "auto", true or false, got "yes" (c.json)"#
      ])
  }

  @Test(
    "is refused for addresses that cannot be",
    arguments: ["localhost", ":80", "1.2.3:80", "a:b", "h:65536", "[1.2.3.4]:1", ""])
  func addresses(address: String) {
    let found = problems(#"{"api": {"listen": "\#(address)"}}"#)
    #expect(found.count == 1 && found[0].hasPrefix("api.listen: expected an address of this machine"), "\(found)")
  }

  @Test(
    "is refused for names that no Host can be", arguments: ["", "a b", "a/b", "http://a", "a:", "a:0", "[::1].a", "a*"])
  func hostNames(name: String) {
    let found = problems(#"{"api": {"allowed_hosts": ["ok.example:8082", "\#(name)"]}}"#)
    #expect(found.count == 1 && found[0].hasPrefix("api.allowed_hosts[1]: expected a host name such as"), "\(found)")
  }

  @Test("is refused for proxies that are no addresses", arguments: ["", "proxy.example", "10.0.0.1/8", "10.0.0.0/33"])
  func trustedProxies(text: String) {
    let found = problems(#"{"api": {"trusted_proxies": ["10.0.0.0/8", "\#(text)"]}}"#)
    #expect(
      found == [
        #"api.trusted_proxies[1]: expected an address or a CIDR block, such as "127.0.0.1" or "10.0.0.0/8", got "#
          + #""\#(text)" (c.json)"#
      ])
  }

  @Test("names the variable or the flag that was wrong")
  func sources() {
    let found = problems(
      "{}", environment: ["HERO_JOBS_DRAIN_SECONDS": "soon"],
      flags: [FlagSetting(flag: "--api", path: "api.listen", values: ["here"])])
    #expect(found.count == 2)
    #expect(found.contains { $0.hasSuffix(#"got "here" (flag --api)"#) }, "\(found)")
    #expect(found.contains { $0.hasSuffix(#"got "soon" (environment variable HERO_JOBS_DRAIN_SECONDS)"#) }, "\(found)")
  }

  @Test("tells where a file is not JSON")
  func notJSON() {
    let found = problems("{\n  \"api\": }")
    #expect(found.count == 1 && found[0].hasPrefix("not valid JSON:") && found[0].contains("line 2"), "\(found)")
  }

  @Test("tells that the file is not there")
  func noFile() {
    let loader = ConfigurationLoader(file: "/nonexistent/c.json", environment: [:])
    #expect { try loader.load() } throws: { error in
      (error as? ConfigurationError)?.problems.map(\.description)
        == ["cannot read the configuration: no such file or directory (/nonexistent/c.json)"]
    }
  }
}
