import JSONRPC
import Testing

@testable import hero_supervisor

@Suite("Text of others", .timeLimit(.minutes(5)))
struct PrintableTextTests {
  @Test(
    "is escaped where a terminal would obey it, turn it around or show nothing",
    arguments: [
      ("\u{1B}]0;x\u{7}", #"\u001b]0;x\u0007"#), ("\u{1B}[31m", #"\u001b[31m"#), ("a\r\nb\tc\0", #"a\r\nb\tc\u0000"#),
      ("\u{7F}", #"\u007f"#), ("\u{80}\u{85}\u{9B}31m\u{9F}", #"\u0080\u0085\u009b31m\u009f"#),
      ("a\u{202A}\u{202B}\u{202C}\u{202D}\u{202E}b", #"a\u202a\u202b\u202c\u202d\u202eb"#),
      ("\u{2066}\u{2067}\u{2068}\u{2069}", #"\u2066\u2067\u2068\u2069"#),
      ("\u{200E}\u{200F}\u{61C}", #"\u200e\u200f\u061c"#),
      ("\u{2028}\u{2029}", #"\u2028\u2029"#),
      ("\u{200B}\u{200C}\u{200D}\u{2060}\u{FEFF}\u{AD}\u{180E}", #"\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e"#),
      ("\u{115F}\u{3164}\u{FFA0}\u{34F}\u{FE0F}", #"\u115f\u3164\uffa0\u034f\ufe0f"#),
      ("\u{E0041}\u{E0001}\u{1D173}", #"\udb40\udc41\udb40\udc01\ud834\udd73"#),
      (
        String(decoding: [0x61, 0x9B, 0x33, 0xC0, 0xAF, 0xED, 0xA0, 0x80], as: UTF8.self),
        "a\u{FFFD}3\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"
      ),
      ("", ""), ("plain ~ text", "plain ~ text"), (#"back\slash "quoted""#, #"back\slash "quoted""#),
      ("naïve e\u{301} 日本 🚀 \u{A0}", "naïve e\u{301} 日本 🚀 \u{A0}"),
    ])
  func table(text: String, printable: String) {
    #expect(text.printable() == printable)
    #expect(text.printable().unicodeScalars.allSatisfy { !$0.isUnprintable })
  }

  @Test("keeps its lines where it may have several, and none begins like a message")
  func lines() {
    #expect("a\n\tb\u{1B}c\r\n".printable(keepingLines: true) == "a\n\tb\\u001bc\\r\n")
    #expect("a\nhero-supervisor: b".printableBelow == "a\n  hero-supervisor: b")
    let failure = CommandFailure(message: "m\nhero-supervisor: forged", hints: ["h\u{202E}"], status: .failed)
    #expect(failure.rendered == "hero-supervisor: m\n  hero-supervisor: forged\n  h\\u202e\n")
  }

  @Test("is itself again when it was JSON")
  func json() throws {
    let json: JSON = ["a\u{202E}": "\\\u{9B}\u{E0041}\"\u{7F}\n"]
    let text = json.pretty().printable(keepingLines: true)
    #expect(text.unicodeScalars.allSatisfy { !$0.isUnprintable || $0 == "\n" })
    #expect(try JSON.parse(text) == json)
  }

  private static let evil = "e\u{202E}v\u{2028}i\u{9B}l\u{200B}"

  @Test("is escaped in tables and messages, and to the byte where a script reads names")
  func names() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      switch call.method {
      case "list_runners": [.string(Self.evil)]
      case "get_all_status": [[.string(Self.evil), "running"]]
      case "start_all": [[.string(Self.evil), "No\nhero-supervisor: \u{1B}[2J"]]
      default: throw .notFound("runner", Self.evil)
      }
    }
    let environment = ["HERO_ENDPOINTS": node.endpoint]
    let escaped = #"e\u202ev\u2028i\u009bl\u200b"#
    let table = try await CommandLineTool.run("runner", "list", environment: environment)
    #expect(table.output.contains("\n\(escaped)  running\n"), "\(table)")
    let names = try await CommandLineTool.run("runner", "list", "--quiet", environment: environment)
    #expect(names.output == Self.evil + "\n")
    let json = try await CommandLineTool.run("runner", "list", "--quiet", "--json", environment: environment)
    #expect(json.output.contains(escaped))
    #expect(try JSON.parse(json.output) == [.string(Self.evil)])
    let all = try await CommandLineTool.run("runner", "start", "--all", environment: environment)
    #expect(all.error == "hero-supervisor: \(escaped): No\n  hero-supervisor: \\u001b[2J\n")
    let refused = try await CommandLineTool.run("runner", "stop", Self.evil, environment: environment)
    #expect(refused.error.contains(#"No runner "\#(escaped)""#) && !refused.error.contains("\u{202E}"), "\(refused)")
    await node.stop()
  }

  @Test("of a job stays as it is on standard output, and is escaped in the command's own error")
  func jobs() async throws {
    let raw = "\u{1B}]0;x\u{7}\u{202E}\n"
    let node = try await FakeNode { call throws(JSONRPCError) in
      if call.method == "job.status" { return ["status": "failed"] }
      if call.method == "job.logs" { return ["data": .string(raw), "offset": 9, "eof": true, "encoding": "utf-8"] }
      let isGood = call.params["job"]?["id"] == "good"
      return isGood ? ["success": .string(raw)] : ["error": .string("exit status 3: \(raw)second line")]
    }
    let environment = ["HERO_ENDPOINTS": node.endpoint]
    let good = try await CommandLineTool.run("job", "run", "-r", "r", "--id", "good", "x", environment: environment)
    #expect(good.output == raw && good.error == "")
    let logs = try await CommandLineTool.run("job", "logs", "j", "--stream", "stdout", environment: environment)
    #expect(logs.output == raw)
    for arguments in [["job", "run", "-r", "r", "--id", "bad", "x"], ["job", "result", "bad"]] {
      let tool = try CommandLineTool(arguments, environment: environment)
      try tool.start()
      let bad = await tool.outcome()
      #expect(
        bad.error == "hero-supervisor: job bad failed: exit status 3: \\u001b]0;x\\u0007\\u202e\n  second line\n",
        "\(bad)")
    }
    await node.stop()
  }
}
