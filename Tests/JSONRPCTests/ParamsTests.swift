// The ways to write parameters, and errors that name the field.

import JSONRPC
import Testing

@Suite("Dispatcher: parameters", .timeLimit(.minutes(5)))
struct ParamsTests {
  /// Answers what it was given, read by the accessors.
  private let dispatcher = Dispatcher<Void>(
    methods: [
      "two": Method(parameters: ["actor_id", "force"]) { (params, _) throws(JSONRPCError) in
        [.string(try params.string("actor_id")), .bool(try params.bool("force", default: false))]
      },
      "object": Method(parameters: ["params"]) { (params, _) throws(JSONRPCError) in
        let inner = try params.params("job")
        return [
          try params.optionalString("secret").map(JSON.string) ?? .null, .string(try inner.string("id")),
          .int(try inner.int("count", in: 1...9, default: 5)),
        ]
      },
      "none": Method { params, _ in .int(Int64(params.object.count)) },
    ])

  private func call(_ method: String, _ params: String) async throws -> JSON? {
    try await dispatcher.answer(#"{"jsonrpc":"2.0","method":"\#(method)","params":\#(params),"id":1}"#)
  }

  @Test(
    "values by position and by name are the same call",
    arguments: [
      (#"["r",true]"#, ["r", true]), (#"{"actor_id":"r","force":true}"#, ["r", true]), (#"["r"]"#, ["r", false]),
      (#"{"actor_id":"r"}"#, ["r", false]), (#"["r",null]"#, ["r", false]),
      (#"{"force":null,"actor_id":"r"}"#, ["r", false]),
    ] as [(String, JSON)])
  func twoParameters(params: String, result: JSON) async throws {
    #expect(try await call("two", params)?["result"] == result)
  }

  @Test(
    "the one parameter `params` comes by position, by name, or as its fields directly",
    arguments: [
      #"[{"secret":"s","job":{"id":"j"}}]"#, #"{"params":{"secret":"s","job":{"id":"j"}}}"#,
      #"{"secret":"s","job":{"id":"j"}}"#,
    ])
  func objectParameter(params: String) async throws {
    #expect(try await call("object", params)?["result"] == ["s", "j", 5])
  }

  @Test(
    "an error names the field by its path, and what was expected there",
    arguments: [
      ("two", "[]", "actor_id"), ("two", "{}", "actor_id"), ("two", "[7]", "actor_id"),
      ("two", "[null]", "actor_id"), ("two", #"["r",1]"#, "force"),
      ("two", #"{"actor_id":"r","force":"yes"}"#, "force"),
      ("two", #"{"actor_id":"r","forc":true}"#, "forc"), ("two", #"["r",true,1]"#, "params"),
      ("object", "[]", "params.job"), ("object", "{}", "params.job"), ("object", "[1]", "params"),
      ("object", "[null]", "params"), ("object", #"{"params":"x"}"#, "params"),
      ("object", #"{"job":[]}"#, "params.job"),
      ("object", #"[{"job":{}}]"#, "params.job.id"), ("object", #"{"job":{"id":1}}"#, "params.job.id"),
      ("object", #"{"job":{"id":"j","count":10}}"#, "params.job.count"),
      ("object", #"{"job":{"id":"j","count":1.5}}"#, "params.job.count"),
      ("object", #"{"secret":1,"job":{"id":"j"}}"#, "params.secret"), ("none", "[1]", "params"),
      ("none", #"{"a":1}"#, "a"),
    ])
  func errors(method: String, params: String, field: String) async throws {
    let error = try errorParts(try #require(try await call(method, params)), id: 1)
    #expect(error.code == -32602)
    #expect(error.message.hasPrefix("Invalid params: \(field)"), "\(error.message)")
    #expect(error.data["field"] == .string(field))
    #expect(error.data["expected"]?.stringValue?.isEmpty == false)
  }

  @Test("a method without parameters takes none, empty ones and null", arguments: ["[]", "{}", "null"])
  func noParameters(params: String) async throws {
    #expect(try await call("none", params)?["result"] == 0)
  }

  @Test("an error does not repeat the value, which may be a secret")
  func noValues() async throws {
    for params in [#"{"secret":["hunter2"],"job":{"id":"j"}}"#, #"["hunter2",true,1]"#, #"[{"job":"hunter2"}]"#] {
      for method in ["object", "two", "none"] {
        let answer = try #require(try await call(method, params))
        #expect(answer["error"] != nil)
        #expect(!answer.text.contains("hunter2"))
      }
    }
  }
}
