// Keys found in the bytes of a request, before anything is built of it.

import Testing

@testable import JSONRPC

@Suite("Keys in a request's bytes", .timeLimit(.minutes(5)))
struct SecretScanTests {
  private enum Outcome: Equatable { case key, unknown, none, duplicate }

  private static func outcome(_ text: String) -> Outcome { outcome(SecretScan(Array(text.utf8)) { $0 == "KEY" }) }

  private static func outcome(_ scan: SecretScan) -> Outcome {
    switch scan.finding {
    case .key: .key
    case .unknownKeys: .unknown
    case .none: .none
    case .duplicate: .duplicate
    }
  }

  @Test(
    "a key is found wherever it may stand",
    arguments: [
      #"{"method":"m","params":{"secret":"KEY","job":{}}}"#, #"{"params":{"job":{"a":[1,{}]},"secret":"KEY"}}"#,
      #"{"params":[{"secret":"KEY"}],"id":1}"#, #"{"params":[{"x":[{}],"secret":"KEY"},2]}"#,
      #"{"params":{"params":{"secret":"KEY"}}}"#, #"{"params":{"params":{"x":1,"secret":"KEY"}}}"#,
      " \n\t{ \"params\" : { \"secret\" : \"KEY\" } } ", #"{"par\u0061ms":{"\u0073e\u0063ret":"K\u0045Y"}}"#,
      #"[{"params":{"secret":"no"}},{"params":{"secret":"KEY"}}]"#, #"[1,"x",[],{"params":[ {"secret":"KEY"} ]}]"#,
      #"{"x":"\\","params":{"payload":"\"secret\":\"no\"","secret":"KEY"}}"#,
      #"{"params":{"secret":"no"},"id":1,"x":{}}"#.replacing("no", with: "KEY"),
      // What follows does not matter: the parser will say what is wrong with it.
      #"{"params":{"secret":"KEY","#, #"{"params":{"secret":"KEY","secret":"KEY"}}"#,
    ])
  func found(text: String) {
    #expect(Self.outcome(text) == .key, "\(text)")
  }

  @Test(
    "what only looks like one is none",
    arguments: [
      #"{"secret":"KEY"}"#, #"{"params":{"job":{"secret":"KEY"}}}"#,
      #"{"params":{"job":{"env_vars":{"secret":"KEY"}}}}"#,
      #"{"params":{"payload":"\"secret\":\"KEY\""}}"#, #"{"params":{"payload":",\"secret\":\"KEY\",\""}}"#,
      #"{"params":["secret","KEY"]}"#, #"{"params":["KEY"]}"#, #"{"params":[1,{"secret":"KEY"}]}"#,
      #"{"params":[[{"secret":"KEY"}]]}"#, #"{"params":"secret","secret":"KEY"}"#,
      #"{"params":{"params":{"secret":"KEY"},"x":1}}"#, #"{"params":{"x":1,"params":{"secret":"KEY"}}}"#,
      #"{"params":[{"params":{"secret":"KEY"}}]}"#, #"{"params":{"params":{"params":{"secret":"KEY"}}}}"#,
      #"{"params":{"Secret":"KEY","secre":"KEY","secrets":"KEY"}}"#, #"{"result":{"secret":"KEY"}}"#,
      #"{"params":{"secret":["KEY"]}}"#, #"{"params":{"secret":{"secret":"KEY"}}}"#, #"{"params":{"secret":1}}"#,
      #"{"params":{"secret":""}}"#, #"{"params":{"secret":null,"x":"KEY"}}"#, #"[[{"params":{"secret":"KEY"}}]]"#,
      #"{"a":{"params":{"secret":"KEY"}}}"#, #""{\"params\":{\"secret\":\"KEY\"}}""#, "", "KEY", "{", "[",
      "{\"params\"",
      #"{"params":{"secret":"KE"#, #"{"params":{"secret":""#, #"{"params":{"secret":"KEY\"}}"#,
      #"{"params":{"x" "secret":"KEY"}}"#, #"{"params" {"secret":"KEY"}}"#, #"{"params":}{"secret":"KEY"}"#,
    ])
  func notFound(text: String) {
    #expect(Self.outcome(text) == .none, "\(text)")
  }

  @Test(
    "a key that nobody knows is told from none",
    arguments: [
      #"{"params":{"secret":"no"}}"#, #"[{"params":{"secret":"KEYS"}},{"params":{"secret":"key"}}]"#,
      #"{"params":{"secret":" KEY"}}"#,
    ])
  func unknown(text: String) {
    #expect(Self.outcome(text) == .unknown, "\(text)")
  }

  @Test(
    "a name that occurs twice is refused as the parser refuses it",
    arguments: [
      #"{"params":{"secret":"no","secret":"KEY"}}"#, #"{"params":{"secret":"no","s\u0065cret":"KEY"}}"#,
      #"{"params":[{"secret":1,"x":2,"secret":"KEY"}]}"#, #"{"params":{},"params":{"secret":"KEY"}}"#,
      #"[{"params":{"params":{"secret":"","secret":"KEY"}}}]"#,
    ])
  func duplicates(text: String) throws {
    let scan = SecretScan(Array(text.utf8)) { $0 == "KEY" }
    guard case .duplicate(let error) = scan.finding else {
      Issue.record("\(scan.finding) for \(text)")
      return
    }
    let parsers = #expect(throws: JSONParseError.self) { _ = try JSON.parse(text) }
    #expect(error.reason == parsers?.reason)
    #expect(error.line == parsers?.line && error.column == parsers?.column)
  }

  @Test("no more unknown keys are looked at than a batch may have calls")
  func guesses() {
    let batch = "[" + (0..<50).map { #"{"params":{"secret":"guess\#($0)"}}"# }.joined(separator: ",") + "]"
    var asked = 0
    let scan = SecretScan(Array(batch.utf8), maximumKeys: 10) { _ in
      asked += 1
      return false
    }
    #expect(Self.outcome(scan) == .unknown)
    #expect(asked == 10)
    // A key among the first is found all the same.
    let tenth = SecretScan(Array(batch.utf8), maximumKeys: 10) { $0 == "guess9" }
    #expect(Self.outcome(tenth) == .key)
  }

  @Test("the id of a refused call comes back, and a notification is known as one")
  func ids() {
    func scan(_ text: String) -> SecretScan { SecretScan(Array(text.utf8)) { _ in false } }
    #expect(scan(#"{"id":7,"params":{}}"#).id == .number(Array("7".utf8)))
    #expect(scan(#"{"params":{"id":1},"i\u0064" : "x\n" }"#).id == .value("x\n"))
    #expect(scan(#"{"id":null}"#).id == .null)
    #expect(scan(#"{"id":-1.50e+400}"#).id == .number(Array("-1.50e+400".utf8)))
    for text in [
      #"{"id":[1]}"#, #"{"id":{}}"#, #"{"id":true}"#, #"{"id":"\#(String(repeating: "x", count: 70_000))"}"#,
    ] {
      #expect(scan(text).id == nil && !scan(text).isNotification)
    }
    #expect(scan(#"{"params":{}}"#).isNotification)
    #expect(!scan(#"[{"params":{}}]"#).isNotification && !scan(#"{"params":{}"#).isNotification)
  }

  @Test("every beginning of a request is read without harm, and no key is found that is not there whole")
  func beginnings() {
    let text = Array(
      #"[{"id":1,"params":{"a":"\\\"","b":[{},[1,2.5e3]],"params":{"c":"\u00e9"}}},{"params":[{"secret":"KEY"}]}]"#.utf8
    )
    let end = text.count - 4
    for count in 0...text.count {
      let isWhole = count >= end
      #expect(Self.outcome(SecretScan(Array(text[..<count])) { $0 == "KEY" }) == (isWhole ? .key : .none), "\(count)")
    }
  }

  @Test("it agrees with the parser on a hundred thousand requests", arguments: [UInt64(20_261_127)])
  func agreement(seed: UInt64) throws {
    var random = Random(state: seed)
    for round in 0..<100_000 {
      var text: [UInt8] = []
      random.write(depth: 0, into: &text)
      // Some of them broken.
      if round.isMultiple(of: 4), !text.isEmpty { text[Int(random.next() % UInt64(text.count))] = random.byte() }
      let found = Self.outcome(SecretScan(text) { $0 == "KEY" })
      guard let value = try? JSON.parse(text) else { continue }
      let words = String(decoding: text, as: UTF8.self)
      #expect((found == .key) == Self.carriesKey(value), "seed \(seed), round \(round): \(words)")
    }
  }

  /// The same, by what the parser and `Method.params` make of it.
  private static func carriesKey(_ value: JSON) -> Bool {
    if let calls = value.arrayValue { return calls.contains { $0.objectValue != nil && carriesKey($0) } }
    switch value["params"] {
    case .object(let object):
      if object["secret"] == "KEY" { return true }
      return object.count == 1 && object["params"]?["secret"] == "KEY"
    case .array(let values): return values.first?["secret"] == "KEY"
    default: return false
    }
  }

  /// Requests of few words, so that they often have what matters.
  private struct Random {
    private var generator: SplitMix64

    init(state: UInt64) { generator = SplitMix64(state: state) }

    mutating func next() -> UInt64 { generator.next() }

    mutating func byte() -> UInt8 { Array(#"{}[]",:\ K"#.utf8)[Int(next() % 10)] }

    mutating func write(depth: Int, into text: inout [UInt8]) {
      let names = ["params", "secret", #"par\u0061ms"#, #"s\u0065cret"#, "x", "id"]
      switch next() % (depth > 4 ? 3 : 9) {
      case 0: text += #""KEY""#.utf8
      case 1: text += ["1", "null", #""""#, #""\"KEY\\""#][Int(next() % 4)].utf8
      case 2: text += #""secret":"KEY""#.utf8.prefix(8)
      case 3, 4:
        text.append(UInt8(ascii: "["))
        for index in 0..<next() % 4 {
          if index > 0 { text.append(UInt8(ascii: ",")) }
          write(depth: depth + 1, into: &text)
        }
        text.append(UInt8(ascii: "]"))
      default:
        text.append(UInt8(ascii: "{"))
        for index in 0..<next() % 4 {
          if index > 0 { text += ", ".utf8 }
          text += "\"\(names[Int(next() % UInt64(names.count))])\" :".utf8
          write(depth: depth + 1, into: &text)
        }
        text.append(UInt8(ascii: "}"))
      }
    }
  }
}
