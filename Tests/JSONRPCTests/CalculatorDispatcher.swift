// The server that the examples of the specification talk to: `subtract`, `sum` and their like.

import JSONRPC
import Testing

enum Calculator {
  /// The methods of section 7, and one that refuses everything.
  static let methods: [String: Method<Void>] = [
    "subtract": Method(parameters: ["minuend", "subtrahend"]) { (params, _) throws(JSONRPCError) in
      .int(try number(params, "minuend") - number(params, "subtrahend"))
    },
    "sum": Method(parameters: ["a", "b", "c"]) { (params, _) throws(JSONRPCError) in
      .int(try number(params, "a") + number(params, "b") + number(params, "c"))
    },
    "update": Method(parameters: ["a", "b", "c", "d", "e"]) { _, _ in .null },
    "notify_hello": Method(parameters: ["a"]) { _, _ in .null },
    "notify_sum": Method(parameters: ["a", "b", "c"]) { _, _ in .null },
    "get_data": Method { _, _ in ["hello", 5] },
    "refuse": Method { (_, _) throws(JSONRPCError) in throw .unauthorized("nobody may") },
  ]

  private static func number(_ params: Params, _ name: String) throws(JSONRPCError) -> Int64 {
    try params.int(name, in: -1_000_000...1_000_000, default: 0)
  }
}

extension Dispatcher {
  /// The answer to a text; `nil` when nothing is answered.
  func answer(_ text: String, context: Context) async throws -> JSON? {
    guard let answer = await dispatch(Array(text.utf8), context: context) else { return nil }
    return try JSON.parse(answer.bytes)
  }

  /// The bytes of an answer, whose pieces are joined.
  func text(_ text: String, context: Context) async throws -> String? {
    guard let answer = await dispatch(Array(text.utf8), context: context) else { return nil }
    var bytes = answer.bytes
    if let rest = answer.rest {
      while let piece = try await rest.next() { bytes += piece }
      bytes += rest.end
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension Dispatcher<Void> {
  static var calculator: Dispatcher { Dispatcher(methods: Calculator.methods) }

  func answer(_ text: String) async throws -> JSON? { try await answer(text, context: ()) }

  /// The error of an answer whose form is right: `jsonrpc`, `id`, and an error with an object as its data.
  func error(_ text: String, id: JSON = .null) async throws -> (code: Int64, message: String, data: JSONObject) {
    try errorParts(try #require(try await answer(text)), id: id)
  }
}

/// The parts of an error answer; what section 5 demands of it is checked.
func errorParts(_ answer: JSON, id: JSON = .null) throws -> (code: Int64, message: String, data: JSONObject) {
  #expect(answer["jsonrpc"] == "2.0")
  #expect(answer["id"] == id, "\(answer.text)")
  #expect(Set(answer.objectValue?.keys ?? []) == ["jsonrpc", "id", "error"], "\(answer.text)")
  let error = try #require(answer["error"], "\(answer.text)")
  return (
    try #require(error["code"]?.intValue), try #require(error["message"]?.stringValue),
    try #require(error["data"]?.objectValue, "\(answer.text)")
  )
}
