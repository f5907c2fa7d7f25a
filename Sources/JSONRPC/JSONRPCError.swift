import ExactText

/// An error answer (JSON-RPC 2.0, section 5.1). The message names the thing; `data` is an object.
public struct JSONRPCError: Error, Hashable, Sendable {
  public let code: Int
  public let message: String
  public let data: JSON?

  public init(code: Int, message: String, data: JSON? = nil) {
    self.code = code
    self.message = message
    self.data = data
  }

  // MARK: Of the specification

  public static func parseError(_ error: JSONParseError) -> JSONRPCError {
    JSONRPCError(
      code: -32700, message: "Parse error: \(error.reason)",
      data: [
        "reason": .string(error.reason), "line": .int(Int64(error.line)), "column": .int(Int64(error.column)),
      ])
  }
  public static func invalidRequest(_ reason: String) -> JSONRPCError {
    JSONRPCError(code: -32600, message: "Invalid Request: \(reason)", data: ["reason": .string(reason)])
  }
  public static func methodNotFound(_ method: String) -> JSONRPCError {
    // No method has a long name, and an answer must not be bigger than what it answers.
    let name = method.utf8.count > 128 ? method.shortened(toBytes: 32) : method
    return JSONRPCError(code: -32601, message: "Method not found: \(name)", data: ["method": .string(name)])
  }
  /// - Parameters:
  ///   - field: its path, e.g. `params.job.timeout`.
  ///   - expected: completes "expected …", e.g. `a number from 0`.
  public static func invalidParams(field: String, expected: String, got: JSON? = nil) -> JSONRPCError {
    // A path ends with a name that a client chose, of any length.
    let field = field.shortened(toBytes: 256)
    let found = got.map { ", got \($0.kind)" } ?? ""
    return JSONRPCError(
      code: -32602, message: "Invalid params: \(field): expected \(expected)\(found)",
      data: ["field": .string(field), "expected": .string(expected)])
  }
  public static func internalError(_ reason: String) -> JSONRPCError {
    JSONRPCError(code: -32603, message: "Internal error: \(reason)", data: ["reason": .string(reason)])
  }

  // MARK: Of this server; -32007 to -32010 as jsonrpsee numbers them

  public static let unauthorizedCode = -32001
  public static func unauthorized(_ reason: String) -> JSONRPCError {
    JSONRPCError(code: unauthorizedCode, message: "Unauthorized: \(reason)", data: ["reason": .string(reason)])
  }
  /// - Parameters:
  ///   - what: what was refused, for people.
  ///   - reason: why it needs a key at all, also in `data`.
  public static func unauthorized(_ what: String, since reason: String) -> JSONRPCError {
    JSONRPCError(
      code: -32001, message: "Unauthorized: \(what), since \(reason)", data: ["reason": .string(reason)])
  }
  /// - Parameter kind: `runner` or `job`, also the key under which `data` has the name.
  public static func notFound(_ kind: String, _ name: String) -> JSONRPCError {
    JSONRPCError(code: -32002, message: "No \(kind) \"\(name)\"", data: [kind: .string(name)])
  }
  public static func wrongState(_ message: String, data: JSON) -> JSONRPCError {
    JSONRPCError(code: -32003, message: message, data: data)
  }
  public static func conflict(_ message: String, data: JSON) -> JSONRPCError {
    JSONRPCError(code: -32004, message: message, data: data)
  }
  public static func requestTooBig(limit: Int) -> JSONRPCError {
    JSONRPCError(
      code: -32007, message: "The request is bigger than max_request_bytes (\(limit))",
      data: ["limit": .int(Int64(limit))])
  }
  public static func responseTooBig(limit: Int, hint: String) -> JSONRPCError {
    JSONRPCError(
      code: -32008, message: "The response is bigger than max_response_bytes (\(limit)); \(hint)",
      data: ["limit": .int(Int64(limit)), "hint": .string(hint)])
  }
  /// The call was carried out, and there is no room for its answer beside those of other calls of its batch.
  public static func batchResponseTooBig(limit: Int) -> JSONRPCError {
    let hint = "send smaller batches"
    return JSONRPCError(
      code: -32008,
      message: "The call was carried out; the batch's responses are bigger than max_response_bytes (\(limit)); \(hint)",
      data: ["limit": .int(Int64(limit)), "hint": .string(hint)])
  }
  /// There is no room for the answer, or for what it takes to make it.
  public static let noRoom = unavailable("too many bytes of answers are under way", retryAfterMilliseconds: 1000)
  public static func unavailable(_ reason: String, retryAfterMilliseconds: Int) -> JSONRPCError {
    JSONRPCError(
      code: -32009, message: "Try again later: \(reason)",
      data: ["reason": .string(reason), "retry_after_ms": .int(Int64(retryAfterMilliseconds))])
  }
  public static func batchTooBig(limit: Int, count: Int) -> JSONRPCError {
    JSONRPCError(
      code: -32010, message: "The batch has \(count) requests, more than max_batch (\(limit))",
      data: ["limit": .int(Int64(limit)), "count": .int(Int64(count))])
  }

  /// The error as the answer to a request.
  public func answer(to id: RequestID) -> [UInt8] {
    var bytes = [UInt8](#"{"jsonrpc":"2.0","id":"#.utf8)
    id.write(into: &bytes)
    bytes.append(contentsOf: #","error":"#.utf8)
    json.write(into: &bytes)
    bytes.append(UInt8(ascii: "}"))
    return bytes
  }

  /// The error as a JSON value.
  public var json: JSON {
    var object: JSONObject = ["code": .int(Int64(code)), "message": .string(message)]
    if let data { object["data"] = data }
    return .object(object)
  }
}
