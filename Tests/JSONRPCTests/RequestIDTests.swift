// An id comes back as it came, to the byte.

import Testing

@testable import JSONRPC

@Suite("Dispatcher: ids", .timeLimit(.minutes(5)))
struct RequestIDTests {
  private static let dispatcher = Dispatcher<Void>(methods: ["m": Method { _, _ in 1 }])

  private static let numbers = [
    "0", "7", "-0", "-1", "18446744073709551615", "-9223372036854775809", "1e400", "1E+2", "1e-400", "0.10", "2.0",
    "-0.0",
    "123456789012345678901234567890.5e3", String(repeating: "9", count: 5000),
  ]

  @Test("a number comes back as it was written, from a call, from its error and from a batch", arguments: numbers)
  func number(text: String) async throws {
    func call(_ method: String) -> String { #"{ "id" :  \#(text) , "jsonrpc":"2.0","method":"\#(method)"}"# }
    let answer = try await Self.dispatcher.text(call("m"), context: ())
    #expect(answer == #"{"jsonrpc":"2.0","id":\#(text),"result":1}"#)
    let error = try await Self.dispatcher.text(call("none"), context: ())
    #expect(error?.hasPrefix(#"{"jsonrpc":"2.0","id":\#(text),"error":{"code":-32601,"#) == true)
    let batch = try await Self.dispatcher.text(
      #"[{"jsonrpc":"2.0","id":3,"method":"m"},[1,{"id":9}],\#(call("m")),{"jsonrpc":"2.0","id":"é","method":"m"}]"#,
      context: ())
    let result = #"{"jsonrpc":"2.0","id":\#(text),"result":1}"#
    #expect(batch?.contains(result) == true && batch?.contains(#""id":"é","result":1"#) == true)
    #expect(batch?.contains(#""id":3,"result":1"#) == true && batch?.contains(#""id":9,"#) == false)
  }

  @Test("a string comes back whole, however long it is")
  func string() async throws {
    let text = String(repeating: #"\u0000é\""#, count: 50_000)
    let answer = try await Self.dispatcher.text(#"{"jsonrpc":"2.0","id":"\#(text)","method":"m"}"#, context: ())
    #expect(answer == #"{"jsonrpc":"2.0","id":"\#(text)","result":1}"#)
  }

  @Test(
    "what is no number is none as an id either, and numbers that are no ids have their bounds",
    arguments: [
      #""id":01"#, #""id":1."#, #""id":.5"#, #""id":1e"#, #""id":+1"#, #""id":-"#, #""id":1e400x"#,
      #""id":1e400,"id":2"#,
      #""id":1,"params":[1e400]"#, #""id":1e400,"params":[1e400]"#, #""params":{"id":1e400}"#,
    ])
  func noNumber(member: String) async throws {
    let error = try await Self.dispatcher.error(#"{"jsonrpc":"2.0","method":"m",\#(member)}"#)
    #expect(error.code == -32700)
  }

  @Test("an id of another kind is refused with id null", arguments: ["true", "[1e400]", "{}"])
  func wrongKind(text: String) async throws {
    #expect(try await Self.dispatcher.error(#"{"jsonrpc":"2.0","method":"m","id":\#(text)}"#).code < -32599)
  }
}
